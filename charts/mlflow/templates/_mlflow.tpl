{{/* Variables of the server. Jobs of its own (model evaluation) are off: they take eight processes and a gigabyte. */}}
{{- define "mlflow.env" -}}
- name: MLFLOW_SERVER_ENABLE_JOB_EXECUTION
  value: "false"
- name: MLFLOW_DISABLE_TELEMETRY
  value: "true"
{{- if eq .Values.database.kind "sqlite" }}
- name: MLFLOW_BACKEND_STORE_URI
  value: sqlite:////var/lib/mlflow/mlflow.db
{{- else }}
{{ include "common.storeVariable" (dict "root" . "store" "mlflow" "name" "MLFLOW_BACKEND_STORE_URI" "key" "database-url") }}
{{- end }}
- name: MLFLOW_S3_ENDPOINT_URL
  value: {{ include "common.storeAddress" (dict "root" . "store" "object-store") | quote }}
- name: AWS_DEFAULT_REGION
  value: {{ include "common.region" . | quote }}
{{ include "common.storeVariable" (dict "root" . "store" "object-store" "name" "AWS_ACCESS_KEY_ID" "key" "access-key-id") }}
{{ include "common.storeVariable" (dict "root" . "store" "object-store" "name" "AWS_SECRET_ACCESS_KEY" "key" "secret-access-key") }}
{{- end -}}

{{- define "mlflow.containers" -}}
{{- $name := include "common.fullname" . -}}
{{- $hosts := concat (list $name (printf "%s:5000" $name) (printf "%s.%s.svc:5000" $name .Release.Namespace) "localhost:5000" "127.0.0.1:5000") .Values.allowedHosts -}}
- name: mlflow
  command: [/opt/mlflow/bin/python, -m, mlflow]
  args:
    - server
    - --host
    - 0.0.0.0
    - --port
    - "5000"
    - --workers
    - {{ .Values.workers | int64 | quote }}
    - --artifacts-destination
    - s3://{{ include "common.bucket" (dict "root" . "name" "mlflow") }}
    - --allowed-hosts
    - {{ $hosts | join "," | quote }}
  {{- include "common.container" (dict "root" .) | nindent 2 }}
  {{- include "common.resources" .Values.resources | nindent 2 }}
  env:
    {{- include "mlflow.env" . | nindent 4 }}
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: http
      containerPort: 5000
      protocol: TCP
  {{- include "common.probes" (dict "port" "http" "live" "/health" "ready" "/version" "startupSeconds" .Values.probes.startupSeconds) | nindent 2 }}
  {{- include "common.lifecycle" (dict "seconds" .Values.preStopSeconds) | nindent 2 }}
  volumeMounts:
    {{- if eq .Values.database.kind "sqlite" }}
    - name: data
      mountPath: /var/lib/mlflow
    {{- end }}
    {{- include "common.mounts" . | nindent 4 }}
{{- end -}}

{{- define "mlflow.volumes" -}}
{{- if eq .Values.database.kind "sqlite" }}
- name: data
  persistentVolumeClaim:
    claimName: {{ include "common.claimName" (dict "root" . "suffix" "data" "claim" .Values.data) | quote }}
{{- end }}
{{- end -}}

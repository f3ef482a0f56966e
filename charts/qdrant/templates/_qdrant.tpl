{{/* Variables of the server. Its settings are variables alone, so no file of the image counts. */}}
{{- define "qdrant.env" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{ include "common.storeVariable" (dict "root" . "store" "qdrant" "name" "QDRANT__SERVICE__API_KEY" "key" "api-key") }}
- name: QDRANT__SERVICE__HOST
  value: 0.0.0.0
- name: QDRANT__SERVICE__HTTP_PORT
  value: "6333"
- name: QDRANT__SERVICE__GRPC_PORT
  value: "6334"
- name: QDRANT__SERVICE__ENABLE_CORS
  value: "false"
- name: QDRANT__STORAGE__STORAGE_PATH
  value: /var/lib/qdrant/storage
- name: QDRANT__STORAGE__SNAPSHOTS_PATH
  value: /var/lib/qdrant/snapshots
- name: QDRANT__CLUSTER__ENABLED
  value: {{ .Values.cluster.enabled | quote }}
- name: QDRANT__LOG_LEVEL
  value: {{ .Values.logLevel }}
- name: QDRANT__TELEMETRY_DISABLED
  value: "true"
- name: QDRANT_INIT_FILE_PATH
  value: /tmp/initialized
{{- end -}}

{{/* The server's container. In a cluster the first pod waits for nobody: it is told to join itself, which Qdrant takes for the beginning of a new one. */}}
{{- define "qdrant.containers" -}}
{{- $members := include "common.name" (dict "root" . "suffix" "members") -}}
- name: qdrant
  command: [/qdrant/qdrant]
  workingDir: /qdrant
  {{- if .Values.cluster.enabled }}
  args:
    - --uri
    - http://$(POD_NAME).{{ $members }}:6335
    - --bootstrap
    - http://{{ include "common.fullname" . }}-0.{{ $members }}:6335
  {{- end }}
  {{- include "common.container" (dict "root" .) | nindent 2 }}
  {{- include "common.resources" .Values.resources | nindent 2 }}
  env:
    {{- include "qdrant.env" . | nindent 4 }}
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: http
      containerPort: 6333
      protocol: TCP
    - name: grpc
      containerPort: 6334
      protocol: TCP
    {{- if .Values.cluster.enabled }}
    - name: peers
      containerPort: 6335
      protocol: TCP
    {{- end }}
  {{- include "common.probes" (dict "port" "http" "live" "/livez" "ready" "/readyz" "startupSeconds" .Values.probes.startupSeconds) | nindent 2 }}
  {{- include "common.lifecycle" (dict "seconds" .Values.preStopSeconds) | nindent 2 }}
  volumeMounts:
    - name: data
      mountPath: /var/lib/qdrant
    {{- include "common.mounts" . | nindent 4 }}
{{- end -}}

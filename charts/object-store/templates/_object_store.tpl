{{/* Variables of the server: its only identity, which may do everything. */}}
{{- define "objectStore.env" -}}
{{ include "common.storeVariable" (dict "root" . "store" "object-store" "name" "AWS_ACCESS_KEY_ID" "key" "access-key-id") }}
{{ include "common.storeVariable" (dict "root" . "store" "object-store" "name" "AWS_SECRET_ACCESS_KEY" "key" "secret-access-key") }}
{{- end -}}

{{/* The server's container. Its parts (master, volume, filer) ask for no credentials and talk to each other on loopback; S3 alone is reached from outside. */}}
{{- define "objectStore.containers" -}}
- name: object-store
  command: [/usr/bin/weed]
  args:
    - -logtostderr=true
    - server
    - -dir=/data
    - -ip=127.0.0.1
    - -ip.bind=127.0.0.1
    - -master.telemetry=false
    - -master.volumeSizeLimitMB={{ int64 .Values.volumeMegabytes }}
    - -volume.max=0
    - -volume.index=leveldb
    - -volume.preStopSeconds=1
    - -s3
    - -s3.ip.bind=0.0.0.0
    - -s3.port=8333
    - -s3.port.iceberg=0
    - -s3.port.lance=0
  {{- include "common.container" (dict "root" .) | nindent 2 }}
  {{- include "common.resources" .Values.resources | nindent 2 }}
  workingDir: /data
  env:
    {{- include "objectStore.env" . | nindent 4 }}
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: s3
      containerPort: 8333
      protocol: TCP
  {{- include "common.probes" (dict "port" "s3" "live" "/healthz" "ready" "/readyz" "startupSeconds" .Values.probes.startupSeconds) | nindent 2 }}
  {{- include "common.lifecycle" (dict "seconds" .Values.preStopSeconds) | nindent 2 }}
  volumeMounts:
    - name: data
      mountPath: /data
    {{- include "common.mounts" . | nindent 4 }}
{{- end -}}

{{- define "objectStore.volumes" -}}
- name: data
  persistentVolumeClaim:
    claimName: {{ include "common.claimName" (dict "root" . "suffix" "data" "claim" .Values.data) | quote }}
{{- end -}}

{{/* What the job does that makes the buckets. */}}
{{- define "objectStore.jobSpec" -}}
backoffLimit: 20
template:
  metadata:
    labels:
      app.kubernetes.io/part-of: ragstone
      {{- include "common.labelsOf" (dict "root" . "part" "buckets") | nindent 6 }}
  spec:
    {{- include "common.podBase" (dict "root" . "suffix" "buckets") | nindent 4 }}
    {{- with include "common.priority" . }}
    {{- . | nindent 4 }}
    {{- end }}
    restartPolicy: OnFailure
    containers:
      - name: buckets
        command: [/opt/ragstone/bin/python, -c]
        args:
          - |
            {{- .Files.Get "files/buckets.py" | trim | nindent 12 }}
        {{- include "common.container" (dict "root" . "image" .Values.tools.image) | nindent 8 }}
        {{- include "common.resources" .Values.tools.resources | nindent 8 }}
        env:
          - name: S3_ENDPOINT
            value: {{ include "common.storeAddress" (dict "root" . "store" "object-store") | quote }}
          - name: S3_REGION
            value: {{ include "common.region" . | quote }}
          - name: S3_BUCKETS
            value: {{ range $index, $name := list "backups" "lakefs" "mlflow" }}{{ if $index }},{{ end }}{{ include "common.bucket" (dict "root" $ "name" $name) }}{{ end }}
          {{- with .Values.extraEnv }}
          {{- toYaml . | nindent 10 }}
          {{- end }}
        volumeMounts:
          - name: secrets
            mountPath: /etc/object-store/secrets
            readOnly: true
          {{- include "common.mounts" . | nindent 10 }}
    volumes:
      - name: secrets
        secret:
          secretName: {{ include "common.storeSecret" (dict "root" . "store" "object-store") | quote }}
          defaultMode: 0440
          items:
            {{- range list "access-key-id" "secret-access-key" }}
            - key: {{ . }}
              path: {{ . }}
            {{- end }}
      - name: tmp
        emptyDir:
          sizeLimit: {{ .Values.tmp.size | quote }}
      {{- with .Values.extraVolumes }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
{{- end -}}

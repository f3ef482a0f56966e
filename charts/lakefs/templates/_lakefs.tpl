{{/* Whether it has a volume. Empty: no. */}}
{{- define "lakefs.stateful" -}}
{{- if or (eq .Values.database.kind "local") (not (include "common.usesObjectStore" .)) }}true{{ end -}}
{{- end -}}

{{/* Variables of the server, which reads its settings from nowhere else. Nothing is sent to anybody. */}}
{{- define "lakefs.env" -}}
- name: HOME
  value: /tmp
- name: LAKEFS_LISTEN_ADDRESS
  value: 0.0.0.0:8000
- name: LAKEFS_LOGGING_LEVEL
  value: INFO
- name: LAKEFS_LOGGING_FORMAT
  value: json
- name: LAKEFS_DATABASE_TYPE
  value: {{ .Values.database.kind }}
{{- if eq .Values.database.kind "local" }}
- name: LAKEFS_DATABASE_LOCAL_PATH
  value: /var/lib/lakefs/metadata
{{- else }}
{{ include "common.storeVariable" (dict "root" . "store" "lakefs" "name" "LAKEFS_DATABASE_POSTGRES_CONNECTION_STRING" "key" "database-url") }}
{{- end }}
- name: LAKEFS_BLOCKSTORE_TYPE
  value: {{ ternary "s3" "local" (eq (include "common.usesObjectStore" .) "true") }}
{{- if not (include "common.usesObjectStore" .) }}
- name: LAKEFS_BLOCKSTORE_LOCAL_PATH
  value: /var/lib/lakefs/objects
{{- else }}
- name: LAKEFS_BLOCKSTORE_S3_ENDPOINT
  value: {{ include "common.storeAddress" (dict "root" . "store" "object-store") | quote }}
- name: LAKEFS_BLOCKSTORE_S3_REGION
  value: {{ include "common.region" . | quote }}
- name: LAKEFS_BLOCKSTORE_S3_FORCE_PATH_STYLE
  value: "true"
- name: LAKEFS_BLOCKSTORE_S3_DISCOVER_BUCKET_REGION
  value: "false"
{{ include "common.storeVariable" (dict "root" . "store" "object-store" "name" "LAKEFS_BLOCKSTORE_S3_CREDENTIALS_ACCESS_KEY_ID" "key" "access-key-id") }}
{{ include "common.storeVariable" (dict "root" . "store" "object-store" "name" "LAKEFS_BLOCKSTORE_S3_CREDENTIALS_SECRET_ACCESS_KEY" "key" "secret-access-key") }}
{{- end }}
{{ include "common.storeVariable" (dict "root" . "store" "lakefs" "name" "LAKEFS_AUTH_ENCRYPT_SECRET_KEY" "key" "encrypt-key") }}
{{ include "common.storeVariable" (dict "root" . "store" "lakefs" "name" "LAKEFS_BLOCKSTORE_SIGNING_SECRET_KEY" "key" "encrypt-key") }}
- name: LAKEFS_INSTALLATION_USER_NAME
  value: ragstone
{{ include "common.storeVariable" (dict "root" . "store" "lakefs" "name" "LAKEFS_INSTALLATION_ACCESS_KEY_ID" "key" "access-key-id") }}
{{ include "common.storeVariable" (dict "root" . "store" "lakefs" "name" "LAKEFS_INSTALLATION_SECRET_ACCESS_KEY" "key" "secret-access-key") }}
- name: LAKEFS_COMMITTED_LOCAL_CACHE_DIR
  value: /var/cache/lakefs
- name: LAKEFS_COMMITTED_LOCAL_CACHE_SIZE_BYTES
  value: {{ include "common.bytes" .Values.localCache | int64 | mulf 0.8 | int64 | quote }}
- name: LAKEFS_COMMITTED_SSTABLE_MEMORY_CACHE_SIZE_BYTES
  value: {{ .Values.cacheBytes | int64 | quote }}
- name: LAKEFS_STATS_ENABLED
  value: "false"
- name: LAKEFS_EMAIL_SUBSCRIPTION_ENABLED
  value: "false"
- name: LAKEFS_SECURITY_CHECK_LATEST_VERSION
  value: "false"
- name: LAKEFS_USAGE_REPORT_ENABLED
  value: "false"
{{- end -}}

{{- define "lakefs.containers" -}}
- name: lakefs
  command: [/app/lakefs]
  args: [run]
  {{- include "common.container" (dict "root" .) | nindent 2 }}
  {{- include "common.resources" .Values.resources | nindent 2 }}
  env:
    {{- include "lakefs.env" . | nindent 4 }}
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: http
      containerPort: 8000
      protocol: TCP
  {{- include "common.probes" (dict "port" "http" "live" "/_health" "ready" "/api/v1/healthcheck" "startupSeconds" .Values.probes.startupSeconds) | nindent 2 }}
  {{- include "common.lifecycle" (dict "seconds" .Values.preStopSeconds) | nindent 2 }}
  volumeMounts:
    {{- if include "lakefs.stateful" . }}
    - name: data
      mountPath: /var/lib/lakefs
    {{- end }}
    - name: cache
      mountPath: /var/cache/lakefs
    {{- include "common.mounts" . | nindent 4 }}
{{- end -}}

{{- define "lakefs.volumes" -}}
{{- if include "lakefs.stateful" . }}
- name: data
  persistentVolumeClaim:
    claimName: {{ include "common.claimName" (dict "root" . "suffix" "data" "claim" .Values.data) | quote }}
{{- end }}
- name: cache
  emptyDir:
    sizeLimit: {{ .Values.localCache | quote }}
{{- end -}}

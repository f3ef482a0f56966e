{{/* Variables of both jobs. */}}
{{- define "backup.env" -}}
- name: RAGSTONE_DATA_DIR
  value: /tmp/ragstone
{{ include "common.storeSettingVariables" (dict "root" . "queue" false) }}
- name: RAGSTONE_BACKUP__URL
  value: s3://{{ include "common.bucket" (dict "root" . "name" "backups") }}
- name: RAGSTONE_BACKUP__ENDPOINT
  value: {{ include "common.storeAddress" (dict "root" . "store" "object-store") | quote }}
- name: RAGSTONE_BACKUP__REGION
  value: {{ include "common.region" . | quote }}
- name: RAGSTONE_BACKUP__SECRET_ACCESS_KEY_FILE
  value: /etc/ragstone/stores/object-store/secret-access-key
- name: RAGSTONE_BACKUP__KEEP
  value: {{ .Values.keep | int64 | quote }}
{{ include "common.storeVariable" (dict "root" . "store" "object-store" "name" "RAGSTONE_BACKUP__ACCESS_KEY_ID" "key" "access-key-id") }}
{{- end -}}

{{/* What a job does: root, args. */}}
{{- define "backup.spec" -}}
backoffLimit: 2
activeDeadlineSeconds: {{ .root.Values.deadlineSeconds | int64 }}
template:
  metadata:
    {{- include "common.podMetadata" (dict "root" .root) | nindent 4 }}
  spec:
    {{- include "common.podBase" (dict "root" .root) | nindent 4 }}
    {{- with include "common.priority" .root }}
    {{- . | nindent 4 }}
    {{- end }}
    restartPolicy: Never
    containers:
      - name: backup
        args: {{ .args | toJson }}
        {{- include "common.container" (dict "root" .root) | nindent 8 }}
        {{- include "common.resources" .root.Values.resources | nindent 8 }}
        env:
          {{- include "backup.env" .root | nindent 10 }}
          {{- with .root.Values.extraEnv }}
          {{- toYaml . | nindent 10 }}
          {{- end }}
        volumeMounts:
          {{- include "common.storeMount" .root | nindent 10 }}
          {{- include "common.mounts" .root | nindent 10 }}
    volumes:
      {{- include "common.storeVolume" (dict "root" .root "queue" false) | nindent 6 }}
      - name: tmp
        emptyDir:
          sizeLimit: {{ .root.Values.tmp.size | quote }}
      {{- with .root.Values.extraVolumes }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
{{- end -}}

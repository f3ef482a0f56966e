{{/* Variables of both jobs. */}}
{{- define "backup.env" -}}
- name: RAGSTONE_DATA_DIR
  value: /tmp/ragstone
{{ include "common.storeSettingVariables" (dict "root" . "queue" false) }}
- name: RAGSTONE_BACKUP__URL
  value: {{ include "backup.url" . }}
- name: RAGSTONE_BACKUP__ENDPOINT
  value: {{ default (include "common.storeAddress" (dict "root" . "store" "object-store")) .Values.destination.endpoint | quote }}
- name: RAGSTONE_BACKUP__REGION
  value: {{ default (include "common.region" .) .Values.destination.region | quote }}
- name: RAGSTONE_BACKUP__SECRET_ACCESS_KEY_FILE
  value: {{ ternary "/etc/ragstone/destination/secret-access-key" "/etc/ragstone/stores/object-store/secret-access-key" (ne .Values.destination.existingSecret "") }}
- name: RAGSTONE_BACKUP__KEEP
  value: {{ .Values.keep | int64 | quote }}
- name: RAGSTONE_BACKUP__ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ default (include "common.storeSecret" (dict "root" . "store" "object-store")) .Values.destination.existingSecret | quote }}
      key: access-key-id
{{- end -}}

{{/* Where backups are. */}}
{{- define "backup.url" -}}
{{- default (printf "s3://%s" (include "common.bucket" (dict "root" . "name" "backups"))) .Values.destination.url -}}
{{- end -}}

{{/* What a job does: root, args, retries. */}}
{{- define "backup.spec" -}}
backoffLimit: {{ .retries }}
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
          {{- if .root.Values.destination.existingSecret }}
          - name: destination
            mountPath: /etc/ragstone/destination
            readOnly: true
          {{- end }}
          {{- include "common.mounts" .root | nindent 10 }}
    volumes:
      {{- include "common.storeVolume" (dict "root" .root "queue" false) | nindent 6 }}
      {{- with .root.Values.destination.existingSecret }}
      - name: destination
        projected:
          defaultMode: 0440
          sources:
            - secret:
                name: {{ . | quote }}
                items:
                  - key: secret-access-key
                    path: secret-access-key
      {{- end }}
      - name: tmp
        emptyDir:
          sizeLimit: {{ .root.Values.tmp.size | quote }}
      {{- with .root.Values.extraVolumes }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
{{- end -}}

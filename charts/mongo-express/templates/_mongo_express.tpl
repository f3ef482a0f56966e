{{/* Variables of the pages, which read their settings from nowhere else. */}}
{{- define "mongoExpress.env" -}}
{{ include "common.storeVariable" (dict "root" . "store" "mongodb" "name" "ME_CONFIG_MONGODB_URL" "key" "uri") }}
- name: ME_CONFIG_MONGODB_ENABLE_ADMIN
  value: "false"
- name: ME_CONFIG_BASICAUTH
  value: "true"
- name: ME_CONFIG_BASICAUTH_ENABLED
  value: "true"
- name: ME_CONFIG_BASICAUTH_USERNAME
  value: {{ .Values.username | quote }}
{{ include "common.storeVariable" (dict "root" . "store" "mongo-express" "name" "ME_CONFIG_BASICAUTH_PASSWORD" "key" "password") }}
{{ include "common.storeVariable" (dict "root" . "store" "mongo-express" "name" "ME_CONFIG_SITE_COOKIESECRET" "key" "session-secret") }}
{{ include "common.storeVariable" (dict "root" . "store" "mongo-express" "name" "ME_CONFIG_SITE_SESSIONSECRET" "key" "session-secret") }}
- name: ME_CONFIG_OPTIONS_READONLY
  value: {{ .Values.readOnly | quote }}
- name: VCAP_APP_HOST
  value: 0.0.0.0
- name: PORT
  value: "8081"
{{- end -}}

{{- define "mongoExpress.containers" -}}
- name: mongo-express
  {{- include "common.container" (dict "root" .) | nindent 2 }}
  {{- include "common.resources" .Values.resources | nindent 2 }}
  env:
    {{- include "mongoExpress.env" . | nindent 4 }}
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: http
      containerPort: 8081
      protocol: TCP
  {{- include "common.probesOf" (dict "live" (dict "tcpSocket" (dict "port" "http")) "ready" (dict "httpGet" (dict "path" "/status" "port" "http")) "startupSeconds" .Values.probes.startupSeconds) | nindent 2 }}
  {{- include "common.lifecycle" (dict "seconds" .Values.preStopSeconds) | nindent 2 }}
  volumeMounts:
    {{- include "common.mounts" . | nindent 4 }}
{{- end -}}

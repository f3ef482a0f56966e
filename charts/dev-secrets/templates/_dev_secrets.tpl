{{/* Which Secrets are made, and what has to stand in one: a list of variables. */}}
{{- define "devSecrets.env" -}}
- name: NAMESPACE
  value: {{ .Release.Namespace | quote }}
- name: API_KEYS
  value: {{ .Values.apiKeysSecret | quote }}
- name: MONGODB_HOST
  value: {{ include "common.componentName" (dict "root" . "component" "mongodb") | quote }}
{{- range $variable, $store := dict "MONGODB" "mongodb" "QDRANT" "qdrant" "LAKEFS" "lakefs" "NATS" "nats" "OBJECT_STORE" "object-store" "MONGO_EXPRESS" "mongo-express" "EMBEDDING" "embedding" "GENERATION" "generation" }}
- name: {{ $variable }}
  value: {{ include "common.componentName" (dict "root" $ "component" $store) | quote }}
{{- end }}
{{- end -}}

{{- define "devSecrets.spec" -}}
backoffLimit: 20
template:
  metadata:
    {{- include "common.podMetadata" (dict "root" .) | nindent 4 }}
  spec:
    {{- include "common.podBase" (dict "root" .) | replace "automountServiceAccountToken: false" "automountServiceAccountToken: true" | nindent 4 }}
    {{- with include "common.priority" . }}
    {{- . | nindent 4 }}
    {{- end }}
    restartPolicy: OnFailure
    containers:
      - name: dev-secrets
        command: [/opt/ragstone/bin/python, -c]
        args:
          - |
            {{- .Files.Get "files/secrets.py" | trim | nindent 12 }}
        {{- include "common.container" (dict "root" .) | nindent 8 }}
        {{- include "common.resources" .Values.resources | nindent 8 }}
        env:
          {{- include "devSecrets.env" . | nindent 10 }}
          {{- with .Values.extraEnv }}
          {{- toYaml . | nindent 10 }}
          {{- end }}
        volumeMounts:
          {{- include "common.mounts" . | nindent 10 }}
    volumes:
      - name: tmp
        emptyDir:
          sizeLimit: {{ .Values.tmp.size | quote }}
      {{- with .Values.extraVolumes }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
{{- end -}}

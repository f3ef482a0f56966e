{{/* How to get at the API key; the umbrella shows it too. Takes the root of dev-secrets. */}}
{{- define "devSecrets.notes" -}}
Job {{ include "common.fullname" . }}-* makes the Secrets that are missing. The API key of scope admin:

     KEY=$(kubectl --namespace {{ .Release.Namespace }} get secret {{ .Values.apiKeysSecret }} --output jsonpath='{.data.test-api-key}' | base64 -d)
{{- end -}}

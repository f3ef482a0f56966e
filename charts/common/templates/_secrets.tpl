{{/*
Secrets. A chart never makes one from values: a section of values names an existing Secret, or a key of a secrets manager:
  existingSecret: name        or  externalSecret: {storeRef: {name, kind}, remoteKey, property, refreshInterval}
  key: name of the key inside the Secret
*/}}

{{/* Name of the Secret that such a section means, empty when it names none: root, secret (the section), suffix. */}}
{{- define "common.secretName" -}}
{{- if .secret.existingSecret -}}
{{- .secret.existingSecret -}}
{{- else if .secret.externalSecret -}}
{{- include "common.name" (dict "root" .root "suffix" .suffix) -}}
{{- end -}}
{{- end -}}

{{/*
The ExternalSecret of such a section, if it has one: root, secret, suffix. The API server's defaults are written out where they stand in a list,
because Argo CD sees a difference otherwise.
*/}}
{{- define "common.externalSecret" -}}
{{- with .secret.externalSecret }}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata:
  {{- include "common.metadata" (dict "root" $.root "suffix" $.suffix) | nindent 2 }}
spec:
  refreshInterval: {{ .refreshInterval | default "1h0m0s" }}
  secretStoreRef:
    name: {{ .storeRef.name | quote }}
    kind: {{ .storeRef.kind | default "SecretStore" }}
  target:
    name: {{ include "common.name" (dict "root" $.root "suffix" $.suffix) }}
    creationPolicy: Owner
    deletionPolicy: Retain
  data:
    - secretKey: {{ $.secret.key | quote }}
      remoteRef:
        key: {{ .remoteKey | quote }}
        {{- with .property }}
        property: {{ . | quote }}
        {{- end }}
        conversionStrategy: Default
        decodingStrategy: None
        metadataPolicy: None
{{- end }}
{{- end -}}

{{/* One file of a projected volume: root, secret, suffix, path. Nothing when the section names no Secret. */}}
{{- define "common.secretProjection" -}}
{{- with include "common.secretName" . -}}
- secret:
    name: {{ . | quote }}
    items:
      - key: {{ $.secret.key | quote }}
        path: {{ $.path }}
{{- end }}
{{- end -}}

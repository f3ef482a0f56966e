{{/* The orchestrator's containers and volumes. */}}

{{/* How its containers begin, the test's too. The image that holds the model has a tag of its own (scripts/images.sh). */}}
{{- define "orchestrator.image" -}}
{{- include "common.container" (dict "root" . "variant" (ternary "model" "" .Values.model.baked)) -}}
{{- end -}}

{{/* Whether the model is pulled: a preset that the image does not hold; a path (presets have no "/") is on a volume of the user's. Empty: no. */}}
{{- define "orchestrator.pullsModel" -}}
{{- if not (or .Values.model.baked (contains "/" .Values.model.name)) }}true{{ end -}}
{{- end -}}

{{/* The image, the settings and the resources of each of its containers. */}}
{{- define "orchestrator.container" -}}
{{ include "orchestrator.image" . }}
envFrom:
  - configMapRef:
      name: {{ include "common.name" (dict "root" . "suffix" "settings") }}
{{ include "common.resources" .Values.resources }}
{{- end -}}

{{/* Mounts of the serving container. */}}
{{- define "orchestrator.volumeMounts" -}}
- name: data
  mountPath: /var/lib/ragstone
{{- if not .Values.model.baked }}
- name: models
  mountPath: /var/cache/ragstone
{{- end }}
- name: secrets
  mountPath: /etc/ragstone/secrets
  readOnly: true
{{- if include "common.inCluster" . }}
{{ include "common.storeMount" . }}
{{- end }}
{{ include "orchestrator.commonMounts" . }}
{{- end -}}

{{- define "orchestrator.commonMounts" -}}
- name: tmp
  mountPath: /tmp
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "orchestrator.volumes" -}}
- name: data
  {{- if include "common.inCluster" . }}
  # Only what the log could not take yet (the spool); docs/charts.md says what is lost with it.
  emptyDir:
    sizeLimit: {{ .Values.spool.size | quote }}
  {{- else }}
  persistentVolumeClaim:
    claimName: {{ include "common.claimName" (dict "root" . "suffix" "data" "claim" .Values.data) | quote }}
  {{- end }}
{{- if include "common.inCluster" . }}
{{ include "common.storeVolume" (dict "root" . "queue" true "answers" true) }}
{{- end }}
{{- if not .Values.model.baked }}
- name: models
  {{- if include "orchestrator.modelClaim" . }}
  persistentVolumeClaim:
    claimName: {{ include "orchestrator.modelClaim" . | quote }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .Values.model.cache.size | quote }}
  {{- end }}
{{- end }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range $suffix, $secret := fromYaml (include "orchestrator.secrets" .) }}
      {{- with include "common.secretProjection" (dict "root" $ "secret" $secret.section "suffix" $suffix "path" $suffix) }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- end }}
- name: tmp
  emptyDir:
    sizeLimit: {{ .Values.tmp.size | quote }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Name of the claim of the model cache, empty when the cache is an emptyDir. */}}
{{- define "orchestrator.modelClaim" -}}
{{- with .Values.model.cache -}}
{{- if or .persistent .existingClaim -}}
{{- include "common.claimName" (dict "root" $ "suffix" "models" "claim" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Whether the model is pulled: a preset that the image does not hold. Empty: no. */}}
{{- define "worker.pullsModel" -}}
{{- if not (or .Values.model.baked (contains "/" .Values.model.name)) }}true{{ end -}}
{{- end -}}

{{/* Name of the claim of the model cache, empty when the cache is an emptyDir. */}}
{{- define "worker.modelClaim" -}}
{{- with .Values.model.cache -}}
{{- if or .persistent .existingClaim -}}
{{- include "common.claimName" (dict "root" $ "suffix" "models" "claim" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* From values to the application's settings (src/ragstone/settings), those that are no secret. */}}
{{- define "worker.settings" -}}
RAGSTONE_DATA_DIR: /tmp/ragstone
RAGSTONE_MODELS: {{ ternary "/opt/ragstone-models" "/var/cache/ragstone/models" .Values.model.baked }}
RAGSTONE_MODEL: {{ .Values.model.name | quote }}
RAGSTONE_THREADS: {{ .Values.model.threads | int64 | quote }}
RAGSTONE_LIMITS__DOCUMENT_BYTES: {{ .Values.limits.documentBytes | int64 | quote }}
RAGSTONE_MANAGEMENT_PORT: "8643"
{{- end -}}

{{/* The image and the settings of each of its containers. */}}
{{- define "worker.container" -}}
{{ include "common.container" (dict "root" . "variant" (ternary "model" "" .Values.model.baked)) }}
envFrom:
  - configMapRef:
      name: {{ include "common.name" (dict "root" . "suffix" "settings") }}
{{ include "common.resources" .Values.resources }}
{{- end -}}

{{/* Fetches the model unless the cache holds it, checks its digest and builds its graph. */}}
{{- define "worker.initContainers" -}}
{{- if include "worker.pullsModel" . }}
- name: model
  args: {{ include "common.pullArguments" . }}
  {{- include "worker.container" . | nindent 2 }}
  {{- with include "common.extraEnvWithoutStores" . }}
  env:
    {{- . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: models
      mountPath: /var/cache/ragstone
    {{- include "common.mounts" . | nindent 4 }}
{{- end }}
{{- end -}}

{{- define "worker.containers" -}}
- name: worker
  args: [worker, --grace, {{ .Values.graceSeconds | int64 | quote }}]
  {{- include "worker.container" . | nindent 2 }}
  env:
    - name: RAGSTONE_ROLE
      value: worker
    - name: RAGSTONE_HOST
      value: {{ .Values.listenAddress | quote }}
    - name: RAGSTONE_QUEUE__PARALLEL
      value: {{ .Values.collections | int64 | quote }}
    {{- if .Values.bulk.enabled }}
    {{- range $name, $value := fromYaml (include "worker.bulkSettings" .) }}
    - name: {{ $name }}
      value: {{ $value | quote }}
    {{- end }}
    {{- end }}
    {{- include "common.storeSettingVariables" (dict "root" . "queue" true) | nindent 4 }}
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: management
      containerPort: 8643
      protocol: TCP
  {{- include "common.probes" (dict "port" "management" "live" "/healthz" "ready" "/readyz" "startupSeconds" .Values.probes.startupSeconds) | nindent 2 }}
  {{- include "common.lifecycle" (dict "seconds" .Values.preStopSeconds) | nindent 2 }}
  volumeMounts:
    {{- if not .Values.model.baked }}
    - name: models
      mountPath: /var/cache/ragstone
    {{- end }}
    {{- include "common.storeMount" . | nindent 4 }}
    {{- if .Values.bulk.enabled }}
    - name: bulk
      mountPath: /etc/ragstone/bulk
      readOnly: true
    {{- end }}
    {{- include "common.mounts" . | nindent 4 }}
{{- end -}}

{{- define "worker.modelVolume" -}}
{{- if not .Values.model.baked }}
- name: models
  {{- if include "worker.modelClaim" . }}
  persistentVolumeClaim:
    claimName: {{ include "worker.modelClaim" . | quote }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .Values.model.cache.size | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "worker.volumes" -}}
{{- include "worker.modelVolume" . }}
{{- if .Values.bulk.enabled }}
- name: bulk
  configMap:
    name: {{ include "common.name" (dict "root" . "suffix" "bulk") }}
{{- end }}
{{ include "common.storeVolume" (dict "root" . "queue" true) }}
{{- end -}}

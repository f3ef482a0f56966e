{{/* Whether the model is pulled: a preset that the image does not hold. Empty: no. */}}
{{- define "embedding.pullsModel" -}}
{{- if not (or .Values.model.baked (contains "/" .Values.model.name)) }}true{{ end -}}
{{- end -}}

{{/* Name of the claim of the model cache, empty when the cache is an emptyDir. */}}
{{- define "embedding.modelClaim" -}}
{{- with .Values.model.cache -}}
{{- if or .persistent .existingClaim -}}
{{- include "common.claimName" (dict "root" $ "suffix" "models" "claim" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* From values to the application's settings (src/ragstone/settings), those that are no secret. */}}
{{- define "embedding.settings" -}}
RAGSTONE_DATA_DIR: /tmp/ragstone
RAGSTONE_MODELS: {{ ternary "/opt/ragstone-models" "/var/cache/ragstone/models" .Values.model.baked }}
RAGSTONE_MODEL: {{ .Values.model.name | quote }}
RAGSTONE_THREADS: {{ .Values.model.threads | int64 | quote }}
RAGSTONE_EMBEDDER__KIND: onnx
RAGSTONE_EMBEDDER__PROVIDER: {{ .Values.provider }}
{{- with .Values.reranker.model }}
RAGSTONE_RERANKER__KIND: onnx
RAGSTONE_RERANKER__MODEL: {{ . | quote }}
RAGSTONE_RERANKER__PROVIDER: {{ $.Values.provider }}
{{- end }}
{{- with .Values.batches }}
RAGSTONE_EMBEDDING_SERVICE__BATCH_TOKENS: {{ .tokens | int64 | quote }}
RAGSTONE_EMBEDDING_SERVICE__BATCH_TEXTS: {{ .texts | int64 | quote }}
RAGSTONE_EMBEDDING_SERVICE__QUEUE_TEXTS: {{ .queue | int64 | quote }}
{{- end }}
RAGSTONE_EMBEDDING_SERVICE__CONCURRENT_REQUESTS: {{ .Values.concurrentRequests | int64 | quote }}
RAGSTONE_EMBEDDING_SERVICE__PORT: "8644"
RAGSTONE_MANAGEMENT_PORT: "8643"
{{- end -}}

{{/* The image and the settings of each of its containers. */}}
{{- define "embedding.container" -}}
{{ include "common.container" (dict "root" . "variant" (ternary "model" "" .Values.model.baked)) }}
envFrom:
  - configMapRef:
      name: {{ include "common.name" (dict "root" . "suffix" "settings") }}
{{ include "common.resources" .Values.resources }}
{{- end -}}

{{/* Fetches the model unless the cache holds it, checks its digest and builds its graph. */}}
{{- define "embedding.initContainers" -}}
{{- if include "embedding.pullsModel" . }}
- name: model
  args: [models, pull]
  {{- include "embedding.container" . | nindent 2 }}
  {{- with .Values.extraEnv }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: models
      mountPath: /var/cache/ragstone
    {{- include "common.mounts" . | nindent 4 }}
{{- end }}
{{- end -}}

{{/* Variables of the serving container: where it listens, and the file of its keys. */}}
{{- define "embedding.env" -}}
- name: RAGSTONE_HOST
  value: {{ .Values.listenAddress | quote }}
- name: RAGSTONE_API_KEYS_FILE
  value: /etc/ragstone/secrets/api-keys
{{- end -}}

{{- define "embedding.containers" -}}
- name: embedding
  args: [serve-embedding]
  {{- include "embedding.container" . | nindent 2 }}
  env:
    {{- include "embedding.env" . | nindent 4 }}
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: http
      containerPort: 8644
      protocol: TCP
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
    - name: secrets
      mountPath: /etc/ragstone/secrets
      readOnly: true
    {{- include "common.mounts" . | nindent 4 }}
{{- end -}}

{{- define "embedding.volumes" -}}
{{- if not .Values.model.baked }}
- name: models
  {{- if include "embedding.modelClaim" . }}
  persistentVolumeClaim:
    claimName: {{ include "embedding.modelClaim" . | quote }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .Values.model.cache.size | quote }}
  {{- end }}
{{- end }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ include "common.storeSecret" (dict "root" . "store" "embedding") | quote }}
          items:
            - key: api-keys
              path: api-keys
{{- end -}}

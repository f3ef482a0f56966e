{{/* Whether the model is a version of the model registry. Empty: no. */}}
{{- define "generation.registered" -}}
{{- if hasPrefix "models:/" .Values.model.name }}true{{ end -}}
{{- end -}}

{{/* Whether the model is fetched from public addresses: a name at the Hub, no path. Empty: no. */}}
{{- define "generation.fetchesModel" -}}
{{- if not (or (hasPrefix "/" .Values.model.name) (include "generation.registered" .)) }}true{{ end -}}
{{- end -}}

{{/* Name of the claim of the model cache, empty when the cache is an emptyDir. */}}
{{- define "generation.modelClaim" -}}
{{- with .Values.model.cache -}}
{{- if or .persistent .existingClaim -}}
{{- include "common.claimName" (dict "root" $ "suffix" "models" "claim" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The engine's settings, as a map that the application reads from JSON. */}}
{{- define "generation.engine" -}}
{{- $engine := dict "kind" .Values.engine.kind -}}
{{- if eq .Values.engine.kind "vllm" -}}
{{- with .Values.engine.vllm -}}
{{- $_ := set $engine "tensor_parallel_size" (int .tensorParallelSize) -}}
{{- with .quantization }}{{ $_ := set $engine "quantization" . }}{{ end -}}
{{- with .dtype }}{{ $_ := set $engine "dtype" . }}{{ end -}}
{{- with .gpuMemoryUtilization }}{{ $_ := set $engine "gpu_memory_utilization" . }}{{ end -}}
{{- $_ := set $engine "prefix_caching" .prefixCaching -}}
{{- with .lora }}{{ $_ := set $engine "lora" . }}{{ end -}}
{{- with .arguments }}{{ $_ := set $engine "arguments" . }}{{ end -}}
{{- $_ := set $engine "silent_seconds" (int .silentSeconds) -}}
{{- end -}}
{{- $_ := set $engine "startup_seconds" (int .Values.probes.startupSeconds) -}}
{{- else -}}
{{- $_ := set $engine "threads" (int .Values.engine.threads) -}}
{{- end -}}
{{- $engine | toJson -}}
{{- end -}}

{{/* From values to the application's settings (src/ragstone/settings/generation_service.py), those that are no secret. */}}
{{- define "generation.settings" -}}
HF_HOME: /models/hub
RAGSTONE_DATA_DIR: /tmp/ragstone
RAGSTONE_MANAGEMENT_PORT: "8643"
RAGSTONE_GENERATION_SERVICE__PORT: "8645"
{{- if include "generation.registered" . }}
RAGSTONE_MODELS: /models/registry
RAGSTONE_GENERATION_SERVICE__TWO_ENGINES: {{ .Values.rollout.twoEngines | quote }}
{{- end }}
{{- with .Values.model }}
RAGSTONE_GENERATION_SERVICE__MODEL: {{ .name | quote }}
RAGSTONE_GENERATION_SERVICE__NAME: {{ .servedName | quote }}
RAGSTONE_GENERATION_SERVICE__CONTEXT_WINDOW: {{ .contextWindow | int64 | quote }}
{{- with .revision }}
RAGSTONE_GENERATION_SERVICE__REVISION: {{ . | quote }}
{{- end }}
{{- with .digest }}
RAGSTONE_GENERATION_SERVICE__DIGEST: {{ . | quote }}
{{- end }}
{{- end }}
{{- with .Values.limits }}
RAGSTONE_GENERATION_SERVICE__RUNNING: {{ .running | int64 | quote }}
RAGSTONE_GENERATION_SERVICE__WAITING: {{ .waiting | int64 | quote }}
RAGSTONE_GENERATION_SERVICE__MAX_TOKENS: {{ .maxTokens | int64 | quote }}
RAGSTONE_GENERATION_SERVICE__ANSWER_SECONDS: {{ .answerSeconds | int64 | quote }}
{{- end }}
RAGSTONE_GENERATION_SERVICE__ENGINE: {{ include "generation.engine" . | quote }}
{{- end -}}

{{/* Variables of the serving container: where it listens, and the file of its keys. */}}
{{- define "generation.env" -}}
- name: RAGSTONE_HOST
  value: {{ .Values.listenAddress | quote }}
- name: RAGSTONE_API_KEYS_FILE
  value: /etc/ragstone/secrets/api-keys
{{- end -}}

{{/* Requests and limits with the GPUs, which Kubernetes wants to be the same in both. */}}
{{- define "generation.resources" -}}
{{- $resources := deepCopy .Values.resources -}}
{{- if gt (int .Values.gpu.count) 0 -}}
{{- range $kind := list "requests" "limits" -}}
{{- $_ := set $resources $kind (merge (dict $.Values.gpu.resource (int $.Values.gpu.count)) (default dict (get $resources $kind))) -}}
{{- end -}}
{{- end -}}
{{- include "common.resources" $resources -}}
{{- end -}}

{{/*
The startup probe asks whether the engine is up, for loading takes minutes: until then nothing else is asked, and nothing restarts it. Then readiness asks
the same, and liveness whether the process is there: an engine that dies is started again by the service itself.
*/}}
{{- define "generation.probes" -}}
startupProbe:
  httpGet: {path: /readyz, port: management}
  periodSeconds: 5
  timeoutSeconds: 6
  failureThreshold: {{ div (add (int .Values.probes.startupSeconds) 4) 5 }}
readinessProbe:
  httpGet: {path: /readyz, port: management}
  periodSeconds: 5
  timeoutSeconds: 6
  failureThreshold: 3
livenessProbe:
  httpGet: {path: /healthz, port: management}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}

{{- define "generation.containers" -}}
- name: generation
  args: [serve-generation, --grace, {{ .Values.graceSeconds | int64 | quote }}]
  {{- include "common.container" (dict "root" . "variant" (ternary "vllm" "" (eq .Values.engine.kind "vllm"))) | nindent 2 }}
  envFrom:
    - configMapRef:
        name: {{ include "common.name" (dict "root" . "suffix" "settings") }}
  {{- include "generation.resources" . | nindent 2 }}
  env:
    {{- include "generation.env" . | nindent 4 }}
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: http
      containerPort: 8645
      protocol: TCP
    - name: management
      containerPort: 8643
      protocol: TCP
  {{- include "generation.probes" . | nindent 2 }}
  {{- include "common.lifecycle" (dict "seconds" .Values.preStopSeconds) | nindent 2 }}
  volumeMounts:
    - name: models
      mountPath: /models
    - name: secrets
      mountPath: /etc/ragstone/secrets
      readOnly: true
    {{- if eq .Values.engine.kind "vllm" }}
    - name: shm
      mountPath: /dev/shm
    {{- end }}
    {{- include "common.mounts" . | nindent 4 }}
{{- end -}}

{{- define "generation.volumes" -}}
- name: models
  {{- if include "generation.modelClaim" . }}
  persistentVolumeClaim:
    claimName: {{ include "generation.modelClaim" . | quote }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .Values.model.cache.size | quote }}
  {{- end }}
{{- if eq .Values.engine.kind "vllm" }}
# The parts of a model on several GPUs talk through it; a container's own is 64 MiB.
- name: shm
  emptyDir:
    medium: Memory
    sizeLimit: {{ .Values.gpu.sharedMemory | quote }}
{{- end }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ include "common.storeSecret" (dict "root" . "store" "generation") | quote }}
          items:
            - key: api-keys
              path: api-keys
{{- end -}}

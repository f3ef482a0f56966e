{{/* From values to the application's settings (src/ragstone/settings/model.py). */}}

{{/* Settings that are no secret, as a map of strings. int64: Helm reads numbers as floats and would print 5e+07. */}}
{{- define "orchestrator.settings" -}}
RAGSTONE_DATA_DIR: /var/lib/ragstone/data
RAGSTONE_MODELS: {{ ternary "/opt/ragstone-models" "/var/cache/ragstone/models" .Values.model.baked }}
RAGSTONE_MODEL: {{ .Values.model.name | quote }}
RAGSTONE_THREADS: {{ .Values.model.threads | int64 | quote }}
RAGSTONE_GENERATOR__KIND: {{ .Values.generator.kind }}
{{- if eq .Values.generator.kind "openai" }}
{{- with .Values.generator.openai }}
RAGSTONE_GENERATOR__BASE_URL: {{ ternary (printf "%s/v1" (include "common.storeAddress" (dict "root" $ "store" "generation"))) .baseUrl (eq (include "common.generatesElsewhere" $) "true") | quote }}
RAGSTONE_GENERATOR__MODEL: {{ .model | quote }}
RAGSTONE_GENERATOR__CONTEXT_WINDOW: {{ .contextWindow | int64 | quote }}
RAGSTONE_GENERATOR__TIMEOUT: {{ .timeout | toString | quote }}
{{- end }}
{{- else }}
RAGSTONE_GENERATOR__MAX_SENTENCES: {{ .Values.generator.maxSentences | int64 | quote }}
{{- end }}
{{- with .Values.limits }}
RAGSTONE_LIMITS__DOCUMENT_BYTES: {{ .documentBytes | int64 | quote }}
RAGSTONE_LIMITS__REQUEST_BYTES: {{ .requestBytes | int64 | quote }}
RAGSTONE_LIMITS__DOCUMENTS: {{ .documents | int64 | quote }}
RAGSTONE_LIMITS__QUESTION_CHARACTERS: {{ .questionCharacters | int64 | quote }}
RAGSTONE_LIMITS__TOP_K: {{ .topK | int64 | quote }}
RAGSTONE_LIMITS__PENDING_JOBS: {{ .pendingJobs | int64 | quote }}
RAGSTONE_LIMITS__CONCURRENT_QUERIES: {{ .concurrentQueries | int64 | quote }}
{{- end }}
{{- with .Values.interactions }}
RAGSTONE_INTERACTIONS__KEEP_DAYS: {{ .keepDays | toString | quote }}
RAGSTONE_INTERACTIONS__REDACT: {{ .redact | toJson | quote }}
RAGSTONE_INTERACTIONS__SPOOL_BYTES: {{ .spoolBytes | int64 | quote }}
{{- end }}
{{- end -}}

{{/* The secrets that the process may need: a map from suffix to {section, path in values, file name, setting}. */}}
{{- define "orchestrator.secrets" -}}
api-keys:
  setting: RAGSTONE_API_KEYS_FILE
  section:
    {{- toYaml .Values.apiKeys | nindent 4 }}
{{- if eq .Values.generator.kind "openai" }}
openai-api-key:
  setting: RAGSTONE_GENERATOR__API_KEY_FILE
  section:
    {{- toYaml .Values.generator.openai.apiKey | nindent 4 }}
{{- end }}
redact-key:
  setting: RAGSTONE_INTERACTIONS__REDACT_KEY_FILE
  section:
    {{- toYaml .Values.interactions.redactKey | nindent 4 }}
{{- end -}}

{{/* Variables of the serving container: where it listens, and the files of its secrets. */}}
{{- define "orchestrator.env" -}}
- name: RAGSTONE_HOST
  value: {{ .Values.listenAddress | quote }}
- name: RAGSTONE_PORT
  value: "8642"
- name: RAGSTONE_MANAGEMENT_PORT
  value: "8643"
{{- if include "common.inCluster" . }}
- name: RAGSTONE_ROLE
  value: api
{{- if include "common.generatesElsewhere" . }}
- name: RAGSTONE_GENERATOR__API_KEY_FILE
  value: /etc/ragstone/stores/generation/api-key
{{- end }}
{{ include "common.storeSettingVariables" (dict "root" . "queue" true) }}
{{- end }}
{{- range $suffix, $secret := fromYaml (include "orchestrator.secrets" .) }}
{{- if include "common.secretName" (dict "root" $ "secret" $secret.section "suffix" $suffix) }}
- name: {{ $secret.setting }}
  value: /etc/ragstone/secrets/{{ $suffix }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Which value stands for a setting that the above may set; empty for what the chart alone decides. */}}
{{- define "orchestrator.valueOf" -}}
RAGSTONE_DATA_DIR: ""
RAGSTONE_MODELS: ""
RAGSTONE_HOST: listenAddress
RAGSTONE_PORT: ""
RAGSTONE_MANAGEMENT_PORT: ""
RAGSTONE_API_KEYS_FILE: apiKeys
RAGSTONE_MODEL: model.name
RAGSTONE_THREADS: model.threads
RAGSTONE_GENERATOR__KIND: generator.kind
RAGSTONE_GENERATOR__MAX_SENTENCES: generator.maxSentences
RAGSTONE_GENERATOR__BASE_URL: generator.openai.baseUrl
RAGSTONE_GENERATOR__MODEL: generator.openai.model
RAGSTONE_GENERATOR__CONTEXT_WINDOW: generator.openai.contextWindow
RAGSTONE_GENERATOR__TIMEOUT: generator.openai.timeout
RAGSTONE_GENERATOR__API_KEY_FILE: generator.openai.apiKey
RAGSTONE_LIMITS__DOCUMENT_BYTES: limits.documentBytes
RAGSTONE_LIMITS__REQUEST_BYTES: limits.requestBytes
RAGSTONE_LIMITS__DOCUMENTS: limits.documents
RAGSTONE_LIMITS__QUESTION_CHARACTERS: limits.questionCharacters
RAGSTONE_LIMITS__TOP_K: limits.topK
RAGSTONE_LIMITS__PENDING_JOBS: limits.pendingJobs
RAGSTONE_LIMITS__CONCURRENT_QUERIES: limits.concurrentQueries
RAGSTONE_INTERACTIONS__KEEP_DAYS: interactions.keepDays
RAGSTONE_INTERACTIONS__REDACT: interactions.redact
RAGSTONE_INTERACTIONS__REDACT_KEY_FILE: interactions.redactKey
RAGSTONE_INTERACTIONS__SPOOL_BYTES: interactions.spoolBytes
{{- end -}}

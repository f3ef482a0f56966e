{{/* What a process of ragstone needs to reach the stores of a cluster: settings (src/ragstone/settings), secrets as files, edges. Nothing with embedded stores. */}}

{{/* Whether the stores are servers of their own. Empty: they are embedded. Takes the root. */}}
{{- define "common.inCluster" -}}
{{- if eq (dig "stores" "embedded" (default dict .Values.global)) "cluster" }}true{{ end -}}
{{- end -}}

{{/* Whether texts are embedded by the embedding service (or by each process itself). Empty: no. Takes the root. */}}
{{- define "common.embedsElsewhere" -}}
{{- if eq (dig "embedding" "process" (default dict .Values.global)) "service" }}true{{ end -}}
{{- end -}}

{{/* Arguments that fetch the model; without its graph where the tokenizer alone is needed. Takes the root; `embeds` in it: it embeds, whoever else does. */}}
{{- define "common.pullArguments" -}}
{{- if and (include "common.inCluster" .) (include "common.embedsElsewhere" .) (not .embeds) }}[models, pull, --files-only]{{ else }}[models, pull]{{ end -}}
{{- end -}}

{{/* Whether answers are written by the generation service (or by what orchestrator.generator says). Empty: no. Takes the root. */}}
{{- define "common.generatesElsewhere" -}}
{{- if eq (dig "generation" "settings" (default dict .Values.global)) "service" }}true{{ end -}}
{{- end -}}

{{/* The stores that a process uses: root, queue (true: the queue too), answers (true: it answers questions). A YAML list. */}}
{{- define "common.usedStores" -}}
{{- if include "common.inCluster" .root -}}
{{- $stores := list "mongodb" "lakefs" "qdrant" -}}
{{- if .queue }}{{ $stores = append $stores "nats" }}{{ end -}}
{{- if and .queue (eq (dig "tracking" "none" (default dict .root.Values.global)) "mlflow") }}{{ $stores = append $stores "mlflow" }}{{ end -}}
{{- if include "common.usesObjectStore" .root }}{{ $stores = append $stores "object-store" }}{{ end -}}
{{- if and .queue (include "common.embedsElsewhere" .root) }}{{ $stores = append $stores "embedding" }}{{ end -}}
{{- if and .answers (include "common.generatesElsewhere" .root) }}{{ $stores = append $stores "generation" }}{{ end -}}
{{- $stores | toYaml -}}
{{- else -}}
[]
{{- end -}}
{{- end -}}

{{/* Settings that are no secret, as a map of strings: root, queue (true: what a process needs that takes part in the work, too). */}}
{{- define "common.storeSettings" -}}
{{- $global := default dict .root.Values.global -}}
{{- $objects := include "common.storeAddress" (dict "root" .root "store" "object-store") -}}
RAGSTONE_CATALOG__KIND: mongo
RAGSTONE_CATALOG__URI_FILE: /etc/ragstone/stores/mongodb/uri
RAGSTONE_VERSIONS__KIND: lakefs
RAGSTONE_VERSIONS__ENDPOINT: {{ include "common.storeAddress" (dict "root" .root "store" "lakefs") | quote }}
RAGSTONE_VERSIONS__SECRET_ACCESS_KEY_FILE: /etc/ragstone/stores/lakefs/secret-access-key
{{- if include "common.usesObjectStore" .root }}
RAGSTONE_VERSIONS__STORAGE_NAMESPACE: s3://{{ include "common.bucket" (dict "root" .root "name" "lakefs") }}
RAGSTONE_VERSIONS__OBJECT_STORE__URL: s3://{{ include "common.bucket" (dict "root" .root "name" "lakefs") }}
RAGSTONE_VERSIONS__OBJECT_STORE__ENDPOINT: {{ $objects | quote }}
RAGSTONE_VERSIONS__OBJECT_STORE__REGION: {{ include "common.region" .root | quote }}
RAGSTONE_VERSIONS__OBJECT_STORE__SECRET_ACCESS_KEY_FILE: /etc/ragstone/stores/object-store/secret-access-key
{{- else }}
RAGSTONE_VERSIONS__STORAGE_NAMESPACE: local://ragstone
{{- end }}
RAGSTONE_INDEX__KIND: qdrant
RAGSTONE_INDEX__URL: {{ include "common.storeAddress" (dict "root" .root "store" "qdrant") | quote }}
RAGSTONE_INDEX__GRPC_PORT: {{ dig "external" "qdrant" "grpcPort" 6334 $global | int64 | quote }}
RAGSTONE_INDEX__API_KEY_FILE: /etc/ragstone/stores/qdrant/api-key
RAGSTONE_INDEX__REPLICATION_FACTOR: {{ dig "index" "replicationFactor" 1 $global | int64 | quote }}
RAGSTONE_INDEX__SHARD_NUMBER: {{ dig "index" "shards" 1 $global | int64 | quote }}
RAGSTONE_INDEX__QUANTISATION: {{ dig "index" "quantisation" "none" $global }}
RAGSTONE_INDEX__ON_DISK: {{ dig "index" "onDisk" false $global | quote }}
{{- if .queue }}
RAGSTONE_QUEUE__KIND: nats
RAGSTONE_QUEUE__URL: {{ include "common.storeAddress" (dict "root" .root "store" "nats") | quote }}
RAGSTONE_QUEUE__USER: ragstone
RAGSTONE_QUEUE__PASSWORD_FILE: /etc/ragstone/stores/nats/password
RAGSTONE_QUEUE__REPLICAS: {{ dig "queue" "replicas" 1 $global | int64 | quote }}
{{- if eq (dig "tracking" "none" $global) "mlflow" }}
RAGSTONE_TRACKING__KIND: mlflow
RAGSTONE_TRACKING__URI: {{ include "common.storeAddress" (dict "root" .root "store" "mlflow") | quote }}
{{- end }}
{{- if include "common.embedsElsewhere" .root }}
RAGSTONE_EMBEDDER__KIND: ragstone
RAGSTONE_EMBEDDER__BASE_URL: {{ include "common.storeAddress" (dict "root" .root "store" "embedding") }}/v1
RAGSTONE_EMBEDDER__MODEL: {{ base .root.Values.model.name | quote }}
RAGSTONE_EMBEDDER__TOKENIZER: {{ .root.Values.model.name | quote }}
RAGSTONE_EMBEDDER__API_KEY_FILE: /etc/ragstone/stores/embedding/api-key
{{- end }}
{{- end }}
{{- end -}}

{{/* All of them as variables of the container that needs the stores (an init container does not): root, queue. A YAML list. */}}
{{- define "common.storeSettingVariables" -}}
{{ include "common.storeVariable" (dict "root" .root "store" "lakefs" "name" "RAGSTONE_VERSIONS__ACCESS_KEY_ID" "key" "access-key-id") }}
{{- if include "common.usesObjectStore" .root }}
{{ include "common.storeVariable" (dict "root" .root "store" "object-store" "name" "RAGSTONE_VERSIONS__OBJECT_STORE__ACCESS_KEY_ID" "key" "access-key-id") }}
{{- end }}
{{- range $name, $value := fromYaml (include "common.storeSettings" .) }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/* The volume with the stores' secrets: root, queue, answers. Below it a directory for each store. */}}
{{- define "common.storeVolume" -}}
{{- $keys := dict "mongodb" (list "uri") "lakefs" (list "secret-access-key") "qdrant" (list "api-key") "nats" (list "password") "object-store" (list "secret-access-key") "embedding" (list "api-key") "generation" (list "api-key") -}}
- name: stores
  projected:
    defaultMode: 0440
    sources:
      {{- range $store := fromYamlArray (include "common.usedStores" .) }}
      {{- if hasKey $keys $store }}
      - secret:
          name: {{ include "common.storeSecret" (dict "root" $.root "store" $store) | quote }}
          items:
            {{- range get $keys $store }}
            - key: {{ . }}
              path: {{ $store }}/{{ . }}
            {{- end }}
      {{- end }}
      {{- end }}
{{- end -}}

{{/* Its mount. */}}
{{- define "common.storeMount" -}}
- name: stores
  mountPath: /etc/ragstone/stores
  readOnly: true
{{- end -}}

{{/* extraEnv for a container that reaches no store: without the settings of stores, of which it has no other part. Empty: none is left. */}}
{{- define "common.extraEnvWithoutStores" -}}
{{- $kept := list -}}
{{- range .Values.extraEnv -}}
{{- if not (regexMatch "^RAGSTONE_(CATALOG|VERSIONS|INDEX|QUEUE|TRACKING|BACKUP)__" .name) -}}{{- $kept = append $kept . -}}{{- end -}}
{{- end -}}
{{- with $kept }}{{ toYaml . }}{{ end -}}
{{- end -}}

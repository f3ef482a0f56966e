{{/* What a process of ragstone needs to reach the stores of a cluster: settings (src/ragstone/settings), secrets as files, edges. Nothing with embedded stores. */}}

{{/* Whether the stores are servers of their own. Empty: they are embedded. Takes the root. */}}
{{- define "common.inCluster" -}}
{{- if eq (dig "stores" "embedded" (default dict .Values.global)) "cluster" }}true{{ end -}}
{{- end -}}

{{/* The stores that a process uses: root, queue (true: the queue too). A YAML list. */}}
{{- define "common.usedStores" -}}
{{- if include "common.inCluster" .root -}}
{{- $stores := list "mongodb" "lakefs" "qdrant" -}}
{{- if .queue }}{{ $stores = append $stores "nats" }}{{ end -}}
{{- if and .queue (eq (dig "tracking" "none" (default dict .root.Values.global)) "mlflow") }}{{ $stores = append $stores "mlflow" }}{{ end -}}
{{- append $stores "object-store" | toYaml -}}
{{- else -}}
[]
{{- end -}}
{{- end -}}

{{/* Settings that are no secret, as a map of strings: root. */}}
{{- define "common.storeSettings" -}}
RAGSTONE_CATALOG__KIND: mongo
RAGSTONE_CATALOG__URI_FILE: /etc/ragstone/stores/mongodb/uri
RAGSTONE_VERSIONS__KIND: lakefs
RAGSTONE_VERSIONS__ENDPOINT: {{ include "common.storeAddress" (dict "root" . "store" "lakefs") | quote }}
RAGSTONE_VERSIONS__SECRET_ACCESS_KEY_FILE: /etc/ragstone/stores/lakefs/secret-access-key
RAGSTONE_VERSIONS__STORAGE_NAMESPACE: s3://{{ include "common.bucket" (dict "root" . "name" "lakefs") }}
RAGSTONE_INDEX__KIND: qdrant
RAGSTONE_INDEX__URL: {{ include "common.storeAddress" (dict "root" . "store" "qdrant") | quote }}
RAGSTONE_INDEX__API_KEY_FILE: /etc/ragstone/stores/qdrant/api-key
RAGSTONE_QUEUE__KIND: nats
RAGSTONE_QUEUE__URL: {{ include "common.storeAddress" (dict "root" . "store" "nats") | quote }}
RAGSTONE_QUEUE__USER: ragstone
RAGSTONE_QUEUE__PASSWORD_FILE: /etc/ragstone/stores/nats/password
{{- if eq (dig "tracking" "none" (default dict .Values.global)) "mlflow" }}
RAGSTONE_TRACKING__KIND: mlflow
RAGSTONE_TRACKING__URI: {{ include "common.storeAddress" (dict "root" . "store" "mlflow") | quote }}
{{- end }}
{{- end -}}

{{/* All of them as variables of the container that needs the stores (an init container does not): root. A YAML list. */}}
{{- define "common.storeSettingVariables" -}}
{{ include "common.storeVariable" (dict "root" . "store" "lakefs" "name" "RAGSTONE_VERSIONS__ACCESS_KEY_ID" "key" "access-key-id") }}
{{- range $name, $value := fromYaml (include "common.storeSettings" .) }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/* The volume with the stores' secrets: root, queue, objects (true: the object store's too). Below it a directory for each store. */}}
{{- define "common.storeVolume" -}}
{{- $keys := dict "mongodb" (list "uri") "lakefs" (list "secret-access-key") "qdrant" (list "api-key") "nats" (list "password") -}}
{{- if .objects }}{{ $_ := set $keys "object-store" (list "secret-access-key") }}{{ end -}}
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

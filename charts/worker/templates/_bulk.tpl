{{/* Bulk work: the settings of whoever makes Jobs, and the pod that a Job is made of. */}}

{{- define "worker.bulkSettings" -}}
RAGSTONE_BULK__KIND: kubernetes
RAGSTONE_BULK__NAMESPACE: {{ .Release.Namespace | quote }}
RAGSTONE_BULK__POD_TEMPLATE: /etc/ragstone/bulk/pod.yaml
RAGSTONE_BULK__SHARDS: {{ .Values.bulk.shards | int64 | quote }}
RAGSTONE_BULK__PARALLELISM: {{ .Values.bulk.parallelism | int64 | quote }}
RAGSTONE_BULK__RETRIES: {{ .Values.bulk.retries | int64 | quote }}
RAGSTONE_BULK__LEAST: {{ .Values.bulk.least | int64 | quote }}
RAGSTONE_BULK__WINDOW: {{ .Values.bulk.window | int64 | quote }}
{{- end -}}

{{/*
A shard's pod. It reaches MongoDB, where texts and vectors are staged, and no other store; its account has no rights, and no token. The runner puts in the
arguments, and what makes it a part of an Indexed Job.
*/}}
{{- define "worker.bulkPod" -}}
{{- $values := merge (pick .Values.bulk "resources" "nodeSelector" "tolerations") (omit .Values "resources" "nodeSelector" "tolerations") -}}
{{- $root := merge (dict "Values" $values "embeds" true) (omit . "Values") -}}
metadata:
  labels:
    {{- include "common.labelsOf" (dict "root" . "part" "bulk") | nindent 4 }}
    app.kubernetes.io/part-of: ragstone
  annotations:
    kubectl.kubernetes.io/default-container: shard
spec:
  {{- include "common.podBase" (dict "root" $root "suffix" "bulk") | nindent 2 }}
  {{- with include "common.priority" . }}
  {{- . | nindent 2 }}
  {{- end }}
  restartPolicy: Never
  {{- with include "worker.initContainers" $root | trim }}
  initContainers:
    {{- . | nindent 4 }}
  {{- end }}
  containers:
    - name: shard
      {{- include "worker.container" $root | nindent 6 }}
      env:
        - name: RAGSTONE_CATALOG__KIND
          value: mongo
        - name: RAGSTONE_CATALOG__URI_FILE
          value: /etc/ragstone/stores/mongodb/uri
        {{- with include "common.extraEnvWithoutStores" . }}
        {{- . | nindent 8 }}
        {{- end }}
      volumeMounts:
        {{- if not .Values.model.baked }}
        - name: models
          mountPath: /var/cache/ragstone
        {{- end }}
        {{- include "common.storeMount" . | nindent 8 }}
        {{- include "common.mounts" . | nindent 8 }}
  volumes:
    {{- include "worker.modelVolume" . | nindent 4 }}
    - name: stores
      projected:
        defaultMode: 0440
        sources:
          - secret:
              name: {{ include "common.storeSecret" (dict "root" . "store" "mongodb") | quote }}
              items:
                - key: uri
                  path: mongodb/uri
    - name: tmp
      emptyDir:
        sizeLimit: {{ .Values.tmp.size | quote }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

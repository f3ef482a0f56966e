{{/*
The stores of a cluster: where they are, what their Secrets are called. What several components have to know stands in `global`; a component that is
installed alone takes the umbrella's defaults. A store is one of mongodb, qdrant, lakefs, nats, object-store, mlflow; the services of models, embedding and generation, are reached as they are.
*/}}

{{/* Region of the object store: root. */}}
{{- define "common.region" -}}
{{- dig "region" "us-east-1" (default dict .Values.global) -}}
{{- end -}}

{{/* Name of a bucket: root, name (lakefs, mlflow, backups). */}}
{{- define "common.bucket" -}}
{{- dig "buckets" .name (printf "ragstone-%s" .name) (default dict .root.Values.global) -}}
{{- end -}}

{{/* Whether lakeFS keeps objects in the object store (or on its own volume). Empty: no. Takes the root. */}}
{{- define "common.usesObjectStore" -}}
{{- if eq (dig "blockstore" "s3" (default dict .Values.global)) "s3" }}true{{ end -}}
{{- end -}}

{{/* The name under which a store stands in global.secrets and global.external: "object-store" is objectStore there. Takes the store. */}}
{{- define "common.storeKey" -}}
{{- . | replace "-" " " | title | replace " " "" | untitle -}}
{{- end -}}

{{/* The objects of another component of this release: root, component. */}}
{{- define "common.componentName" -}}
{{- include "common.fit" (printf "%s-%s" .root.Release.Name .component) -}}
{{- end -}}

{{/* Labels of another component's pods: root, component. */}}
{{- define "common.componentLabels" -}}
app.kubernetes.io/name: {{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
{{- end -}}

{{/* Name of a store's Secret: root, store. What keys it has stands in docs/charts.md. */}}
{{- define "common.storeSecret" -}}
{{- $named := dig "secrets" (include "common.storeKey" .store) "existingSecret" "" (default dict .root.Values.global) -}}
{{- default (include "common.componentName" (dict "root" .root "component" .store)) $named -}}
{{- end -}}

{{/* A variable from a store's Secret, for programs that read nothing else: root, store, name, key. */}}
{{- define "common.storeVariable" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ include "common.storeSecret" . | quote }}
      key: {{ .key }}
{{- end -}}

{{/*
The ExternalSecrets of stores: root, stores. Only the chart that is installed makes them, so that none is made twice. The remote key holds all the keys of
the Secret (docs/charts.md).
*/}}
{{- define "common.storeExternalSecrets" -}}
{{- if .root.Chart.IsRoot -}}
{{- range $store := .stores -}}
{{- with dig "secrets" (include "common.storeKey" $store) "externalSecret" dict (default dict $.root.Values.global) }}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata:
  {{- include "common.metadata" (dict "root" $.root "suffix" "" "name" (include "common.storeSecret" (dict "root" $.root "store" $store))) | nindent 2 }}
spec:
  refreshInterval: {{ .refreshInterval | default "1h0m0s" }}
  secretStoreRef:
    name: {{ .storeRef.name | quote }}
    kind: {{ .storeRef.kind | default "SecretStore" }}
  target:
    name: {{ include "common.storeSecret" (dict "root" $.root "store" $store) | quote }}
    creationPolicy: Owner
    deletionPolicy: Retain
  dataFrom:
    - extract:
        key: {{ .remoteKey | quote }}
        conversionStrategy: Default
        decodingStrategy: None
        metadataPolicy: None
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Whether a store is outside the release: root, store. Empty: no. */}}
{{- define "common.isExternal" -}}
{{- $external := dig "external" (include "common.storeKey" .store) dict (default dict .root.Values.global) -}}
{{- if or $external.enabled $external.url $external.endpoint }}true{{ end -}}
{{- end -}}

{{/* Address of a store: root, store. MongoDB's stands in its Secret. */}}
{{- define "common.storeAddress" -}}
{{- $external := dig "external" (include "common.storeKey" .store) dict (default dict .root.Values.global) -}}
{{- $schemes := dict "qdrant" "http://%s:6333" "lakefs" "http://%s:8000" "nats" "nats://%s:4222" "object-store" "http://%s:8333" "mlflow" "http://%s:5000" "embedding" "http://%s:8644" "generation" "http://%s:8645" -}}
{{- default (printf (get $schemes .store) (include "common.componentName" (dict "root" .root "component" .store))) (default $external.url $external.endpoint) -}}
{{- end -}}

{{/*
Edges to stores inside the release, as a YAML list for common.networkPolicy: root, stores. For those outside it: global.external.egress.
*/}}
{{- define "common.storeEdges" -}}
{{- $ports := dict "mongodb" (list 27017) "qdrant" (list 6333 6334) "lakefs" (list 8000) "nats" (list 4222) "object-store" (list 8333) "mlflow" (list 5000) "embedding" (list 8644) "generation" (list 8645) -}}
{{- $edges := list -}}
{{- range .stores -}}
{{- if not (include "common.isExternal" (dict "root" $.root "store" .)) -}}
{{- $edges = append $edges (dict "pods" (fromYaml (include "common.componentLabels" (dict "root" $.root "component" .))) "ports" (get $ports .)) -}}
{{- end -}}
{{- end -}}
{{- $edges | toYaml -}}
{{- end -}}

{{/* Edges from components of the release, as a YAML list: root, components, ports. */}}
{{- define "common.edgesFrom" -}}
{{- $edges := list -}}
{{- range .components -}}
{{- $edges = append $edges (dict "pods" (fromYaml (include "common.componentLabels" (dict "root" $.root "component" .))) "ports" $.ports) -}}
{{- end -}}
{{- $edges | toYaml -}}
{{- end -}}

{{/* Whole objects, each made by one line of a subchart's template. */}}

{{/* ServiceAccount without rights and without token: root, if wanted test (true: that of the test pods) or part (that of another part), without the values' annotations. */}}
{{- define "common.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- if .test }}
  {{- include "common.metadata" (dict "root" .root "suffix" "test" "test" true) | nindent 2 }}
  {{- else if .part }}
  {{- include "common.metadata" (dict "root" .root "suffix" .part "part" .part) | nindent 2 }}
  {{- else }}
  {{- include "common.metadata" (dict "root" .root "annotations" .root.Values.serviceAccount.annotations) | nindent 2 }}
  {{- end }}
automountServiceAccountToken: false
{{- end -}}

{{/* Service: root, ports (list of {name, port, and appProtocol if not http}; the container's ports have the same names). */}}
{{- define "common.service" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "common.metadata" (dict "root" .root) | nindent 2 }}
spec:
  type: ClusterIP
  selector:
    {{- include "common.selectorLabels" .root | nindent 4 }}
  ports:
    {{- range .ports }}
    - name: {{ .name }}
      port: {{ .port }}
      targetPort: {{ .name }}
      protocol: TCP
      appProtocol: {{ .appProtocol | default "http" }}
    {{- end }}
{{- end -}}

{{/*
PodDisruptionBudget: root. maxUnavailable, never minAvailable: with one replica, minAvailable 1 would keep a node from being drained for ever.
A pod that is not ready serves nobody, so it may always be evicted.
*/}}
{{- define "common.podDisruptionBudget" -}}
{{- if .Values.podDisruptionBudget.enabled -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "common.metadata" (dict "root" .) | nindent 2 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "common.selectorLabels" . | nindent 6 }}
{{- end -}}
{{- end -}}

{{/*
PersistentVolumeClaim: root, suffix, claim ({existingClaim, size, storageClassName, accessMode, keep}). Nothing when an existing claim is used.
Access mode and storage class are immutable in a claim; the size may only grow.
*/}}
{{- define "common.persistentVolumeClaim" -}}
{{- if not .claim.existingClaim -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  {{- $annotations := ternary (dict "helm.sh/resource-policy" "keep") dict .claim.keep }}
  {{- include "common.metadata" (dict "root" .root "suffix" .suffix "annotations" $annotations) | nindent 2 }}
spec:
  accessModes: [{{ .claim.accessMode }}]
  {{- with .claim.storageClassName }}
  storageClassName: {{ . | quote }}
  {{- end }}
  resources:
    requests:
      storage: {{ .claim.size | quote }}
{{- end -}}
{{- end -}}

{{/* Name of the claim that the above makes or uses: root, suffix, claim. */}}
{{- define "common.claimName" -}}
{{- default (include "common.name" (dict "root" .root "suffix" .suffix)) .claim.existingClaim -}}
{{- end -}}

{{/* ConfigMap: root, suffix, data (map of strings). */}}
{{- define "common.configMap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "common.metadata" (dict "root" .root "suffix" .suffix) | nindent 2 }}
data:
  {{- toYaml .data | nindent 2 }}
{{- end -}}

{{/* ServiceMonitor of the Prometheus Operator: root, port (a name). */}}
{{- define "common.serviceMonitor" -}}
{{- with .root.Values.metrics.serviceMonitor -}}
{{- if .enabled -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  {{- include "common.metadata" (dict "root" $.root "labels" .labels) | nindent 2 }}
spec:
  selector:
    matchLabels:
      {{- include "common.selectorLabels" $.root | nindent 6 }}
  endpoints:
    - port: {{ $.port }}
      path: /metrics
      interval: {{ .interval }}
{{- end -}}
{{- end -}}
{{- end -}}

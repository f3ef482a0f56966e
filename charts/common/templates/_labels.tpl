{{/* Labels and metadata. */}}

{{/* What Deployment, Service and PodDisruptionBudget select by. Immutable in a Deployment: these two lines never change. Takes the root. */}}
{{- define "common.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* The same for the chart's test pods, which no Service may select. */}}
{{- define "common.testSelectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-test
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* The labels of one of the chart's parts: root, and test (true: the test pods) or part (the name of another part, such as a job, which no Service may select). */}}
{{- define "common.labelsOf" -}}
{{- if .part -}}
{{- include "common.componentLabels" (dict "root" .root "component" (printf "%s-%s" .root.Chart.Name .part)) -}}
{{- else -}}
{{- include (ternary "common.testSelectorLabels" "common.selectorLabels" (default false .test)) .root -}}
{{- end -}}
{{- end -}}

{{/* Labels that name the versions. They are not in pod templates: a new chart version alone restarts nothing. */}}
{{- define "common.versionLabels" -}}
app.kubernetes.io/part-of: ragstone
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/*
metadata of an object: root, and if wanted suffix (of the name) or name (the whole), test (true: a part of `helm test`) or part (another part, such as a job), annotations and labels (maps).
The chart's own labels win over those given.
*/}}
{{- define "common.metadata" -}}
{{- $selector := include "common.labelsOf" (pick . "root" "test" "part") -}}
{{- $own := printf "%s\n%s" $selector (include "common.versionLabels" .root) -}}
name: {{ default (include "common.name" .) .name }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- $own | nindent 2 }}
  {{- range $key, $value := .labels }}
  {{- if not (hasKey (fromYaml $own) $key) }}
  {{- toYaml (dict $key $value) | nindent 2 }}
  {{- end }}
  {{- end }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
metadata of a pod template: root, checksums (a map from a name to text; a change of it restarts the pods).
The chart's own labels and checksums win over podLabels and podAnnotations.
*/}}
{{- define "common.podMetadata" -}}
{{- $own := fromYaml (include "common.selectorLabels" .root) -}}
{{- $annotations := dict "kubectl.kubernetes.io/default-container" .root.Chart.Name -}}
{{- range $name, $text := .checksums -}}
{{- $_ := set $annotations (printf "checksum/%s" $name) (sha256sum $text) -}}
{{- end -}}
labels:
  {{- toYaml (merge (dict "app.kubernetes.io/part-of" "ragstone") $own (default dict .root.Values.podLabels)) | nindent 2 }}
annotations:
  {{- toYaml (merge $annotations (default dict .root.Values.podAnnotations)) | nindent 2 }}
{{- end -}}

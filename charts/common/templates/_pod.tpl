{{/* The parts of a pod that are alike everywhere. */}}

{{/*
[registry/]repository:tag[@digest]: root, image (the values' image section), if wanted variant (of the image).
The tag is the chart's appVersion unless set, with the variant behind it ("0.1.0-model").
*/}}
{{- define "common.image" -}}
{{- $global := default dict .root.Values.global -}}
{{- $registry := default .image.registry $global.imageRegistry -}}
{{- with $registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- .image.repository }}:{{ with .image.tag }}{{ . }}{{ else }}{{ .root.Chart.AppVersion }}{{ with .variant }}-{{ . }}{{ end }}{{ end -}}
{{- with .image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* Pull secrets of global.imagePullSecrets, image.pullSecrets and those of the tools' image, each once: root. */}}
{{- define "common.imagePullSecrets" -}}
{{- $global := default dict .Values.global -}}
{{- with concat (default list $global.imagePullSecrets) (default list .Values.image.pullSecrets) (dig "image" "pullSecrets" list (default dict .Values.tools)) | uniq }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Pod Security "restricted" for the pod. The group owns the volumes; nothing is changed on a volume that it owns already, so big ones mount fast. */}}
{{- define "common.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Pod Security "restricted" for each container, init and test containers too. */}}
{{- define "common.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* How every container begins: root, if wanted image (a section of values instead of the usual one) and its variant. Its image, how it is pulled, its security context. */}}
{{- define "common.container" -}}
{{- $image := default .root.Values.image .image -}}
image: {{ include "common.image" (dict "root" .root "image" $image "variant" .variant) | quote }}
imagePullPolicy: {{ $image.pullPolicy }}
securityContext:
  {{- include "common.containerSecurityContext" .root | nindent 2 }}
{{- end -}}

{{/* Requests and limits without those that were taken back with null: the values' resources section. */}}
{{- define "common.resources" -}}
{{- $kept := dict -}}
{{- range $kind, $quantities := . -}}
{{- $given := dict -}}
{{- range $name, $quantity := $quantities -}}
{{- if not (kindIs "invalid" $quantity) -}}
{{- $_ := set $given $name $quantity -}}
{{- end -}}
{{- end -}}
{{- $_ := set $kept $kind $given -}}
{{- end -}}
resources:
  {{- toYaml $kept | nindent 2 }}
{{- end -}}

{{/*
How every pod begins: root, if wanted suffix (of the account's name). No service links: the variables that Kubernetes makes for a Service named "ragstone" (RAGSTONE_PORT=tcp://...) would be
taken for settings.
*/}}
{{- define "common.podBase" -}}
serviceAccountName: {{ include "common.name" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- include "common.imagePullSecrets" .root }}
securityContext:
  {{- include "common.podSecurityContext" .root | nindent 2 }}
{{- include "common.scheduling" .root }}
{{- end -}}

{{/* Where pods may run: root. */}}
{{- define "common.scheduling" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What serving pods may displace; a test pod displaces nobody: root. */}}
{{- define "common.priority" -}}
{{- with .Values.priorityClassName -}}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Replicas on different zones and nodes where there are any; nothing for one replica: root. */}}
{{- define "common.topologySpread" -}}
{{- if gt (int .Values.replicas) 1 -}}
topologySpreadConstraints:
  {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "common.selectorLabels" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end -}}

{{/*
Three probes on one port, each for its purpose: port (a name), live and ready (paths), startupSeconds.
startup: the process may take that long to load; the other two wait for it. readiness: takes the pod out of the Service while something it needs is
missing. liveness: restarts a process that hangs, so it asks for the process alone and never for what the process needs.
*/}}
{{- define "common.probes" -}}
startupProbe:
  httpGet: {path: {{ .live }}, port: {{ .port }}}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: {{ div (add (int .startupSeconds) 1) 2 }}
readinessProbe:
  httpGet: {path: {{ .ready }}, port: {{ .port }}}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 3
livenessProbe:
  httpGet: {path: {{ .live }}, port: {{ .port }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}

{{/* Graceful stop, the container's part: seconds. It goes on serving until every gateway has heard that the pod leaves. */}}
{{- define "common.lifecycle" -}}
{{- if gt (int .seconds) 0 -}}
lifecycle:
  preStop:
    sleep:
      seconds: {{ int .seconds }}
{{- end }}
{{- end -}}

{{/* Graceful stop, the pod's part: seconds (of the sleep), grace (that the process takes after SIGTERM); 15 seconds are for a busy node. */}}
{{- define "common.terminationGracePeriodSeconds" -}}
terminationGracePeriodSeconds: {{ add (int .seconds) (int .grace) 15 }}
{{- end -}}

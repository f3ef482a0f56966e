{{/* Deployments and StatefulSets of components that keep the usual form, and jobs. What is given as text is a YAML list. */}}

{{/*
Deployment or StatefulSet: root, kind, containers, and if wanted initContainers, volumes (the extra ones and /tmp are added), checksums,
strategy (a map), autoscaled (something else sets the number of replicas), grace (seconds from SIGTERM to the end), startupSeconds, claim (of a
StatefulSet: {size, storageClassName, accessMode}), podSpec (a map).
A StatefulSet's pods start together: each waits for the others where it needs them, and none may hold up the one that the others wait for.
*/}}
{{- define "common.workload" -}}
{{- $values := .root.Values -}}
{{- $stateful := eq .kind "StatefulSet" -}}
apiVersion: apps/v1
kind: {{ .kind }}
metadata:
  {{- include "common.metadata" (dict "root" .root) | nindent 2 }}
spec:
  {{- if not .autoscaled }}
  replicas: {{ $values.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  minReadySeconds: 5
  {{- if $stateful }}
  serviceName: {{ include "common.name" (dict "root" .root "suffix" "members") }}
  podManagementPolicy: Parallel
  updateStrategy:
    type: RollingUpdate
  persistentVolumeClaimRetentionPolicy:
    whenDeleted: Retain
    whenScaled: Retain
  {{- else }}
  progressDeadlineSeconds: {{ add 600 (int $values.probes.startupSeconds) }}
  strategy:
    {{- toYaml .strategy | nindent 4 }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "common.selectorLabels" .root | nindent 6 }}
  template:
    metadata:
      {{- include "common.podMetadata" (dict "root" .root "checksums" (default dict .checksums)) | nindent 6 }}
    spec:
      {{- include "common.podBase" (dict "root" .root) | nindent 6 }}
      {{- with include "common.priority" .root }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- with include "common.topologySpread" .root }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- include "common.terminationGracePeriodSeconds" (dict "seconds" $values.preStopSeconds "grace" .grace) | nindent 6 }}
      {{- with .podSpec }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
      {{- with .initContainers }}
      initContainers:
        {{- . | nindent 8 }}
      {{- end }}
      containers:
        {{- .containers | nindent 8 }}
      volumes:
        {{- with .volumes }}
        {{- . | nindent 8 }}
        {{- end }}
        - name: tmp
          emptyDir:
            sizeLimit: {{ $values.tmp.size | quote }}
        {{- with $values.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  {{- if $stateful }}
  volumeClaimTemplates:
    - apiVersion: v1
      kind: PersistentVolumeClaim
      metadata:
        name: data
        labels:
          {{- include "common.selectorLabels" .root | nindent 10 }}
      spec:
        accessModes: [{{ $values.data.accessMode }}]
        {{- with $values.data.storageClassName }}
        storageClassName: {{ . | quote }}
        {{- end }}
        resources:
          requests:
            storage: {{ $values.data.size | quote }}
  {{- end }}
{{- end -}}

{{/* What every container of such a pod ends with: /tmp and the extra mounts. Takes the root. */}}
{{- define "common.mounts" -}}
- name: tmp
  mountPath: /tmp
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
Three probes, each given as a handler: live, ready (maps), startupSeconds. What each is for: common.probes.
*/}}
{{- define "common.probesOf" -}}
startupProbe:
  {{- toYaml .live | nindent 2 }}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: {{ div (add (int .startupSeconds) 1) 2 }}
readinessProbe:
  {{- toYaml .ready | nindent 2 }}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 3
livenessProbe:
  {{- toYaml .live | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}

{{/* Headless Service, by which the pods of a StatefulSet have names of their own, ready or not: root, ports. */}}
{{- define "common.membersService" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "common.metadata" (dict "root" .root "suffix" "members") | nindent 2 }}
spec:
  type: ClusterIP
  clusterIP: None
  publishNotReadyAddresses: true
  selector:
    {{- include "common.selectorLabels" .root | nindent 4 }}
  ports:
    {{- range .ports }}
    - name: {{ .name }}
      port: {{ .port }}
      targetPort: {{ .name }}
      protocol: TCP
    {{- end }}
{{- end -}}

{{/*
Names of a StatefulSet's pods as others of the namespace's cluster reach them, a YAML list: root, replicas. Any cluster domain does, for the resolver adds it.
*/}}
{{- define "common.memberNames" -}}
{{- range $ordinal := until (int .replicas) }}
- {{ include "common.fullname" $.root }}-{{ $ordinal }}.{{ include "common.name" (dict "root" $.root "suffix" "members") }}.{{ $.root.Release.Namespace }}.svc
{{- end }}
{{- end -}}

{{/*
Name of a Job: root, suffix, spec (text). A Job can't be changed, so its name carries a hash of what it does: another job is another name.
*/}}
{{- define "common.jobName" -}}
{{- include "common.name" (dict "root" .root "suffix" (printf "%s-%s" .suffix (sha256sum .spec | trunc 8))) -}}
{{- end -}}

{{/* HorizontalPodAutoscaler by CPU: root. */}}
{{- define "common.horizontalPodAutoscaler" -}}
{{- with .Values.autoscaling.cpu -}}
{{- if .enabled -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "common.metadata" (dict "root" $) | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "common.fullname" $ }}
  minReplicas: {{ $.Values.autoscaling.minReplicas }}
  maxReplicas: {{ $.Values.autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ .targetUtilization }}
{{- end -}}
{{- end -}}
{{- end -}}

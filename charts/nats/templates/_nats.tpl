{{/* What is no secret of the server's configuration. */}}
{{- define "nats.configuration" -}}
listen: "0.0.0.0:4222"
http: "0.0.0.0:8222"
jetstream {
  store_dir: /var/lib/nats
  max_memory_store: {{ include "common.bytes" .Values.jetstream.memory }}
  max_file_store: {{ include "common.bytes" .Values.jetstream.storage }}
}
{{- end -}}

{{/* Variables of the server. */}}
{{- define "nats.env" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{ include "common.storeVariable" (dict "root" . "store" "nats" "name" "NATS_PASSWORD" "key" "password") }}
{{- end -}}

{{/* The server's container. The password is an argument, for in the configuration one that looks like a number would be read as one. */}}
{{- define "nats.containers" -}}
- name: nats
  command: [nats-server]
  args:
    - --config
    - /etc/nats/nats.conf
    - --name
    - $(POD_NAME)
    - --user
    - ragstone
    - --pass
    - $(NATS_PASSWORD)
    {{- if gt (int .Values.replicas) 1 }}
    - --cluster_name
    - {{ include "common.fullname" . }}
    - --cluster
    - nats://ragstone:$(NATS_PASSWORD)@0.0.0.0:6222
    - --routes
    - {{ range $index, $name := fromYamlArray (include "common.memberNames" (dict "root" . "replicas" .Values.replicas)) }}{{ if $index }},{{ end }}nats://ragstone:$(NATS_PASSWORD)@{{ $name }}:6222{{ end }}
    {{- end }}
  {{- include "common.container" (dict "root" .) | nindent 2 }}
  {{- include "common.resources" .Values.resources | nindent 2 }}
  env:
    {{- include "nats.env" . | nindent 4 }}
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: clients
      containerPort: 4222
      protocol: TCP
    - name: monitor
      containerPort: 8222
      protocol: TCP
    {{- if gt (int .Values.replicas) 1 }}
    - name: routes
      containerPort: 6222
      protocol: TCP
    {{- end }}
  {{- $live := dict "httpGet" (dict "path" "/healthz?js-server-only=true" "port" "monitor") }}
  {{- $ready := dict "httpGet" (dict "path" "/healthz" "port" "monitor") }}
  {{- include "common.probesOf" (dict "live" $live "ready" $ready "startupSeconds" .Values.probes.startupSeconds) | nindent 2 }}
  {{- include "common.lifecycle" (dict "seconds" .Values.preStopSeconds) | nindent 2 }}
  volumeMounts:
    - name: data
      mountPath: /var/lib/nats
    - name: configuration
      mountPath: /etc/nats
      readOnly: true
    {{- include "common.mounts" . | nindent 4 }}
{{- end -}}

{{- define "nats.volumes" -}}
- name: configuration
  configMap:
    name: {{ include "common.name" (dict "root" . "suffix" "configuration") }}
    defaultMode: 0440
{{- end -}}

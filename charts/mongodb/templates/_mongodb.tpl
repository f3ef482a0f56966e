{{/* Variables of the container that sets the replica set up. */}}
{{- define "mongodb.env" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: REPLICA_SET_MEMBERS
  value: {{ fromYamlArray (include "common.memberNames" (dict "root" . "replicas" .Values.replicas)) | join ":27017," }}:27017
- name: REPLICA_SET_DATABASE
  value: ragstone
{{- end -}}

{{/*
keyfile: mongod takes a file only that nobody else may read, and a mounted Secret is the group's too, so it is copied.
replica-set: initiates it, adds and removes members, makes the users, and says whether the member is ready; it goes on beside the server, and after it.
*/}}
{{- define "mongodb.initContainers" -}}
- name: keyfile
  command: [/opt/ragstone/bin/python, -c]
  args:
    - |
      {{- .Files.Get "files/keyfile.py" | trim | nindent 6 }}
  {{- include "common.container" (dict "root" . "image" .Values.tools.image) | nindent 2 }}
  {{- include "common.resources" .Values.tools.resources | nindent 2 }}
  {{- with .Values.extraEnv }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: secrets
      mountPath: /etc/mongodb/secrets
      readOnly: true
    - name: keyfile
      mountPath: /run/mongodb
    {{- include "common.mounts" . | nindent 4 }}
- name: replica-set
  restartPolicy: Always
  command: [/opt/ragstone/bin/python, -c]
  args:
    - |
      {{- .Files.Get "files/replica_set.py" | trim | nindent 6 }}
  {{- include "common.container" (dict "root" . "image" .Values.tools.image) | nindent 2 }}
  {{- include "common.resources" .Values.tools.resources | nindent 2 }}
  env:
    {{- include "mongodb.env" . | nindent 4 }}
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: health
      containerPort: 8080
      protocol: TCP
  volumeMounts:
    - name: secrets
      mountPath: /etc/mongodb/secrets
      readOnly: true
    {{- include "common.mounts" . | nindent 4 }}
{{- end -}}

{{/* The server's container. */}}
{{- define "mongodb.containers" -}}
- name: mongodb
  command: [mongod]
  args:
    - --dbpath
    - /data/db
    - --port
    - "27017"
    - --bind_ip_all
    - --replSet
    - rs0
    - --keyFile
    - /run/mongodb/keyfile
    - --wiredTigerCacheSizeGB
    - {{ divf (float64 .Values.cacheBytes) 1073741824.0 | printf "%.2f" | quote }}
  {{- include "common.container" (dict "root" .) | nindent 2 }}
  {{- include "common.resources" .Values.resources | nindent 2 }}
  {{- with .Values.extraEnv }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  ports:
    - name: mongodb
      containerPort: 27017
      protocol: TCP
  {{- include "common.probesOf" (dict "live" (dict "tcpSocket" (dict "port" "mongodb")) "ready" (dict "httpGet" (dict "path" "/readyz" "port" 8080)) "startupSeconds" .Values.probes.startupSeconds) | nindent 2 }}
  {{- include "common.lifecycle" (dict "seconds" .Values.preStopSeconds) | nindent 2 }}
  volumeMounts:
    - name: data
      mountPath: /data/db
    - name: keyfile
      mountPath: /run/mongodb
      readOnly: true
    {{- include "common.mounts" . | nindent 4 }}
{{- end -}}

{{- define "mongodb.volumes" -}}
- name: secrets
  secret:
    secretName: {{ include "common.storeSecret" (dict "root" . "store" "mongodb") | quote }}
    defaultMode: 0440
    items:
      {{- range list "root-password" "keyfile" "uri" }}
      - key: {{ . }}
        path: {{ . }}
      {{- end }}
- name: keyfile
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
{{- end -}}

{{/* Ways in from outside the cluster: HTTPRoute of the Gateway API first, Ingress as the alternative. */}}

{{/*
HTTPRoute: root, port (of the Service). Defaults of the API stand written out in lists, because Argo CD sees a difference otherwise.
A time-out of 0s means none, one that is taken back (null) leaves it to the gateway: answers are streamed, and an upload takes as long as it takes.
*/}}
{{- define "common.httpRoute" -}}
{{- with .root.Values.httpRoute -}}
{{- if .enabled -}}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  {{- include "common.metadata" (dict "root" $.root "annotations" .annotations) | nindent 2 }}
spec:
  parentRefs:
    {{- range .parentRefs }}
    {{- $parent := dict "group" "gateway.networking.k8s.io" "kind" "Gateway" }}
    {{- range $key, $value := . }}{{ $_ := set $parent $key $value }}{{ end }}
    - {{ toYaml $parent | nindent 6 | trim }}
    {{- end }}
  hostnames:
    {{- range .hostnames }}
    - {{ . | quote }}
    {{- end }}
  rules:
    - matches:
        - path:
            type: PathPrefix
            value: /
      {{- $timeouts := default dict .timeouts }}
      {{- if or $timeouts.request $timeouts.backendRequest }}
      timeouts:
        {{- with $timeouts.request }}
        request: {{ . }}
        {{- end }}
        {{- with $timeouts.backendRequest }}
        backendRequest: {{ . }}
        {{- end }}
      {{- end }}
      backendRefs:
        - group: ""
          kind: Service
          name: {{ include "common.fullname" $.root }}
          port: {{ $.port }}
          weight: 1
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Name of the Secret with the Ingress's certificate, empty without TLS: root. cert-manager makes one if none is named. */}}
{{- define "common.tlsSecretName" -}}
{{- with .Values.ingress.tls -}}
{{- if .secretName -}}
{{- .secretName -}}
{{- else if .certManager.issuer -}}
{{- include "common.name" (dict "root" $ "suffix" "tls") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Ingress of any class: root, port (a name of the Service). */}}
{{- define "common.ingress" -}}
{{- with .root.Values.ingress -}}
{{- if .enabled -}}
{{- $annotations := deepCopy (default dict .annotations) -}}
{{- with .tls.certManager.issuer -}}
{{- $kind := $.root.Values.ingress.tls.certManager.issuerKind -}}
{{- $_ := set $annotations (ternary "cert-manager.io/cluster-issuer" "cert-manager.io/issuer" (eq $kind "ClusterIssuer")) . -}}
{{- end -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "common.metadata" (dict "root" $.root "annotations" $annotations) | nindent 2 }}
spec:
  {{- with .className }}
  ingressClassName: {{ . | quote }}
  {{- end }}
  {{- with include "common.tlsSecretName" $.root }}
  tls:
    - hosts: [{{ $.root.Values.ingress.host | quote }}]
      secretName: {{ . | quote }}
  {{- end }}
  rules:
    - host: {{ .host | quote }}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: {{ include "common.fullname" $.root }}
                port:
                  name: {{ $.port }}
{{- end -}}
{{- end -}}
{{- end -}}

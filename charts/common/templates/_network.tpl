{{/* What may talk to whom. An edge is a map: namespace (name) and/or pods (labels), ports (numbers). Every edge stands in docs/charts.md. */}}

{{/* One peer of an edge. */}}
{{- define "common.peer" -}}
{{- $peer := dict -}}
{{- with .namespace }}{{- $_ := set $peer "namespaceSelector" (dict "matchLabels" (dict "kubernetes.io/metadata.name" .)) }}{{- end -}}
{{- with .pods }}{{- $_ := set $peer "podSelector" (dict "matchLabels" .) }}{{- end -}}
- {{ toYaml $peer | nindent 2 | trim }}
{{- end -}}

{{/* TCP ports of an edge. */}}
{{- define "common.ports" -}}
{{- range .ports }}
- protocol: TCP
  port: {{ . }}
{{- end }}
{{- end -}}

{{/*
NetworkPolicy of the chart's pods: both directions denied but for the edges given and DNS.
root, ingress and egress (lists of edges), internet (true: HTTPS to public addresses), usesStores (true: the ways to stores outside the release),
anywhere (ports that may be reached at any address), test (true: the policy of the test pods, which take no connection; the values' extra rules are
not for them) or part (the same for another part of the chart).
*/}}
{{- define "common.networkPolicy" -}}
{{- if .root.Values.networkPolicy.enabled -}}
{{- $part := default (ternary "test" "" (default false .test)) .part -}}
{{- $values := ternary .root.Values.networkPolicy dict (empty $part) -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "common.metadata" (dict "root" .root "test" .test "part" .part "suffix" $part) | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "common.labelsOf" (pick . "root" "test" "part") | nindent 6 }}
  policyTypes: [Ingress, Egress]
  {{- if or .ingress $values.extraIngress }}
  ingress:
    {{- range .ingress }}
    - from:
        {{- include "common.peer" . | nindent 8 }}
      ports:
        {{- include "common.ports" . | trim | nindent 8 }}
    {{- end }}
    {{- with $values.extraIngress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- else }}
  ingress: []
  {{- end }}
  egress:
    - to:
        {{- include "common.peer" (dict "namespace" "kube-system" "pods" (dict "k8s-app" "kube-dns")) | nindent 8 }}
      ports:
        - protocol: UDP
          port: 53
        - protocol: TCP
          port: 53
    {{- range .egress }}
    - to:
        {{- include "common.peer" . | nindent 8 }}
      ports:
        {{- include "common.ports" . | trim | nindent 8 }}
    {{- end }}
    {{- if .internet }}
    - to:
        - ipBlock:
            cidr: 0.0.0.0/0
            # Private, shared, link-local (the cloud's metadata service) and loopback addresses are no part of the Internet.
            except: [10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16]
        - ipBlock:
            cidr: ::/0
            # 64:ff9b::/96 is how IPv6 writes IPv4 addresses (NAT64), private ones too.
            except: ["::1/128", "64:ff9b::/96", "fc00::/7", "fe80::/10"]
      ports:
        - protocol: TCP
          port: 443
    {{- end }}
    {{- with .anywhere }}
    - ports:
        {{- include "common.ports" (dict "ports" .) | trim | nindent 8 }}
    {{- end }}
    {{- if .usesStores }}
    {{- with dig "external" "egress" list (default dict .root.Values.global) }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- end }}
    {{- with $values.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
{{- end -}}

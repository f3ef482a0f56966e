{{/* How to ask the first question; the umbrella shows it too. Takes the orchestrator's root. */}}
{{- define "orchestrator.notes" -}}
{{- $name := include "common.fullname" . -}}
{{- $url := "http://127.0.0.1:8642" -}}
{{- if .Values.httpRoute.enabled -}}
{{- $url = printf "http://%s" (first .Values.httpRoute.hostnames | replace "*" "any") -}}
{{- else if .Values.ingress.enabled -}}
{{- $url = printf "%s://%s" (ternary "https" "http" (ne (include "common.tlsSecretName" .) "")) (.Values.ingress.host | replace "*" "any") -}}
{{- end -}}
{{- $testsHere := and .Values.tests.enabled (not .Values.tests.apiKey.externalSecret) (has .Values.tests.apiKey.existingSecret (list "" .Values.apiKeys.existingSecret)) -}}
ragstone {{ .Chart.AppVersion }} is being started as {{ $name }} in namespace {{ .Release.Namespace }}.
{{ with .Values.apiKeys.existingSecret }}
1. The API keys are read from Secret {{ . }}. If you have not made it yet, the pod waits for it:

     KEY=$(openssl rand -hex 24)
     kubectl --namespace {{ $.Release.Namespace }} create secret generic {{ . }} \
       --from-literal={{ $.Values.apiKeys.key }}="admin:admin:$(printf %s "$KEY" | sha256sum | cut -d' ' -f1)"{{ if $testsHere }} \
       --from-literal={{ $.Values.tests.apiKey.key }}="$KEY"

   The second entry is the key itself, for `helm test`; leave it out if you do not use that.{{ else }}
{{ end }}
   A changed Secret is read within a minute or two.
{{ else }}
1. The API keys are fetched from your secrets manager into Secret {{ include "common.secretName" (dict "root" . "secret" .Values.apiKeys "suffix" "api-keys") }}.
{{ end }}
2. Wait until it is ready{{ if include "orchestrator.pullsModel" . }} (the first start fetches the embedding model){{ end }}:

     kubectl --namespace {{ .Release.Namespace }} rollout status deployment/{{ $name }}

3. Ask the first question, with one of the keys in $KEY:
{{ if not (or .Values.httpRoute.enabled .Values.ingress.enabled) }}
     kubectl --namespace {{ .Release.Namespace }} port-forward service/{{ $name }} 8642 &
{{- end }}
     printf '# Pump\n\nThe pump is painted blue.\n' > pump.md
     curl -H "Authorization: Bearer $KEY" {{ $url }}/ingest -F collection=manual -F 'options={"create": true}' -F 'files=@pump.md'
     curl -H "Authorization: Bearer $KEY" {{ $url }}/query -H 'Content-Type: application/json' \
       -d '{"collection": "manual", "question": "What colour is the pump?"}'
{{- if .Values.httpRoute.enabled }}

   ({{ $url }} stands for the Gateway's listener: use https and its port where it has others than 80.)
{{- end }}
{{- if and .Values.networkPolicy.enabled .Values.networkPolicy.gatewayNamespace (or .Values.httpRoute.enabled .Values.ingress.enabled) }}

   The NetworkPolicy admits pods of namespace {{ .Values.networkPolicy.gatewayNamespace }}. If the proxy's pods run elsewhere, requests run into a time-out: set
   networkPolicy.gatewayNamespace to theirs.
{{- end }}
{{- if .Values.tests.enabled }}

   Or let `helm test {{ .Release.Name }} --namespace {{ .Release.Namespace }} --logs` do so.
{{- end }}
{{- if include "common.inCluster" . }}

The data is in the stores of the cluster; the pods keep nothing but, for a while, what the interaction log could not take yet.
{{- else }}

The data is on PersistentVolumeClaim {{ include "common.claimName" (dict "root" . "suffix" "data" "claim" .Values.data) }}.
{{- if .Values.data.existingClaim }} It is yours: uninstalling leaves it.
{{- else if .Values.data.keep }} Uninstalling leaves it; a new release of the same name takes it up again. To delete it for good:

     kubectl --namespace {{ .Release.Namespace }} delete pvc {{ include "common.name" (dict "root" . "suffix" "data") }}
{{- else }} It is deleted, with all data, when the release is uninstalled (data.keep is false).
{{- end }}
{{- end }}
{{- if and (eq .Values.generator.kind "openai") .Values.networkPolicy.enabled (not .Values.networkPolicy.extraEgress) }}

Answers are written by {{ .Values.generator.openai.baseUrl }}. The NetworkPolicy admits
{{- if and .Values.networkPolicy.modelEgress (include "orchestrator.pullsModel" .) }} only HTTPS to public addresses{{ else }} no way out but DNS{{ end }}: if the endpoint is elsewhere, add it to
networkPolicy.extraEgress, or questions run into a time-out.
{{- end }}
{{- end -}}

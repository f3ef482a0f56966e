{{/* Notes that Helm prints. */}}

{{/* What to do after installing a store: root, store, says (its name), keys (of its Secret). */}}
{{- define "common.storeNotes" -}}
{{ .says }} is being started as {{ include "common.fullname" .root }} in namespace {{ .root.Release.Namespace }}.

It waits for Secret {{ include "common.storeSecret" . }} with {{ .keys }}; docs/charts.md says how to make it. Wait until it is ready:

     kubectl --namespace {{ .root.Release.Namespace }} wait --for=condition=Ready pod --selector app.kubernetes.io/name={{ .root.Chart.Name }},app.kubernetes.io/instance={{ .root.Release.Name }} --timeout 5m
{{- end -}}

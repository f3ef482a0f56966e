{{/* Names of objects. Everything is called <release>-<chart>[-<suffix>], alone and below the umbrella, so names stay when an installation moves. */}}

{{/*
A name as a Service accepts it: at most 63 characters, no dots, a letter first. What has to be changed for that carries a hash of the whole,
so that two long names, or "a.b" and "a-b", never become one. Takes the name.
*/}}
{{- define "common.fit" -}}
{{- $clean := regexReplaceAll "^([0-9])" (replace "." "-" .) "r$1" -}}
{{- if and (eq $clean .) (le (len .) 63) -}}
{{- . -}}
{{- else -}}
{{- printf "%s-%s" ($clean | trunc 54 | trimSuffix "-") (sha256sum . | trunc 8) -}}
{{- end -}}
{{- end -}}

{{/* The chart's objects: root. */}}
{{- define "common.fullname" -}}
{{- include "common.fit" (printf "%s-%s" .Release.Name .Chart.Name) -}}
{{- end -}}

{{/* One of several of a kind: root, suffix. */}}
{{- define "common.name" -}}
{{- if .suffix -}}
{{- include "common.fit" (printf "%s-%s-%s" .root.Release.Name .root.Chart.Name .suffix) -}}
{{- else -}}
{{- include "common.fullname" .root -}}
{{- end -}}
{{- end -}}

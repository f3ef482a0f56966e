{{/* What a schema can't say, or can't say in a sentence. A guard stops the render and tells what to do. */}}

{{/* root, message. */}}
{{- define "common.refuse" -}}
{{- fail (printf "\n\n%s: %s\n" .root.Chart.Name .message) -}}
{{- end -}}

{{/* A Kubernetes quantity ("1Gi", "512M", "250m", 1073741824) as a number with three decimals. */}}
{{- define "common.number" -}}
{{- $factors := dict "" 1 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976 -}}
{{- $text := ternary . (printf "%.3f" (float64 .)) (kindIs "string" .) -}}
{{- $number := regexFind "^[0-9.]+" $text -}}
{{- mulf (float64 $number) (float64 (get $factors (trimPrefix $number $text))) | printf "%.3f" -}}
{{- end -}}

{{/* Bytes of a Kubernetes quantity. */}}
{{- define "common.bytes" -}}
{{- include "common.number" . | float64 | int64 -}}
{{- end -}}

{{/* Nothing is requested that its limit forbids: root, resources (a section of the values), path (of that in values). */}}
{{- define "common.guardResources" -}}
{{- $limits := default dict .resources.limits -}}
{{- range $name, $request := .resources.requests -}}
{{- $limit := get $limits $name -}}
{{- if and $request $limit (gt (include "common.number" $request | float64) (include "common.number" $limit | float64)) -}}
{{- include "common.refuse" (dict "root" $.root "message" (printf "%s.requests.%s is %v, but %s.limits.%s is %v, and Kubernetes refuses a request above its limit: lower the one or raise the other." $.path $name $request $.path $name $limit)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Temporary volumes fit what the pod may keep on its node's disk: root, sizes (a map from the path in values to a quantity). */}}
{{- define "common.guardTemporaryVolumes" -}}
{{- with dig "limits" "ephemeral-storage" "" (default dict .root.Values.resources) -}}
{{- $sum := 0 -}}
{{- range $.sizes }}{{ $sum = add $sum (include "common.bytes" . | int64) }}{{ end -}}
{{- if gt $sum (include "common.bytes" . | int64) -}}
{{- include "common.refuse" (dict "root" $.root "message" (printf "%s may take %dMi of the node's disk, but resources.limits.ephemeral-storage is %v, at which the pod would be evicted: lower the one or raise the other." (keys $.sizes | sortAlpha | join " and ") (div (add $sum 1048575) 1048576) .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Extra variables, volumes and mounts do not take the place of the chart's own: root, env (a map from a variable that the chart sets to the value
that stands for it, which may be empty), volumes (names), paths (where the chart mounts them).
*/}}
{{- define "common.guardExtras" -}}
{{- range .root.Values.extraEnv -}}
{{- if hasKey $.env .name -}}
{{- $advice := "leave it out" -}}
{{- with get $.env .name }}{{ $advice = printf "set %s instead" . }}{{ end -}}
{{- include "common.refuse" (dict "root" $.root "message" (printf "extraEnv names %s, which the chart sets itself: %s." .name $advice)) -}}
{{- end -}}
{{- end -}}
{{- range .root.Values.extraVolumes -}}
{{- if has .name $.volumes -}}
{{- include "common.refuse" (dict "root" $.root "message" (printf "extraVolumes names %s, which is a volume of the chart's own: choose another name." .name)) -}}
{{- end -}}
{{- end -}}
{{- range .root.Values.extraVolumeMounts -}}
{{- if has (clean .mountPath) $.paths -}}
{{- include "common.refuse" (dict "root" $.root "message" (printf "extraVolumeMounts names %s, where the chart mounts a volume of its own: choose another path, such as one below it." .mountPath)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Autoscaling that could not work: root. */}}
{{- define "common.guardAutoscaling" -}}
{{- with .Values.autoscaling -}}
{{- if gt (int .minReplicas) (int .maxReplicas) -}}
{{- include "common.refuse" (dict "root" $ "message" (printf "autoscaling.minReplicas is %v, but autoscaling.maxReplicas is %v: lower the one or raise the other." .minReplicas .maxReplicas)) -}}
{{- end -}}
{{- if and .cpu.enabled (not (dig "requests" "cpu" "" (default dict $.Values.resources))) -}}
{{- include "common.refuse" (dict "root" $ "message" "autoscaling.cpu.enabled is set, but resources.requests.cpu is not, of which it is a percentage: set that.") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The container may not be given less than it needs to start: root, atLeast (a quantity). */}}
{{- define "common.guardMemory" -}}
{{- with dig "limits" "memory" "" (default dict .root.Values.resources) -}}
{{- if lt (include "common.bytes" . | int64) (include "common.bytes" $.atLeast | int64) -}}
{{- include "common.refuse" (dict "root" $.root "message" (printf "resources.limits.memory is %s, but below %s the process would be killed while it starts: set at least that." (ternary . (include "common.bytes" .) (kindIs "string" .)) $.atLeast)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What requests may take, beside what the process needs: root, beside (a quantity), requestBytes, path (of that in values). */}}
{{- define "common.guardRequestBytes" -}}
{{- with dig "limits" "memory" "" (default dict .root.Values.resources) -}}
{{- $needed := add (include "common.bytes" $.beside | int64) (mul 2 (int64 $.requestBytes)) -}}
{{- if lt (include "common.bytes" . | int64) $needed -}}
{{- include "common.refuse" (dict "root" $.root "message" (printf "%s is %d, and a request may take twice that in memory beside %s of the process: lower it, or set resources.limits.memory to %dMi or more." $.path (int64 $.requestBytes) $.beside (div (add $needed 1048575) 1048576))) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Digests, where they are required: root. */}}
{{- define "common.guardDigest" -}}
{{- if (default dict .Values.global).requireDigests -}}
{{- $images := dict "image" .Values.image -}}
{{- with .Values.tools }}{{ $_ := set $images "tools.image" .image }}{{ end -}}
{{- range $path, $image := $images -}}
{{- if not $image.digest -}}
{{- include "common.refuse" (dict "root" $ "message" (printf "global.requireDigests is set, but %s.digest is empty: set %s.digest to the sha256:... that your registry shows for this tag." $path $path)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
What every component of the usual form refuses: root, env (variables that the chart sets, a list of {name, ...}), volumes (names of the chart's own),
paths (where it mounts them), sizes (of temporary volumes, a map from the path in values to a quantity).
*/}}
{{- define "common.guardComponent" -}}
{{- include "common.guardDigest" .root -}}
{{- include "common.guardResources" (dict "root" .root "resources" .root.Values.resources "path" "resources") -}}
{{- with .root.Values.tools -}}
{{- include "common.guardResources" (dict "root" $.root "resources" .resources "path" "tools.resources") -}}
{{- end -}}
{{- include "common.guardTemporaryVolumes" (dict "root" .root "sizes" (merge (dict "tmp.size" .root.Values.tmp.size) (default dict .sizes))) -}}
{{- $env := dict -}}
{{- range .env }}{{ $_ := set $env .name "" }}{{ end -}}
{{- include "common.guardExtras" (dict "root" .root "env" $env "volumes" (append .volumes "tmp") "paths" (append .paths "/tmp")) -}}
{{- end -}}

{{/*
A secret that must be named once: root, secret (the section), path (of the section in values), purpose (what it holds), create (how to make it; empty: the
secret may be left out).
*/}}
{{- define "common.guardSecret" -}}
{{- if and .secret.existingSecret .secret.externalSecret -}}
{{- include "common.refuse" (dict "root" .root "message" (printf "%s.existingSecret and %s.externalSecret are both set: keep the one that holds %s." .path .path .purpose)) -}}
{{- end -}}
{{- if and .create (not .secret.existingSecret) (not .secret.externalSecret) -}}
{{- include "common.refuse" (dict "root" .root "message" (printf "no secret with %s is named: set %s.existingSecret to the name of a Secret (%s), or %s.externalSecret to a key of your secrets manager." .purpose .path .create .path)) -}}
{{- end -}}
{{- end -}}

{{/* Exposure that could not route anything: root. */}}
{{- define "common.guardExposure" -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- include "common.refuse" (dict "root" . "message" "ingress.enabled is set, but ingress.host is empty: set it to the name under which clients reach ragstone, such as ragstone.example.org.") -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- include "common.refuse" (dict "root" . "message" "httpRoute.enabled is set, but httpRoute.parentRefs is empty: name the Gateway that the route joins, such as [{name: ragstone, namespace: ragstone-gateway}].") -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.hostnames) -}}
{{- include "common.refuse" (dict "root" . "message" "httpRoute.enabled is set, but httpRoute.hostnames is empty: set it to the names under which clients reach ragstone, such as [ragstone.example.org].") -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.gatewayNamespace) (not .Values.networkPolicy.extraIngress) (or .Values.ingress.enabled .Values.httpRoute.enabled) -}}
{{- include "common.refuse" (dict "root" . "message" "ragstone is exposed, but networkPolicy.gatewayNamespace is empty, so nothing could reach it: set it to the namespace in which the gateway's or ingress controller's pods run, or name what they connect from in networkPolicy.extraIngress.") -}}
{{- end -}}
{{- end -}}

{{/* What the syncer may do in its namespace: equal to what `weft rbac` prints, which a test holds. */}}
{{- define "weft.rules" -}}
{{ .Files.Get "files/rules.yaml" | trim }}
- apiGroups: [""]
  resources: [events]
  verbs: [create, list, watch]
{{- if .Values.kubelet.enabled }}
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [pods/attach, pods/exec, pods/portforward]
  verbs: [create, get]
{{- if (.Values.kubelet.metrics).enabled }}
- apiGroups: [metrics.k8s.io]
  resources: [pods]
  verbs: [list]
{{- end }}
{{- end }}
{{- $added := include "weft.addedKinds" . | fromYaml }}
{{- range $group := keys $added | sortAlpha }}
- apiGroups: [{{ $group | quote }}]
  resources: {{ keys (get $added $group) | sortAlpha | toJson }}
  verbs: [create, delete, get, list, patch, watch]
{{- end }}
{{- with .Values.rbac.extraRules }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Kinds that `mappings` and `plugins` add, as a map: API group → plural → true. */}}
{{- define "weft.addedKinds" -}}
{{- $builtin := dict }}
{{- range .Files.Get "files/rules.yaml" | fromYamlArray }}
{{- $group := first .apiGroups }}
{{- range .resources }}{{ $_ := set $builtin (printf "%s/%s" $group .) true }}{{ end }}
{{- end }}
{{- $added := dict }}
{{- range .Values.mappings }}
{{- $group := contains "/" .apiVersion | ternary (splitList "/" .apiVersion | first) "" }}
{{- $_ := set $added $group (get $added $group | default dict) }}
{{- $_ := set (get $added $group) .plural true }}
{{- end }}
{{- range $name, $entry := .Values.plugins.load | default dict }}
{{- if ne (get $entry "enabled" | toString) "false" }}
{{- range $kind := $entry.kinds }}
{{- $parts := splitList "/" $kind }}
{{- $group := eq (len $parts) 3 | ternary (first $parts) "" }}
{{- $_ := set $added $group (get $added $group | default dict) }}
{{- $_ := set (get $added $group) (include "weft.plural" (last $parts | lower)) true }}
{{- end }}
{{- end }}
{{- end }}
{{- $wanted := dict }}
{{- range $group, $plurals := $added }}
{{- range $plural, $_ := $plurals }}
{{- if not (hasKey $builtin (printf "%s/%s" $group $plural)) }}
{{- $_ := set $wanted $group (get $wanted $group | default dict) }}
{{- $_ := set (get $wanted $group) $plural true }}
{{- end }}
{{- end }}
{{- end }}
{{- toYaml $wanted }}
{{- end }}

{{/* The plural that English has for a kind, as `weft rbac` guesses it. */}}
{{- define "weft.plural" -}}
{{- if hasSuffix "endpoints" . }}{{ . }}
{{- else if regexMatch "[^aeiou]y$" . }}{{ trimSuffix "y" . }}ies
{{- else if regexMatch "(s|x|z|ch|sh)$" . }}{{ . }}es
{{- else }}{{ . }}s
{{- end }}
{{- end }}

{{/* Definitions of custom resources that are installed in the virtual cluster, as a list of names. */}}
{{- define "weft.definitions" -}}
{{- $names := list }}
{{- range .Values.mappings }}
{{- if and .installDefinition (contains "/" .apiVersion) }}
{{- $names = append $names (printf "%s.%s" .plural (splitList "/" .apiVersion | first)) }}
{{- end }}
{{- end }}
{{- range $name, $entry := .Values.plugins.load | default dict }}
{{- if and $entry.installDefinitions (ne (get $entry "enabled" | toString) "false") }}
{{- range $kind := $entry.kinds }}
{{- $parts := splitList "/" $kind }}
{{- if eq (len $parts) 3 }}
{{- $names = append $names (printf "%s.%s" (include "weft.plural" (last $parts | lower)) (first $parts)) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- $names | uniq | sortAlpha | toJson }}
{{- end }}

{{/* What the syncer may do on the whole host: empty unless a feature needs it, and equal to what `weft rbac` prints. */}}
{{- define "weft.clusterRules" -}}
{{- $definitions := include "weft.definitions" . | fromJsonArray }}
{{- if $definitions }}
# A mapping or a plugin installs definitions of the host in the virtual cluster.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  resourceNames: {{ $definitions | toJson }}
  verbs: [get]
{{- end }}
{{- if eq (toString (.Values.nodes).mode) "mirrored" }}
# `nodes.mode: mirrored`
- apiGroups: [""]
  resources: [nodes]
  verbs: [list, watch]
{{- end }}
{{- if (.Values.nodes).netAllocatable }}
# `nodes.netAllocatable`: what pods of others request.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
{{- end }}
{{- end }}

{{/* Labels of every object of the release. */}}
{{- define "weft.labels" -}}
{{- include "weft.checkName" . -}}
{{ include "weft.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Labels by which the pod of the control plane is found; they never change. */}}
{{- define "weft.selector" -}}
app.kubernetes.io/name: weft
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: control-plane
# No tenant can give its pods a key of this domain: the others it can, and would be behind the Service.
weft.dev/control-plane: {{ .Release.Name | quote }}
{{- end }}

{{/* Refuses a name that cannot be a part of host names; `weft create` says the same earlier. */}}
{{- define "weft.checkName" -}}
{{- $name := .Release.Name }}
{{- if or (gt (len $name) 24) (not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name)) (contains "-x-" (printf "-%s-" $name)) }}
{{- fail (printf "%q cannot be the name of a virtual cluster: at most 24 lower-case letters, digits and '-', beginning with a letter, and no part of it may be 'x' alone" $name) }}
{{- end }}
{{- end }}

{{- define "weft.serviceAccount" -}}
weft-syncer-{{ .Release.Name }}
{{- end }}

{{- define "weft.workloadServiceAccount" -}}
{{ .Values.pods.serviceAccount | default (printf "weft-workload-%s" .Release.Name) }}
{{- end }}

{{/* The volume claim of the storage, named as a template of the StatefulSet would name that of its first pod. */}}
{{- define "weft.claim" -}}
data-{{ .Release.Name }}-0
{{- end }}

{{- define "weft.image.weft" -}}
{{ include "weft.image" (list .Values.image.registry .Values.image.weft.repository (.Values.image.weft.tag | default .Chart.AppVersion)) }}
{{- end }}

{{- define "weft.image.kubernetes" -}}
{{ include "weft.image" (list .Values.image.registry .Values.image.kubernetes.repository (.Values.image.kubernetes.tag | default .Values.controlPlane.version)) }}
{{- end }}

{{/* A reference of registry, repository and tag; an empty registry is left out. */}}
{{- define "weft.image" -}}
{{- with index . 0 }}{{ . }}/{{ end }}{{ index . 1 }}:{{ index . 2 }}
{{- end }}

{{/* The configuration file, as `weft init` and `weft syncer` read it. */}}
{{- define "weft.config" -}}
cluster:
  name: {{ .Release.Name | quote }}
  namespace: {{ .Release.Namespace | quote }}
  service: {{ .Release.Name | quote }}
  {{- toYaml .Values.cluster | nindent 2 }}
virtual:
  kubeconfig: /run/weft/kubeconfig/syncer.kubeconfig
controlPlane:
  {{- toYaml .Values.controlPlane | nindent 2 }}
dns:
  {{- $image := .Values.dns.image | default (include "weft.image.kubernetes" .) }}
  {{- toYaml (merge (dict "image" $image) .Values.dns) | nindent 2 }}
pods:
  {{- $image := .Values.pods.hostsFile.image | default (include "weft.image.weft" .) }}
  {{- toYaml (merge (dict "hostsFile" (dict "image" $image)) .Values.pods) | nindent 2 }}
plugins:
  {{- $cache := .Values.plugins.cache | default "/var/cache/weft/plugins" }}
  {{- toYaml (merge (dict "cache" $cache) .Values.plugins) | nindent 2 }}
{{- range $key := list "deploy" "log" "mappings" "services" "claims" "nodes" "engine" "kubelet" "metadata" "metrics" }}
{{- with index $.Values $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* Where readers of metrics reach the syncer: at its pod, which the certificate must name. */}}
{{- define "weft.readersAddress" -}}
{{- if and .Values.kubelet.enabled (.Values.kubelet.metrics).enabled }}
env:
  - name: POD_IP
    valueFrom: {fieldRef: {fieldPath: status.podIP}}
{{- end }}
{{- end }}

{{/* What a container may not do: enough for the Pod Security level `restricted`. */}}
{{- define "weft.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

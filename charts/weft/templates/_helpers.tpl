{{/* Labels of every object of the release. */}}
{{- define "weft.labels" -}}
{{ include "weft.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Labels by which the pod of the control plane is found; they never change. */}}
{{- define "weft.selector" -}}
app.kubernetes.io/name: weft
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: control-plane
{{- end }}

{{- define "weft.serviceAccount" -}}
weft-syncer-{{ .Release.Name }}
{{- end }}

{{- define "weft.workloadServiceAccount" -}}
{{ .Values.pods.serviceAccount | default (printf "weft-workload-%s" .Release.Name) }}
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
  name: {{ .Release.Name }}
  namespace: {{ .Release.Namespace }}
  service: {{ .Release.Name }}
  {{- toYaml .Values.cluster | nindent 2 }}
virtual:
  kubeconfig: /run/weft/kubeconfig/syncer.kubeconfig
controlPlane:
  {{- toYaml .Values.controlPlane | nindent 2 }}
dns:
  {{- $image := .Values.dns.image | default (include "weft.image.kubernetes" .) }}
  {{- toYaml (merge (dict "image" $image) .Values.dns) | nindent 2 }}
{{- range $key := list "deploy" "log" "plugins" "mappings" "pods" "engine" }}
{{- with index $.Values $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* What a container may not do: enough for the Pod Security level `restricted`. */}}
{{- define "weft.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

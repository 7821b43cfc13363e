{{/* What PodMonitor and ServiceMonitor have in common, and whether the kinds of operators are rendered. */}}

{{/* Whether to render a kind of an operator, "true" or nothing: dict root, api, kind. */}}
{{- define "outbox-relay.renders" -}}
{{- $there := .root.Capabilities.APIVersions.Has (printf "%s/%s" .api .kind) -}}
{{- $mode := .root.Values.monitoring.renderMode -}}
{{- if and (not $there) (eq $mode "failIfMissing") -}}
{{- fail (printf "this cluster has no %s/%s (monitoring.renderMode is failIfMissing)" .api .kind) -}}
{{- end -}}
{{- if or $there (ne $mode "skipIfMissing") }}true{{ end -}}
{{- end }}

{{/* The metadata of an object that may live in another namespace: dict root, from (its values), name. */}}
{{- define "outbox-relay.elsewhere" -}}
name: {{ .name }}
namespace: {{ default .root.Release.Namespace .from.namespace }}
labels:
  {{- include "outbox-relay.labels" (dict "root" .root "component" "relay" "labels" (list .from.labels)) | nindent 2 }}
{{- with include "outbox-relay.annotations" (dict "root" .root "annotations" (list .from.annotations)) }}{{ nindent 0 . }}{{ end }}
{{- end }}

{{/* An endpoint: the monitor's values. */}}
{{- define "outbox-relay.endpoint" -}}
- port: http
  path: /metrics
  {{- with .interval }}
  interval: {{ . }}
  {{- end }}
  {{- with .scrapeTimeout }}
  scrapeTimeout: {{ . }}
  {{- end }}
  {{- with .relabelings }}
  relabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .metricRelabelings }}
  metricRelabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* Whom a monitor looks at: dict root, from. */}}
{{- define "outbox-relay.monitored" -}}
{{- with .from.jobLabel -}}
jobLabel: {{ . }}
{{ end -}}
selector:
  matchLabels:
    {{- include "outbox-relay.selectorLabels" .root | nindent 4 }}
namespaceSelector:
  matchNames: [{{ .root.Release.Namespace | quote }}]
{{- end }}

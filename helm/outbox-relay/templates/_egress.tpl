{{/* What goes out: dict root, and servers, a list of dicts of ports and to. */}}
{{- define "outbox-relay.egress" -}}
# Names, wherever they are resolved: a node's own cache has no pod to select.
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- range .servers }}
- ports:
    {{- range .ports }}
    - port: {{ . }}
      protocol: TCP
    {{- end }}
  {{- with .to }}
  to:
    {{- tpl (toYaml .) $.root | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

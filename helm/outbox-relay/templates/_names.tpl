{{/* Names and labels. A CronJob's name has 52 characters, and ours go on with -cleanup: hence 43. */}}
{{- define "outbox-relay.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 43 | trimSuffix "-" }}
{{- end }}

{{- define "outbox-relay.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $whole := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{ default $whole .Values.fullnameOverride | trunc 43 | trimSuffix "-" }}
{{- end }}

{{- define "outbox-relay.serviceAccountName" -}}
{{ default (ternary (include "outbox-relay.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{/* Of all pods of the release. */}}
{{- define "outbox-relay.releaseLabels" -}}
app.kubernetes.io/name: {{ include "outbox-relay.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Of the pods that relay, not of those that migrate or clean up. */}}
{{- define "outbox-relay.selectorLabels" -}}
{{ include "outbox-relay.releaseLabels" . }}
app.kubernetes.io/component: relay
{{- end }}

{{/* All labels of an object: dict root, component, and labels, a list of maps, the last of which wins. */}}
{{- define "outbox-relay.labels" -}}
{{- $ours := include "outbox-relay.releaseLabels" .root | fromYaml -}}
{{- $_ := set $ours "app.kubernetes.io/component" .component -}}
{{- $_ := set $ours "app.kubernetes.io/version" (.root.Chart.AppVersion | toString) -}}
{{- $_ := set $ours "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $ours "app.kubernetes.io/part-of" "outbox-relay" -}}
{{- $_ := set $ours "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63) -}}
{{- $all := dict -}}
{{- range concat (list .root.Values.commonLabels) (default list .labels) -}}
{{- $all = mergeOverwrite $all (deepCopy (default dict .)) -}}
{{- end -}}
{{ toYaml (mergeOverwrite $all $ours) }}
{{- end }}

{{/* `annotations:` of an object, or nothing: dict root and annotations, a list of maps, the last of which wins. */}}
{{- define "outbox-relay.annotations" -}}
{{- $all := dict -}}
{{- range concat (list .root.Values.commonAnnotations) .annotations -}}
{{- $all = mergeOverwrite $all (deepCopy (default dict .)) -}}
{{- end -}}
{{- with $all -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end }}

{{- define "outbox-relay.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end -}}
{{- end }}

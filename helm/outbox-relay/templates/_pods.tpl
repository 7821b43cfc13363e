{{/* What pods have in common. */}}

{{/* Where a pod may run and as whom, for the relay and for jobs: the root. */}}
{{- define "outbox-relay.podBasics" -}}
automountServiceAccountToken: {{ .Values.serviceAccount.automount }}
enableServiceLinks: false # variables such as RELAY_SERVICE_HOST are not settings
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- range $name := list "nodeSelector" "tolerations" "priorityClassName" "schedulerName" "runtimeClassName" "hostAliases" "dnsPolicy" "dnsConfig" }}
{{- with get $.Values $name }}
{{ $name }}:{{ if kindIs "string" . }} {{ . | quote }}{{ else }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The beginning of each container of ours: dict root, name. */}}
{{- define "outbox-relay.container" -}}
- name: {{ .name }}
  image: {{ include "outbox-relay.image" .root | quote }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  securityContext:
    {{- toYaml .root.Values.securityContext | nindent 4 }}
{{- end }}

{{/* A container that works on the table alone: dict root, job, name, args, and prefix of its volumes. */}}
{{- define "outbox-relay.tableContainer" -}}
{{- $database := include "outbox-relay.database" (dict "root" .root "over" .job.database) | fromYaml -}}
{{ include "outbox-relay.container" . }}
  args: {{ toJson .args }}
  env:
    {{- with include "outbox-relay.databaseEnv" (dict "database" $database) | trim }}{{ nindent 4 . }}{{ end }}
    {{- with include "outbox-relay.settingsEnv" (dict "root" .root "only" (list "schema" "table")) | trim }}{{ nindent 4 . }}{{ end }}
    {{- with .job.extraEnv }}
    {{- tpl (toYaml .) $.root | nindent 4 }}
    {{- end }}
  {{- with .job.envFrom }}
  envFrom:
    {{- tpl (toYaml .) $.root | nindent 4 }}
  {{- end }}
  resources:
    {{- toYaml .job.resources | nindent 4 }}
  {{- $volumes := include "outbox-relay.databaseVolumes" (dict "database" $database "prefix" .prefix) | fromYamlArray }}
  {{- $mounts := include "outbox-relay.serverMounts" (dict "volumes" $volumes "prefix" .prefix) | fromYamlArray }}
  {{- with concat $mounts (tpl (toYaml .job.extraVolumeMounts) .root | fromYamlArray) }}
  volumeMounts:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/*
The spec of a job's pod: dict root, job, steps, a list of dicts of name and args. All steps but the last are init
containers: Kubernetes runs them one after the other.
*/}}
{{- define "outbox-relay.jobPod" -}}
{{- $database := include "outbox-relay.database" (dict "root" .root "over" .job.database) | fromYaml -}}
restartPolicy: Never
serviceAccountName: {{ default "default" .job.serviceAccountName }}
{{ include "outbox-relay.podBasics" .root }}
{{- $first := initial .steps }}
{{- if or .job.initContainers $first }}
initContainers:
  {{- with .job.initContainers }}
  {{- tpl (toYaml .) $.root | nindent 2 }}
  {{- end }}
  {{- range $first }}
  {{- include "outbox-relay.tableContainer" (dict "root" $.root "job" $.job "name" .name "args" .args "prefix" "") | nindent 2 }}
  {{- end }}
{{- end }}
containers:
  {{- with last .steps }}
  {{- include "outbox-relay.tableContainer" (dict "root" $.root "job" $.job "name" .name "args" .args "prefix" "") | nindent 2 }}
  {{- end }}
{{- $volumes := include "outbox-relay.databaseVolumes" (dict "database" $database "prefix" "") | fromYamlArray }}
{{- with concat $volumes (tpl (toYaml .job.extraVolumes) .root | fromYamlArray) }}
volumes:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Steps of a migration: everything that is missing, and each opt-in by its name, which brings the rest along. */}}
{{- define "outbox-relay.migrationSteps" -}}
{{- if .Values.migrations.optIns -}}
{{- range .Values.migrations.optIns }}
- name: migrate-{{ . }}
  args: [migrate, up, {{ . }}]
{{- end }}
{{- else }}
- name: migrate
  args: [migrate, up]
{{- end }}
{{- end }}

{{/* What tells the volumes of a migration in an init container from the relay's: nothing, where they are the same. */}}
{{- define "outbox-relay.migrationPrefix" -}}
{{- if join "" (values .Values.migrations.database) }}migrate-{{ end -}}
{{- end }}

{{/*
A list of things with names, and those of a second list that the first does not name: an init container's migration
stands in the relay's pod, and what both ask for is there once. Dict first, second.
*/}}
{{- define "outbox-relay.joined" -}}
{{- $all := default list .first -}}
{{- $names := list -}}
{{- range $all }}{{ $names = append $names .name }}{{ end -}}
{{- range .second -}}
{{- if not (has .name $names) }}{{ $all = append $all . }}{{ end -}}
{{- end -}}
{{ toYaml $all }}
{{- end }}

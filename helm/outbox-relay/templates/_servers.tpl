{{/*
Where the relay finds its two servers. A Secret is named by the user and mounted, named by a variable, or, when it holds
no URL, its parts become variables from which Kubernetes puts the URL together. No value of it passes through the chart.
*/}}

{{/* `database` as a job uses it: dict root and over, the job's own `database`, whose empty values are as in the root's. */}}
{{- define "outbox-relay.database" -}}
{{- $database := deepCopy .root.Values.database -}}
{{- with .over -}}
{{- if .secretName }}{{ $_ := set $database "secretName" .secretName }}{{ $_ := set $database "file" "" }}{{ end -}}
{{- if .file }}{{ $_ := set $database "file" .file }}{{ end -}}
{{- if .urlKey }}{{ $_ := set $database "urlKey" .urlKey }}{{ end -}}
{{- if .usernameKey }}{{ $_ := set $database.parts "usernameKey" .usernameKey }}{{ end -}}
{{- if .passwordKey }}{{ $_ := set $database.parts "passwordKey" .passwordKey }}{{ end -}}
{{- end -}}
{{ toYaml $database }}
{{- end }}

{{/* A variable from a key of a Secret: dict name, secret, key. */}}
{{- define "outbox-relay.secretVariable" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret | quote }}
      key: {{ .key | quote }}
{{- end }}

{{/* Refuses a server that nobody can find: dict what, server, example. */}}
{{- define "outbox-relay.checkServer" -}}
{{- $said := printf "%s.secretName is required: the Secret with the URL, which must exist; %s" .what .example -}}
{{- $_ := required $said (or .server.secretName .server.file) -}}
{{- if not (or .server.urlKey .server.file) -}}
{{- $said := printf "%s.parts.host is required, or %s.parts.hostKey: without %s.urlKey the URL is put together of the parts" .what .what .what -}}
{{- $_ := required $said (or .server.parts.host .server.parts.hostKey) -}}
{{- end -}}
{{- end }}

{{/* Variables for Postgres: dict database. */}}
{{- define "outbox-relay.databaseEnv" -}}
{{- $example := "a CloudNativePG cluster makes one, named <cluster>-app" -}}
{{- include "outbox-relay.checkServer" (dict "what" "database" "server" .database "example" $example) -}}
{{- $secret := .database.secretName -}}
{{- with .database -}}
{{- if .file }}
- name: RELAY_DATABASE_URL_FILE
  value: {{ .file | quote }}
{{- else if not .urlKey }}
{{- $parts := .parts -}}
{{- $said := "database.parts.name is required, or database.parts.nameKey: without database.urlKey the URL is put together of the parts" }}
{{- $_ := required $said (or $parts.name $parts.nameKey) }}
# libpq reads these two itself, so that any character may stand in them.
{{ include "outbox-relay.secretVariable" (dict "name" "PGUSER" "secret" $secret "key" $parts.usernameKey) }}
{{ include "outbox-relay.secretVariable" (dict "name" "PGPASSWORD" "secret" $secret "key" $parts.passwordKey) }}
{{- range $name, $key := dict "DATABASE_HOST" $parts.hostKey "DATABASE_NAME" $parts.nameKey "DATABASE_PORT" $parts.portKey }}
{{- if $key }}
{{ include "outbox-relay.secretVariable" (dict "name" $name "secret" $secret "key" $key) }}
{{- end }}
{{- end }}
{{- $host := ternary "$(DATABASE_HOST)" $parts.host (ne $parts.hostKey "") }}
{{- $port := ternary "$(DATABASE_PORT)" (toJson $parts.port) (ne $parts.portKey "") }}
{{- $name := ternary "$(DATABASE_NAME)" (urlquery $parts.name | replace "+" "%20") (ne $parts.nameKey "") }}
- name: RELAY_DATABASE_URL
  value: {{ printf "postgresql://%s%s/%s" $host (ternary "" (printf ":%s" $port) (contains ":" $host)) $name | quote }}
{{- else if .asFile }}
- name: RELAY_DATABASE_URL_FILE
  value: /etc/outbox-relay/database/url
{{- else }}
{{ include "outbox-relay.secretVariable" (dict "name" "RELAY_DATABASE_URL" "secret" $secret "key" .urlKey) }}
{{- end }}
{{- if .tls.mode }}
- name: PGSSLMODE
  value: {{ .tls.mode }}
{{- end }}
{{- if or .tls.ca.secretName .tls.ca.configMapName }}
- name: PGSSLROOTCERT
  value: /etc/outbox-relay/database-ca/ca.crt
{{- end }}
{{- if .tls.clientSecretName }}
- name: PGSSLCERT
  value: /etc/outbox-relay/database-client/tls.crt
- name: PGSSLKEY
  value: /etc/outbox-relay/database-client/tls.key
{{- end }}
{{- end -}}
{{- end }}

{{/* Variables for RabbitMQ: dict amqp. */}}
{{- define "outbox-relay.amqpEnv" -}}
{{- $example := "the RabbitMQ cluster operator makes one, named <cluster>-default-user" -}}
{{- include "outbox-relay.checkServer" (dict "what" "amqp" "server" .amqp "example" $example) -}}
{{- $secret := .amqp.secretName -}}
{{- with .amqp -}}
{{- if .file }}
- name: RELAY_AMQP_URL_FILE
  value: {{ .file | quote }}
{{- else if not .urlKey }}
{{- $parts := .parts }}
{{ include "outbox-relay.secretVariable" (dict "name" "AMQP_USERNAME" "secret" $secret "key" $parts.usernameKey) }}
{{ include "outbox-relay.secretVariable" (dict "name" "AMQP_PASSWORD" "secret" $secret "key" $parts.passwordKey) }}
{{- range $name, $key := dict "AMQP_HOST" $parts.hostKey "AMQP_PORT" $parts.portKey }}
{{- if $key }}
{{ include "outbox-relay.secretVariable" (dict "name" $name "secret" $secret "key" $key) }}
{{- end }}
{{- end }}
{{- $host := ternary "$(AMQP_HOST)" $parts.host (ne $parts.hostKey "") }}
{{- $port := ternary "$(AMQP_PORT)" (toJson (default (ternary 5671 5672 (eq $parts.scheme "amqps")) $parts.port)) (ne $parts.portKey "") }}
{{- $where := ternary $host (printf "%s:%s" $host $port) (contains ":" $host) }}
- name: RELAY_AMQP_URL
  value: {{ printf "%s://$(AMQP_USERNAME):$(AMQP_PASSWORD)@%s/%s" $parts.scheme $where (urlquery $parts.vhost | replace "+" "%20") | quote }}
{{- else if .asFile }}
- name: RELAY_AMQP_URL_FILE
  value: /etc/outbox-relay/amqp/url
{{- else }}
{{ include "outbox-relay.secretVariable" (dict "name" "RELAY_AMQP_URL" "secret" $secret "key" .urlKey) }}
{{- end }}
{{- if or .tls.ca.secretName .tls.ca.configMapName }}
# OpenSSL's own name for the authorities that are trusted where the URL names none.
- name: SSL_CERT_FILE
  value: /etc/outbox-relay/amqp-ca/ca.crt
{{- end }}
{{- end -}}
{{- end }}

{{/* The volume of an authority's certificate, or nothing: dict name, ca. */}}
{{- define "outbox-relay.caVolume" -}}
{{- if and .ca.secretName .ca.configMapName -}}
{{- fail "tls.ca: name a Secret or a ConfigMap, not both" -}}
{{- end -}}
{{- if .ca.secretName }}
- name: {{ .name }}
  secret:
    secretName: {{ .ca.secretName | quote }}
    items:
      - key: {{ .ca.key | quote }}
        path: ca.crt
{{- else if .ca.configMapName }}
- name: {{ .name }}
  configMap:
    name: {{ .ca.configMapName | quote }}
    items:
      - key: {{ .ca.key | quote }}
        path: ca.crt
{{- end }}
{{- end }}

{{/* The volume of a Secret's URL, or nothing: dict name, server. */}}
{{- define "outbox-relay.urlVolume" -}}
{{- if and .server.urlKey .server.asFile (not .server.file) }}
- name: {{ .name }}
  secret:
    secretName: {{ .server.secretName | quote }}
    defaultMode: 288 # 0440: the container's user reads it as a member of fsGroup
    items:
      - key: {{ .server.urlKey | quote }}
        path: url
{{- end }}
{{- end }}

{{/* Volumes of the database: dict database, and prefix, which tells two databases of one pod apart. */}}
{{- define "outbox-relay.databaseVolumes" -}}
{{- include "outbox-relay.urlVolume" (dict "name" (printf "%sdatabase" .prefix) "server" .database) }}
{{ include "outbox-relay.caVolume" (dict "name" (printf "%sdatabase-ca" .prefix) "ca" .database.tls.ca) }}
{{- if .database.tls.clientSecretName }}
- name: {{ .prefix }}database-client
  secret:
    secretName: {{ .database.tls.clientSecretName | quote }}
    defaultMode: 288 # 0440: libpq refuses a key that others can read
{{- end }}
{{- end }}

{{/* Volumes of both servers: the root. */}}
{{- define "outbox-relay.serverVolumes" -}}
{{ include "outbox-relay.databaseVolumes" (dict "database" .Values.database "prefix" "") }}
{{ include "outbox-relay.urlVolume" (dict "name" "amqp" "server" .Values.amqp) }}
{{ include "outbox-relay.caVolume" (dict "name" "amqp-ca" "ca" .Values.amqp.tls.ca) }}
{{- end }}

{{/* Mounts of those volumes, each in the folder of its name: dict volumes, prefix. */}}
{{- define "outbox-relay.serverMounts" -}}
{{- range .volumes }}
- name: {{ .name }}
  mountPath: /etc/outbox-relay/{{ trimPrefix $.prefix .name }}
  readOnly: true
{{- end }}
{{- end }}

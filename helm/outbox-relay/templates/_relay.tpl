{{/* What the relay is told, and what of it cannot be. */}}

{{/* A number, a word or a truth as an environment variable spells it: no number with an exponent. */}}
{{- define "outbox-relay.text" -}}
{{ if kindIs "string" . }}{{ . }}{{ else }}{{ toJson . }}{{ end }}
{{- end }}

{{/* A setting as it will be: dict root, name. */}}
{{- define "outbox-relay.setting" -}}
{{- $value := get .root.Values.settings .name -}}
{{- if or (kindIs "invalid" $value) (eq (toString $value) "") -}}
{{ get (get (include "outbox-relay.settingsTable" . | fromYaml) .name) "default" }}
{{- else -}}
{{ include "outbox-relay.text" $value }}
{{- end -}}
{{- end }}

{{/* Variables of the settings that are set: dict root, and only, the names that matter to a job. */}}
{{- define "outbox-relay.settingsEnv" -}}
{{- $table := include "outbox-relay.settingsTable" .root | fromYaml -}}
{{- $only := .only -}}
{{- range $name, $value := .root.Values.settings -}}
{{- if not (or (kindIs "invalid" $value) (eq (toString $value) "")) }}
{{- if or (not $only) (has $name $only) }}
- name: {{ get (get $table $name) "variable" }}
  value: {{ include "outbox-relay.text" $value | quote }}
{{- end }}
{{- end }}
{{- end -}}
{{- end }}

{{/* All variables of the relay. */}}
{{- define "outbox-relay.env" -}}
{{- $made := list -}}
{{- $made = append $made (include "outbox-relay.databaseEnv" (dict "database" .Values.database) | trim) -}}
{{- $made = append $made (include "outbox-relay.amqpEnv" (dict "amqp" .Values.amqp) | trim) -}}
{{- $made = append $made (include "outbox-relay.settingsEnv" (dict "root" . "only" list) | trim) -}}
{{- $text := compact $made | join "\n" -}}
{{- range .Values.extraEnv -}}
{{- if contains (printf "- name: %s\n" .name) (printf "%s\n" $text) -}}
{{- fail (printf "extraEnv: %s is set by the chart already, from settings, database or amqp" .name) -}}
{{- end -}}
{{- end -}}
{{ $text }}
{{- end }}

{{/* terminationGracePeriodSeconds: SIGKILL must come after the relay's own end. */}}
{{- define "outbox-relay.terminationGrace" -}}
{{- $grace := include "outbox-relay.setting" (dict "root" . "name" "shutdownGraceSeconds") | float64 -}}
{{- $given := .Values.terminationGracePeriodSeconds -}}
{{- if kindIs "invalid" $given -}}
{{ add (ceil $grace | int) 10 }}
{{- else -}}
{{- if lt (float64 $given) (addf $grace 5.0) -}}
{{- fail (printf "terminationGracePeriodSeconds: %v is too short; settings.shutdownGraceSeconds is %v, and five seconds more are needed, or Kubernetes kills a relay that finishes what is in flight" $given $grace) -}}
{{- end -}}
{{ toJson $given }}
{{- end -}}
{{- end }}

{{/* The ceiling of memory in Mi, as the README reckons it, and a tenth more. */}}
{{- define "outbox-relay.memoryLimit" -}}
{{- $of := dict -}}
{{- range $name := list "lanes" "batchSize" "batchBytes" "maxMessageBytes" -}}
{{- $_ := set $of $name (include "outbox-relay.setting" (dict "root" $ "name" $name) | int64) -}}
{{- end -}}
{{- $lane := add (mul $of.batchSize 2048) (max (mul 3 $of.batchBytes) (mul 5 $of.maxMessageBytes)) -}}
{{- $bytes := add 94371840 (mul $of.lanes $lane) -}}
{{ div (mul $bytes 11) 10485760 | add1 }}Mi
{{- end }}

{{- define "outbox-relay.resources" -}}
{{- $resources := deepCopy .Values.resources -}}
{{- if not (hasKey (default dict $resources.limits) "memory") -}}
{{- $_ := set $resources "limits" (merge (dict "memory" (include "outbox-relay.memoryLimit" .)) (default dict $resources.limits)) -}}
{{- end -}}
{{ toYaml $resources }}
{{- end }}

{{/* Refuses what the relay would refuse, or what would keep its pods from ever being ready. */}}
{{- define "outbox-relay.check" -}}
{{- $is := dict -}}
{{- range $name := list "exchange" "ordering" "failedBlocksKey" "httpHost" "httpPort" -}}
{{- $_ := set $is $name (include "outbox-relay.setting" (dict "root" $ "name" $name)) -}}
{{- end -}}
{{- range $name := list "leaseSeconds" "confirmTimeoutSeconds" "shutdownGraceSeconds" "pollMinSeconds" "pollMaxSeconds" "retryBaseSeconds" "retryMaxSeconds" -}}
{{- $_ := set $is $name (include "outbox-relay.setting" (dict "root" $ "name" $name) | float64) -}}
{{- end -}}
{{- $elsewhere := not (empty .Values.envFrom) -}}
{{- range .Values.extraEnv }}{{ if eq .name "RELAY_EXCHANGE" }}{{ $elsewhere = true }}{{ end }}{{ end -}}
{{- if not $elsewhere -}}
{{- $_ := required "settings.exchange is required: the exchange of rows that name none; amq.default is the default exchange" $is.exchange -}}
{{- end -}}
{{- if lt $is.leaseSeconds (addf $is.confirmTimeoutSeconds 20.0) -}}
{{- fail "settings.leaseSeconds: too short; it must be at least settings.confirmTimeoutSeconds + 20, or another relay takes rows still in flight" -}}
{{- end -}}
{{- if ge $is.shutdownGraceSeconds $is.leaseSeconds -}}
{{- fail "settings.shutdownGraceSeconds: must be below settings.leaseSeconds, or another relay takes rows while this one finishes them" -}}
{{- end -}}
{{- if gt $is.pollMinSeconds $is.pollMaxSeconds -}}
{{- fail "settings.pollMinSeconds: must not be above settings.pollMaxSeconds" -}}
{{- end -}}
{{- if gt $is.retryBaseSeconds $is.retryMaxSeconds -}}
{{- fail "settings.retryBaseSeconds: must not be above settings.retryMaxSeconds" -}}
{{- end -}}
{{- if and (eq $is.failedBlocksKey "true") (ne $is.ordering "key") -}}
{{- fail "settings.failedBlocksKey: means something only with settings.ordering=key; set both, or neither" -}}
{{- end -}}
{{- if and (eq $is.ordering "key") (ne .Values.migrations.mode "none") (not (has "ordering" .Values.migrations.optIns)) -}}
{{- fail "settings.ordering=key needs migrations.optIns to hold ordering (or migrations.mode=none, where your own tool applies it)" -}}
{{- end -}}
{{- if eq $is.httpPort "0" -}}
{{- fail "settings.httpPort: 0 picks a port that no probe would know" -}}
{{- end -}}
{{- if or (hasPrefix "127." $is.httpHost) (has $is.httpHost (list "localhost" "::1")) -}}
{{- fail (printf "settings.httpHost: probes and Prometheus come from outside the pod, and do not reach %s" $is.httpHost) -}}
{{- end -}}
{{- end }}

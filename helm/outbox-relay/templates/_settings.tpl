{{/* Made by `python -m helm.reference`: the variable and the default of each of settings. */}}
{{- define "outbox-relay.settingsTable" -}}
exchange: {variable: RELAY_EXCHANGE, default: ""}
schema: {variable: RELAY_SCHEMA, default: "outbox"}
table: {variable: RELAY_TABLE, default: "message"}
batchSize: {variable: RELAY_BATCH_SIZE, default: "500"}
batchBytes: {variable: RELAY_BATCH_BYTES, default: "8388608"}
maxMessageBytes: {variable: RELAY_MAX_MESSAGE_BYTES, default: "16777216"}
lanes: {variable: RELAY_LANES, default: "2"}
leaseSeconds: {variable: RELAY_LEASE_SECONDS, default: "60"}
confirmTimeoutSeconds: {variable: RELAY_CONFIRM_TIMEOUT_SECONDS, default: "30"}
maxFailures: {variable: RELAY_MAX_FAILURES, default: "10"}
retryBaseSeconds: {variable: RELAY_RETRY_BASE_SECONDS, default: "1"}
retryMaxSeconds: {variable: RELAY_RETRY_MAX_SECONDS, default: "300"}
outageSleepSeconds: {variable: RELAY_OUTAGE_SLEEP_SECONDS, default: "30"}
pollMinSeconds: {variable: RELAY_POLL_MIN_SECONDS, default: "0.02"}
pollMaxSeconds: {variable: RELAY_POLL_MAX_SECONDS, default: "0.5"}
rescanSeconds: {variable: RELAY_RESCAN_SECONDS, default: "5"}
ordering: {variable: RELAY_ORDERING, default: "none"}
failedBlocksKey: {variable: RELAY_FAILED_BLOCKS_KEY, default: "false"}
backlogSampleSeconds: {variable: RELAY_BACKLOG_SAMPLE_SECONDS, default: "10"}
backlogCountCap: {variable: RELAY_BACKLOG_COUNT_CAP, default: "10000"}
healthSampleSeconds: {variable: RELAY_HEALTH_SAMPLE_SECONDS, default: "60"}
shutdownGraceSeconds: {variable: RELAY_SHUTDOWN_GRACE_SECONDS, default: "25"}
heartbeatSeconds: {variable: RELAY_HEARTBEAT_SECONDS, default: "10"}
httpHost: {variable: RELAY_HTTP_HOST, default: "0.0.0.0"}
httpPort: {variable: RELAY_HTTP_PORT, default: "9464"}
statusPage: {variable: RELAY_STATUS_PAGE, default: "true"}
logLevel: {variable: RELAY_LOG_LEVEL, default: "info"}
logFormat: {variable: RELAY_LOG_FORMAT, default: "json"}
name: {variable: RELAY_NAME, default: "the host name"}
{{- end }}

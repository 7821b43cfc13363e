-- pre deploy: makes the outbox table and the four indexes the relay reads it by.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- Like CREATE SCHEMA IF NOT EXISTS, which however demands CREATE on the database even where the schema stands.
DO $do$
BEGIN
  CREATE SCHEMA "outbox";
EXCEPTION
  WHEN duplicate_schema OR insufficient_privilege THEN NULL;
END
$do$;

CREATE TABLE "outbox"."message" (
  id bigint GENERATED ALWAYS AS IDENTITY (CACHE 1),
  message_id uuid NOT NULL DEFAULT gen_random_uuid(),
  exchange text,
  routing_key text NOT NULL,
  key text,
  payload jsonb NOT NULL,
  content_type text NOT NULL DEFAULT 'application/json',
  headers jsonb NOT NULL DEFAULT '{}',
  properties jsonb NOT NULL DEFAULT '{}',
  status text NOT NULL DEFAULT 'pending',
  available_at timestamptz NOT NULL DEFAULT now(),
  claimed_until timestamptz,
  claim_token uuid,
  claims integer NOT NULL DEFAULT 0,
  failures integer NOT NULL DEFAULT 0,
  last_error text,
  created_at timestamptz NOT NULL DEFAULT now(),
  sent_at timestamptz,
  CONSTRAINT "message_pkey" PRIMARY KEY (id),
  CONSTRAINT "message_status_check" CHECK (status IN ('pending', 'sent', 'failed'))
)
WITH (
  -- A claim and its renewals rewrite the row in place when its page has room (no indexed column changes).
  fillfactor = 60,
  -- Fixed thresholds: a share of the table would let dead rows pile up with the history that is kept.
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 1000,
  autovacuum_vacuum_cost_delay = 0,
  autovacuum_vacuum_insert_scale_factor = 0,
  autovacuum_vacuum_insert_threshold = 100000,
  -- No plan of the relay depends on fresh statistics; an operator's queries may.
  autovacuum_analyze_scale_factor = 0,
  autovacuum_analyze_threshold = 50000
);

CREATE INDEX "message_pending" ON "outbox"."message" (id) WHERE status = 'pending';
CREATE INDEX "message_retrying" ON "outbox"."message" (id) WHERE status = 'pending' AND failures > 0;
CREATE INDEX "message_failed" ON "outbox"."message" (id) WHERE status = 'failed';
CREATE INDEX "message_sent" ON "outbox"."message" (sent_at) WHERE status = 'sent';

COMMENT ON TABLE "outbox"."message" IS
  'Messages to publish, written in the transaction of the business change that they tell about; outbox-relay carries them to RabbitMQ.';
COMMENT ON COLUMN "outbox"."message".id IS 'The order in which the relay takes rows.';
COMMENT ON COLUMN "outbox"."message".message_id IS 'AMQP message_id: the key by which a consumer knows a repeated delivery.';
COMMENT ON COLUMN "outbox"."message".exchange IS 'Exchange to publish to; NULL: the relay''s RELAY_EXCHANGE.';
COMMENT ON COLUMN "outbox"."message".routing_key IS 'AMQP routing key, at most 255 bytes.';
COMMENT ON COLUMN "outbox"."message".key IS 'Ordering key, such as the id of the business object; NULL: no order.';
COMMENT ON COLUMN "outbox"."message".payload IS 'The body, sent byte for byte; the column may be altered to json, text or bytea.';
COMMENT ON COLUMN "outbox"."message".content_type IS 'AMQP content_type of the payload.';
COMMENT ON COLUMN "outbox"."message".headers IS 'AMQP headers, a JSON object without fractional numbers.';
COMMENT ON COLUMN "outbox"."message".properties IS
  'AMQP properties, a JSON object: type, correlation_id, reply_to, priority, expiration, content_encoding, app_id.';
COMMENT ON COLUMN "outbox"."message".status IS
  'pending: waits for the relay; sent: the broker confirmed it; failed: given up, see last_error.';
COMMENT ON COLUMN "outbox"."message".available_at IS 
  'Not published before this time: a producer''s delay, or the wait before a retry; of a failed row: when it was given up.';
COMMENT ON COLUMN "outbox"."message".claimed_until IS 'The lease: until then the row belongs to the relay that claimed it; NULL: to nobody.';
COMMENT ON COLUMN "outbox"."message".claim_token IS 'Whose lease it is, or was last.';
COMMENT ON COLUMN "outbox"."message".claims IS 'Times a relay took the row; given back when it could not be published for no fault of its own.';
COMMENT ON COLUMN "outbox"."message".failures IS 'Times the row was refused for its own fault.';
COMMENT ON COLUMN "outbox"."message".last_error IS 'Why it was last refused, or why an earlier publish may have arrived.';
COMMENT ON COLUMN "outbox"."message".created_at IS 'When the producer''s transaction began.';
COMMENT ON COLUMN "outbox"."message".sent_at IS 'When the relay wrote down the broker''s confirm.';
COMMENT ON INDEX "outbox"."message_pkey" IS 'Marks find their rows by it.';
COMMENT ON INDEX "outbox"."message_pending" IS 'Claims and backlog counts walk it in order of id.';
COMMENT ON INDEX "outbox"."message_retrying" IS 'Counts rows that were refused and wait for a retry; nearly empty.';
COMMENT ON INDEX "outbox"."message_failed" IS 'Counts, requeues and deletes rows that were given up; nearly empty.';
COMMENT ON INDEX "outbox"."message_sent" IS 'Deletes sent rows by age.';

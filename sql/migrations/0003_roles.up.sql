-- pre deploy: makes the roles of producer, relay and keeper where they are missing and may be made, and grants them their rights.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- outbox_producer: a service that writes messages. INSERT of a message's own columns, and no more.
-- Safe to run again. Without the right to create roles it warns; have them created, then run it again.
DO $do$
BEGIN
  CREATE ROLE "outbox_producer" NOLOGIN;
EXCEPTION
  WHEN duplicate_object OR unique_violation THEN NULL;
  WHEN insufficient_privilege THEN
    IF to_regrole('outbox_producer') IS NULL THEN
      RAISE WARNING 'role outbox_producer is missing and this login may not create it: its grants are left out';
    END IF;
END
$do$;

DO $do$
BEGIN
  IF to_regrole('outbox_producer') IS NULL THEN
    RETURN;
  END IF;
  GRANT USAGE ON SCHEMA "outbox" TO "outbox_producer";
  GRANT INSERT (message_id, exchange, routing_key, key, payload, content_type, headers, properties, available_at)
    ON "outbox"."message" TO "outbox_producer";
  -- For INSERT ... RETURNING id, which most object mappers send.
  GRANT SELECT (id, message_id) ON "outbox"."message" TO "outbox_producer";
END
$do$;

-- outbox_relay: the daemon. Reads everything, writes only what tells how far a message has come.
-- Safe to run again. Without the right to create roles it warns; have them created, then run it again.
DO $do$
BEGIN
  CREATE ROLE "outbox_relay" NOLOGIN;
EXCEPTION
  WHEN duplicate_object OR unique_violation THEN NULL;
  WHEN insufficient_privilege THEN
    IF to_regrole('outbox_relay') IS NULL THEN
      RAISE WARNING 'role outbox_relay is missing and this login may not create it: its grants are left out';
    END IF;
END
$do$;

DO $do$
BEGIN
  IF to_regrole('outbox_relay') IS NULL THEN
    RETURN;
  END IF;
  GRANT USAGE ON SCHEMA "outbox" TO "outbox_relay";
  GRANT SELECT ON "outbox"."message" TO "outbox_relay";
  GRANT UPDATE (status, available_at, claimed_until, claim_token, claims, failures, last_error, sent_at)
    ON "outbox"."message" TO "outbox_relay";
END
$do$;

-- outbox_keeper: cleanup and requeue, by a person or a timer. The functions and nothing else.
-- Safe to run again. Without the right to create roles it warns; have them created, then run it again.
DO $do$
BEGIN
  CREATE ROLE "outbox_keeper" NOLOGIN;
EXCEPTION
  WHEN duplicate_object OR unique_violation THEN NULL;
  WHEN insufficient_privilege THEN
    IF to_regrole('outbox_keeper') IS NULL THEN
      RAISE WARNING 'role outbox_keeper is missing and this login may not create it: its grants are left out';
    END IF;
END
$do$;

DO $do$
BEGIN
  IF to_regrole('outbox_keeper') IS NULL THEN
    RETURN;
  END IF;
  GRANT USAGE ON SCHEMA "outbox" TO "outbox_keeper";
  GRANT EXECUTE ON FUNCTION "outbox"."delete_sent"(interval, integer) TO "outbox_keeper";
  GRANT EXECUTE ON FUNCTION "outbox"."delete_failed"(interval, integer) TO "outbox_keeper";
  GRANT EXECUTE ON FUNCTION "outbox"."requeue_failed"(integer, bigint[], text) TO "outbox_keeper";
END
$do$;

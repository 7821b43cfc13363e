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

-- post deploy: takes the rights from the three roles; the roles stay, as other databases may use them.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DO $do$
BEGIN
  IF to_regrole('outbox_keeper') IS NOT NULL THEN
    REVOKE ALL ON FUNCTION "outbox"."requeue_failed"(integer, bigint[], text) FROM "outbox_keeper";
    REVOKE ALL ON FUNCTION "outbox"."delete_failed"(interval, integer) FROM "outbox_keeper";
    REVOKE ALL ON FUNCTION "outbox"."delete_sent"(interval, integer) FROM "outbox_keeper";
    REVOKE ALL ON SCHEMA "outbox" FROM "outbox_keeper";
  END IF;
  IF to_regrole('outbox_relay') IS NOT NULL THEN
    REVOKE ALL ON "outbox"."message" FROM "outbox_relay";
    REVOKE ALL ON SCHEMA "outbox" FROM "outbox_relay";
  END IF;
  IF to_regrole('outbox_producer') IS NOT NULL THEN
    REVOKE ALL ON "outbox"."message" FROM "outbox_producer";
    REVOKE ALL ON SCHEMA "outbox" FROM "outbox_producer";
  END IF;
END
$do$;

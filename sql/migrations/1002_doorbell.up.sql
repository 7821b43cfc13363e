-- opt-in: makes the trigger by which an INSERT wakes a relay that sleeps.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- Rings the doorbell, when a relay holds it.
-- A relay that sleeps holds the advisory lock. Where nobody does, the shared lock keeps a relay from falling asleep before
-- this transaction has ended: it looks at the table when it has the lock, and finds the row.
-- NOTIFY makes its transactions commit one after the other, so it is for times when few rows come. A listener that hangs
-- could fill its queue, which would make every NOTIFY of the cluster fail: no ring is worth that.
-- Parameters: none, as of every trigger. Returns: nothing. Tables touched: none. 1650814060 spells bell.
CREATE FUNCTION "outbox"."ring_doorbell"()
RETURNS trigger
LANGUAGE plpgsql
AS $do$
BEGIN
  IF NOT pg_catalog.pg_try_advisory_xact_lock_shared(1650814060, TG_RELID::pg_catalog.int4) THEN
    IF pg_catalog.pg_notification_queue_usage() OPERATOR(pg_catalog.<) 0.1::pg_catalog.float8 THEN
      PERFORM pg_catalog.pg_notify(pg_catalog.concat('relay_doorbell_', TG_RELID), '');
    END IF;
  END IF;
  RETURN NULL;
END
$do$;

COMMENT ON FUNCTION "outbox"."ring_doorbell"() IS 'Wakes the relay that sleeps; see relay doorbell.';

CREATE TRIGGER "message_doorbell"
AFTER INSERT ON "outbox"."message"
FOR EACH STATEMENT EXECUTE FUNCTION "outbox"."ring_doorbell"();

COMMENT ON TRIGGER "message_doorbell" ON "outbox"."message" IS 'Wakes the relay that sleeps; see relay doorbell.';

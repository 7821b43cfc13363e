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

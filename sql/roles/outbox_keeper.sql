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

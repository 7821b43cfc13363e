-- Deletes messages that were given up long enough ago, in order of id.
-- Parameters: older_than, the least time since they were given up; max_rows, the most rows one call deletes.
-- Returns: how many it deleted; 0 also while another session deletes. Call again, each call in a transaction of its own.
-- Tables touched: the outbox table, by its index on the ids of failed rows.
CREATE FUNCTION "outbox"."delete_failed"(older_than interval, max_rows integer)
RETURNS bigint
LANGUAGE sql
VOLATILE
STRICT
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  WITH turn AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(1868722040, '"outbox"."message"'::regclass::oid::integer) AS is_mine
  ),
  doomed AS MATERIALIZED (
    SELECT id
    FROM "outbox"."message"
    WHERE status = 'failed' AND available_at < now() - older_than AND (SELECT is_mine FROM turn)
    ORDER BY id
    LIMIT greatest(max_rows, 0)
    FOR UPDATE SKIP LOCKED
  ),
  gone AS (
    DELETE FROM "outbox"."message" AS m
    USING doomed
    WHERE m.id = doomed.id
    RETURNING m.id
  )
  SELECT count(*) FROM gone;
END;

COMMENT ON FUNCTION "outbox"."delete_failed"(interval, integer) IS
  'Deletes at most max_rows messages that were given up longer ago than older_than; returns how many.';
REVOKE ALL ON FUNCTION "outbox"."delete_failed"(interval, integer) FROM PUBLIC;

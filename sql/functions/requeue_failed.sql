-- Gives messages that were given up another chance, in order of id, as if they had never been tried.
-- Parameters: max_rows, the most rows of one call; ids, only these rows; reason, only rows whose last_error begins with
-- that word and a colon, such as unroutable. NULL: any.
-- Returns: how many it made pending. Call again, each call in a transaction of its own.
-- Tables touched: the outbox table, by its index on the ids of failed rows.
CREATE FUNCTION "outbox"."requeue_failed"(max_rows integer, ids bigint[] DEFAULT NULL, reason text DEFAULT NULL)
RETURNS bigint
LANGUAGE sql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  WITH chosen AS MATERIALIZED (
    SELECT id
    FROM "outbox"."message"
    WHERE status = 'failed'
      AND (requeue_failed.ids IS NULL OR id = ANY (requeue_failed.ids))
      AND (requeue_failed.reason IS NULL OR starts_with(last_error, requeue_failed.reason || ':'))
    ORDER BY id
    LIMIT greatest(max_rows, 0)
    FOR UPDATE SKIP LOCKED
  ),
  back AS (
    -- last_error stays: an earlier publish may have arrived, and the relay tells the consumer so.
    UPDATE "outbox"."message" AS m
    SET status = 'pending', available_at = now(), claimed_until = NULL, claims = 0, failures = 0
    FROM chosen
    WHERE m.id = chosen.id
    RETURNING m.id
  )
  SELECT count(*) FROM back;
END;

COMMENT ON FUNCTION "outbox"."requeue_failed"(integer, bigint[], text) IS
  'Makes at most max_rows failed messages pending again; returns how many.';
REVOKE ALL ON FUNCTION "outbox"."requeue_failed"(integer, bigint[], text) FROM PUBLIC;

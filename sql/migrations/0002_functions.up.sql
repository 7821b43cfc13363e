-- pre deploy: makes the functions that delete sent and failed messages and that requeue failed ones.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- Deletes messages that were sent long enough ago, the oldest first.
-- Parameters: older_than, the least time since they were sent; max_rows, the most rows one call deletes.
-- Returns: how many it deleted; 0 also while another session deletes. Call again, each call in a transaction of its own.
-- Tables touched: the outbox table, by its index on sent_at.
CREATE FUNCTION "outbox"."delete_sent"(older_than interval, max_rows integer)
RETURNS bigint
LANGUAGE sql
VOLATILE
STRICT
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  WITH turn AS MATERIALIZED (
    -- One session at a time: two would only fight over the same rows. 1868722040 spells obox.
    SELECT pg_try_advisory_xact_lock(1868722040, '"outbox"."message"'::regclass::oid::integer) AS is_mine
  ),
  doomed AS MATERIALIZED (
    SELECT id
    FROM "outbox"."message"
    WHERE status = 'sent' AND sent_at < now() - older_than AND (SELECT is_mine FROM turn)
    ORDER BY sent_at
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

COMMENT ON FUNCTION "outbox"."delete_sent"(interval, integer) IS
  'Deletes at most max_rows messages that were sent longer ago than older_than; returns how many.';
REVOKE ALL ON FUNCTION "outbox"."delete_sent"(interval, integer) FROM PUBLIC;

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

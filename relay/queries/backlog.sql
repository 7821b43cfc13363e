-- Samples the backlog: rows that wait from :low on, rows that retry and that failed, each counted up to :cap, the age of
-- the oldest due row, how many rows were ever inserted and deleted, with order per key how many keys a refused row
-- blocks, and where the next sample may begin.
-- Rides on the indexes message_pending, message_retrying and message_failed, and on the primary key for the last row;
-- ORDER BY id keeps it to them, whatever the statistics say. A row is as old as the time since it fell due; a retry's
-- wait does not make it young.
WITH waiting AS MATERIALIZED (
  SELECT count(*) AS pending, min(id) AS first
  FROM (
    SELECT id
    FROM {table}
    WHERE status = 'pending' AND id >= %(low)s::bigint
    ORDER BY id
    LIMIT %(cap)s::bigint + 1
  ) AS p
)
SELECT
  waiting.pending,
  (
    SELECT count(*)
    FROM (SELECT FROM {table} WHERE status = 'pending' AND failures > 0 ORDER BY id LIMIT %(cap)s::bigint + 1) AS r
  ) AS retrying,
  (
    SELECT count(*)
    FROM (SELECT FROM {table} WHERE status = 'failed' ORDER BY id LIMIT %(cap)s::bigint + 1) AS f
  ) AS failed,
  greatest(0, least(extract(epoch FROM now()) - extract(epoch FROM coalesce((
    -- The head of the index, and of it what is due; and the same from :unseen on, so that messages delayed for later
    -- neither make the walk long nor hide what arrived behind them. It begins behind the dead entries walked above.
    SELECT min(oldest.due)
    FROM (VALUES (waiting.first), (greatest(waiting.first, %(unseen)s::bigint))) AS begin (id)
    CROSS JOIN LATERAL (
      SELECT head.due
      FROM (
        SELECT id, CASE WHEN failures = 0 THEN available_at ELSE created_at END AS due
        FROM {table}
        WHERE status = 'pending' AND id >= begin.id
        ORDER BY id
        LIMIT %(cap)s
      ) AS head
      WHERE head.due <= now()
      ORDER BY head.id
      LIMIT 1000
    ) AS oldest
    WHERE waiting.first IS NOT NULL  -- or :unseen alone would begin before the dead entries
  ), now())), 1e9))::float8 AS oldest_age_s,
  extract(epoch FROM now())::float8 AS sampled_at,
  -- A message is one INSERT, and nothing but a cleanup deletes rows: what Postgres counts is what came and what went.
  pg_stat_get_tuples_inserted({table_name}::regclass) AS inserted,
  pg_stat_get_tuples_deleted({table_name}::regclass) AS deleted,
  (
    SELECT count(DISTINCT key)
    FROM (
      (
        SELECT key
        FROM {table}
        WHERE status = 'pending' AND failures > 0 AND {ordered}
        ORDER BY id
        LIMIT %(cap)s::bigint + 1
      )
      UNION ALL
      (
        SELECT key
        FROM {table}
        WHERE status = 'failed' AND {failed_blocks}
        ORDER BY id
        LIMIT %(cap)s::bigint + 1
      )
    ) AS b
  ) AS blocked_keys,
  -- Of rows that waited there is none before the first one; when none waits, there is none before the last row at all.
  coalesce(
    waiting.first,
    greatest(%(low)s::bigint, %(unseen)s::bigint, (SELECT id FROM {table} ORDER BY id DESC LIMIT 1))
  )::bigint AS next_low
FROM waiting

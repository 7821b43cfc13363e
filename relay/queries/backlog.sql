-- Samples the backlog: rows that wait, retry and failed, each counted up to :cap, the age of the oldest due
-- row, how many rows were ever deleted, and with order per key how many keys a refused row blocks.
-- Rides on the indexes message_pending, message_retrying and message_failed; ORDER BY id keeps it to them, whatever
-- the statistics say. A row is as old as the time since it fell due; a retry's wait does not make it young.
SELECT
  (
    SELECT count(*)
    FROM (SELECT FROM {table} WHERE status = 'pending' ORDER BY id LIMIT %(cap)s::bigint + 1) AS p
  ) AS pending,
  (
    SELECT count(*)
    FROM (SELECT FROM {table} WHERE status = 'pending' AND failures > 0 ORDER BY id LIMIT %(cap)s::bigint + 1) AS r
  ) AS retrying,
  (
    SELECT count(*)
    FROM (SELECT FROM {table} WHERE status = 'failed' ORDER BY id LIMIT %(cap)s::bigint + 1) AS f
  ) AS failed,
  greatest(0, least(extract(epoch FROM now()) - extract(epoch FROM coalesce((
    -- The head of the index, and of it what is due: messages delayed for later must not make the scan long.
    SELECT min(due)
    FROM (
      SELECT due
      FROM (
        SELECT id, CASE WHEN failures = 0 THEN available_at ELSE created_at END AS due
        FROM {table}
        WHERE status = 'pending'
        ORDER BY id
        LIMIT %(cap)s
      ) AS head
      WHERE due <= now()
      ORDER BY id
      LIMIT 1000
    ) AS oldest
  ), now())), 1e9))::float8 AS oldest_age_s,
  extract(epoch FROM now())::float8 AS sampled_at,
  -- Nothing else deletes rows, so what Postgres counts is what every cleanup has done.
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
  ) AS blocked_keys

-- Chooses rows by turns: the keys after :after one by one, of each the first rows, and rows without a key beside them.
-- Rides on the index message_key, one descent a key whatever waits behind it; `lowest` rides on message_pending.
--
-- lowest   no pending row has a smaller id, so that dead entries of the index below it are passed over. A failed row that
--          stops its key may become pending again: while there is one, the caller is told 0.
-- visit    the next key, and the next: evaluated as far as LIMIT demands, so a claim costs by what it finds.
-- turn     of a key the rows up to the first that waits or is in somebody's hands; that one alone tells of a blocked
--          key. BETWEEN, as rows of one key are in order of id in message_pending, too, where they may be far apart. Nobody
--          may publish a row while an earlier one of its key is pending elsewhere.
-- Nothing is locked here. What is chosen of a key begins with its first pending row, so claim.sql, which looks again and
-- passes by what others hold, leaves a gap wherever somebody came between; behind a gap nothing is kept.
WITH RECURSIVE lowest AS MATERIALIZED (
  SELECT min(id) AS id, CASE WHEN {stopping} THEN 0 ELSE min(id) END AS told
  FROM (SELECT id FROM {table} WHERE status = 'pending' AND id >= %(low)s::bigint ORDER BY id LIMIT 1) AS p
),
visit (key) AS (
  SELECT (
    SELECT m.key COLLATE "C"
    FROM {table} AS m
    WHERE m.status = 'pending'
      AND m.id >= (SELECT id FROM lowest)
      AND m.key COLLATE "C" >= coalesce((SELECT p.key || E'\x01' FROM {table} AS p WHERE p.id = %(after)s::bigint), '')
    ORDER BY m.key COLLATE "C", m.id
    LIMIT 1
  )
  UNION ALL
  SELECT (
    SELECT m.key COLLATE "C"
    FROM {table} AS m
    WHERE m.status = 'pending' AND m.id >= (SELECT id FROM lowest) AND m.key COLLATE "C" > v.key
    ORDER BY m.key COLLATE "C", m.id
    LIMIT 1
  )
  FROM visit AS v
  WHERE v.key IS NOT NULL
),
turn AS (
  SELECT t.id, t.free, t.place
  FROM visit AS v
  CROSS JOIN LATERAL (SELECT {stopped} AS stopped) AS s
  CROSS JOIN LATERAL (
    SELECT
      id,
      NOT s.stopped AND bool_and(free) OVER up AS free,
      row_number() OVER up AS place
    FROM (
      SELECT m.id, m.available_at <= now() AND (m.claimed_until IS NULL OR m.claimed_until <= now()) AS free
      FROM {table} AS m
      WHERE m.status = 'pending'
        AND m.key COLLATE "C" BETWEEN v.key AND v.key
        AND m.id >= (SELECT id FROM lowest)
      ORDER BY m.key COLLATE "C", m.id
      LIMIT %(each)s
    ) AS head
    WINDOW up AS (ORDER BY id ROWS UNBOUNDED PRECEDING)
  ) AS t
  WHERE v.key IS NOT NULL AND (t.free OR t.place = 1)
  LIMIT %(look)s
)
SELECT id::bigint, free, place::bigint, (SELECT told FROM lowest)::bigint
FROM turn
UNION ALL
SELECT id::bigint, free, 0::bigint, (SELECT told FROM lowest)::bigint
FROM (
  SELECT id, available_at <= now() AND (claimed_until IS NULL OR claimed_until <= now()) AS free
  FROM {table}
  WHERE status = 'pending'
    AND key COLLATE "C" IS NULL
    AND id >= greatest((SELECT id FROM lowest), %(after_unkeyed)s::bigint + 1)
  ORDER BY key COLLATE "C", id
  LIMIT %(look)s
) AS unkeyed

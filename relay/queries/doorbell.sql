-- Tells of the doorbell: the table, whether its trigger is there and fires, and who holds the bell.
-- Rides on the catalogs' own indexes by name. 1650814060 is the lock's, as in the trigger's function.
SELECT
  c.oid::bigint,
  g.tgenabled IS NOT NULL,
  coalesce(g.tgenabled IN ('O', 'A'), FALSE),
  holder.name
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
  SELECT t.tgenabled
  FROM pg_trigger AS t
  JOIN pg_proc AS p ON p.oid = t.tgfoid
  WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND p.pronamespace = n.oid AND p.proname = 'ring_doorbell'
  LIMIT 1
) AS g ON TRUE
LEFT JOIN LATERAL (
  SELECT coalesce(a.application_name, '') AS name
  FROM pg_locks AS l
  JOIN pg_database AS d ON d.oid = l.database AND d.datname = current_database()
  LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
  WHERE l.locktype = 'advisory' AND l.classid = 1650814060 AND l.objid = c.oid AND l.objsubid = 2
    AND l.mode = 'ExclusiveLock' AND l.granted
  LIMIT 1
) AS holder ON TRUE
WHERE n.nspname = %(schema)s AND c.relname = %(table)s

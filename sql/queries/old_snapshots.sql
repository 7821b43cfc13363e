-- What keeps vacuum from removing dead rows of this database's tables, the oldest first: sessions, standbys, prepared
-- transactions, replication slots; how many transactions behind each is, and for how long it has been open.
SELECT
  'session ' || pid AS holder,
  application_name AS name,
  age(coalesce(CASE WHEN datname = current_database() THEN backend_xmin END, backend_xid)) AS age,
  now() - xact_start AS open_for
FROM pg_stat_activity
-- What writes in another database is reached back to by every snapshot here; what only reads there is not.
WHERE coalesce(CASE WHEN datname = current_database() THEN backend_xmin END, backend_xid) IS NOT NULL
  AND pid <> pg_backend_pid()
  AND pid NOT IN (SELECT pid FROM pg_stat_progress_vacuum)
UNION ALL
SELECT 'standby ' || r.pid, r.application_name, age(r.backend_xmin), NULL
FROM pg_stat_replication AS r
JOIN pg_stat_activity AS a ON a.pid = r.pid
WHERE r.backend_xmin IS NOT NULL AND a.datid IS NULL
UNION ALL
SELECT 'prepared transaction', gid, age(transaction), now() - prepared
FROM pg_prepared_xacts
UNION ALL
-- Its catalog_xmin holds back the catalogs only.
SELECT 'replication slot', slot_name, age(xmin), NULL
FROM pg_replication_slots
WHERE xmin IS NOT NULL AND wal_status IS DISTINCT FROM 'lost'
ORDER BY age DESC, open_for DESC NULLS LAST
LIMIT 20;

-- What keeps vacuum from removing dead rows, the oldest first: sessions, replication slots, prepared transactions.
SELECT 'session ' || pid AS holder, application_name AS name, age(coalesce(backend_xmin, backend_xid)) AS age
FROM pg_stat_activity
WHERE coalesce(backend_xmin, backend_xid) IS NOT NULL AND pid <> pg_backend_pid()
UNION ALL
SELECT 'replication slot', slot_name, age(coalesce(xmin, catalog_xmin))
FROM pg_replication_slots
WHERE coalesce(xmin, catalog_xmin) IS NOT NULL
UNION ALL
SELECT 'prepared transaction', gid, age(transaction) FROM pg_prepared_xacts
ORDER BY age DESC
LIMIT 20;

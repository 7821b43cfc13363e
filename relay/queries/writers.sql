-- Names the transactions that have written to the table, or are about to, and are not over: each may still commit rows
-- with ids that later ones have passed. Rides on the lock table, and touches no other.
-- A lock comes before the first id is drawn. One that is prepared ('-1/…') has another name than before.
SELECT DISTINCT virtualtransaction
FROM pg_catalog.pg_locks
WHERE locktype = 'relation'
  AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  AND relation = {table_name}::regclass
  AND mode = 'RowExclusiveLock'
  AND granted
  AND pid IS DISTINCT FROM pg_backend_pid()

-- Who keeps locks on the outbox table beyond a moment, and who waits for them.
SELECT
  a.pid,
  a.usename,
  a.application_name,
  a.state,
  l.mode,
  l.granted,
  now() - a.xact_start AS transaction_age,
  pg_blocking_pids(a.pid) AS waits_for,
  left(a.query, 120) AS query
FROM pg_locks AS l
JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.relation = '"outbox"."message"'::regclass AND a.pid <> pg_backend_pid()
ORDER BY a.xact_start;

-- Tells how the table fares: what the statistics know of it, its size, the oldest snapshot of each kind that keeps
-- vacuum from removing its dead rows, and which relays are connected to the database. Reads catalogs and sessions only.
-- Rides on the catalogs' own indexes; no row of the table is read, however many there are.
WITH sessions AS MATERIALIZED (
  SELECT
    a.pid,
    a.datid = here.oid AS is_here,
    a.datid IS NULL AS is_nowhere,
    nullif(a.application_name, '') AS application,
    a.xact_start,
    a.leader_pid,
    a.backend_xmin,
    a.backend_xid
  FROM pg_catalog.pg_stat_activity AS a
  JOIN pg_catalog.pg_database AS here ON here.datname = current_database()
),
held AS MATERIALIZED (
  -- One that has written holds on to its own number, also between two statements; and from another database, too, as
  -- every snapshot that is taken here meanwhile reaches back to it. What vacuum itself holds is no hindrance to it.
  -- Of another login the beginning of the transaction is seen only with pg_read_all_stats.
  SELECT
    'transaction' AS holder,
    CASE WHEN s.is_here THEN coalesce(s.backend_xmin, s.backend_xid) ELSE s.backend_xid END AS oldest,
    s.backend_xid AS own,
    s.xact_start AS since,
    s.pid,
    s.application,
    NULL::text AS name
  FROM sessions AS s
  WHERE s.pid <> pg_backend_pid()
    AND coalesce(s.leader_pid, s.pid) NOT IN (SELECT v.pid FROM pg_catalog.pg_stat_progress_vacuum AS v)
    AND NOT s.is_nowhere
  UNION ALL
  -- A sender without a database streams to a standby; what that asks for stands here when it has no slot.
  SELECT 'standby', s.backend_xmin, NULL, NULL, s.pid, s.application, NULL
  FROM sessions AS s
  JOIN pg_catalog.pg_stat_get_wal_senders() AS w ON w.pid = s.pid
  WHERE s.is_nowhere
  UNION ALL
  SELECT 'prepared_transaction', p.transaction, p.transaction, p.prepared, NULL, NULL, p.gid
  FROM pg_catalog.pg_prepared_xacts AS p
  UNION ALL
  -- catalog_xmin is left out: it holds back the catalogs, and not a table of ours.
  SELECT 'replication_slot', r.xmin, NULL, NULL, r.active_pid, NULL, r.slot_name::text
  FROM pg_catalog.pg_replication_slots AS r
  WHERE r.wal_status IS DISTINCT FROM 'lost'
),
oldest AS (
  SELECT DISTINCT ON (h.holder)
    h.holder,
    greatest(age(h.oldest), 0) AS transactions,
    CASE WHEN h.since IS NOT NULL THEN greatest(extract(epoch FROM now() - h.since), 0)::float8 END AS age_s,
    h.pid,
    h.application,
    h.name
  FROM held AS h
  -- What reaches back to the number of another is left out: it ends with that one.
  WHERE h.oldest IS NOT NULL
    AND (h.oldest = h.own OR h.oldest NOT IN (SELECT w.own FROM held AS w WHERE w.own IS NOT NULL))
  ORDER BY h.holder, age(h.oldest) DESC, h.since, h.pid
)
SELECT json_build_object(
  'live_tuples', pg_stat_get_live_tuples(t.id),
  'dead_tuples', pg_stat_get_dead_tuples(t.id),
  'table_bytes', coalesce(pg_table_size(t.id), 0),
  'index_bytes', coalesce(pg_indexes_size(t.id), 0),
  'last_autovacuum_at', extract(epoch FROM pg_stat_get_last_autovacuum_time(t.id))::float8,
  'complete', pg_has_role('pg_read_all_stats', 'USAGE'),
  'sampled_at', extract(epoch FROM now())::float8,
  'snapshots', (
    SELECT coalesce(json_agg(o ORDER BY o.transactions DESC, o.age_s DESC NULLS LAST, o.holder), '[]') FROM oldest AS o
  ),
  'relays', (
    SELECT coalesce(json_agg(DISTINCT s.application), '[]')
    FROM sessions AS s
    WHERE s.is_here AND s.application LIKE 'relay/%%'
  )
)
FROM (VALUES ({table_name}::regclass)) AS t (id)

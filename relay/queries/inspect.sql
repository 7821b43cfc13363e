-- Tells what the relay's login finds: server, table, columns, indexes, rights. Reads catalogs only.
-- Rides on the catalogs' own indexes by name.
SELECT json_build_object(
  'version', current_setting('server_version_num')::integer,
  'encoding', getdatabaseencoding(),
  'recovering', pg_is_in_recovery(),
  'login', current_user,
  'sees_sessions', pg_has_role('pg_read_all_stats', 'USAGE'),
  'schema_exists', n.oid IS NOT NULL,
  'schema_usage', coalesce(has_schema_privilege(n.oid, 'USAGE'), FALSE),
  'kind', c.relkind,
  'row_security', coalesce(row_security_active(c.oid), FALSE),
  'columns', (
    SELECT coalesce(json_agg(json_build_object(
      'name', a.attname,
      'type', format_type(coalesce(nullif(t.typbasetype, 0), t.oid), NULL),
      'type_id', a.atttypid::bigint,
      'not_null', a.attnotnull,
      'may_select', has_column_privilege(c.oid, a.attnum, 'SELECT'),
      'may_update', has_column_privilege(c.oid, a.attnum, 'UPDATE')
    )), '[]')
    FROM pg_attribute AS a
    JOIN pg_type AS t ON t.oid = a.atttypid
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  ),
  'indexes', (
    SELECT coalesce(json_agg(json_build_object(
      'name', ic.relname,
      'valid', i.indisvalid AND i.indisready,
      'ordered', am.amname = 'btree',
      'keys', (
        SELECT json_agg(
          pg_get_indexdef(i.indexrelid, place::integer, TRUE)
          || CASE WHEN i.indcollation[place - 1] = 'pg_catalog."C"'::regcollation THEN ' COLLATE "C"' ELSE '' END
          ORDER BY place
        )
        FROM generate_series(1, i.indnkeyatts) AS place
      ),
      'descending', (i.indoption[0] & 1) = 1,
      'predicate', pg_get_expr(i.indpred, i.indrelid)
    )), '[]')
    FROM pg_index AS i
    JOIN pg_class AS ic ON ic.oid = i.indexrelid
    JOIN pg_am AS am ON am.oid = ic.relam
    WHERE i.indrelid = c.oid
  ),
  'sequence', (
    SELECT json_build_object('schema', sn.nspname, 'name', s.relname, 'cache', q.seqcache)
    FROM pg_depend AS d
    JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid AND a.attname = 'id'
    JOIN pg_class AS s ON s.oid = d.objid AND s.relkind = 'S'
    JOIN pg_namespace AS sn ON sn.oid = s.relnamespace
    JOIN pg_sequence AS q ON q.seqrelid = s.oid
    WHERE d.refobjid = c.oid AND d.refclassid = 'pg_class'::regclass AND d.classid = 'pg_class'::regclass
      AND d.deptype IN ('a', 'i')
    LIMIT 1
  ),
  'triggers', (
    SELECT coalesce(json_agg(g.tgname), '[]')
    FROM pg_trigger AS g
    WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgenabled <> 'D' AND (g.tgtype & 16) <> 0
  )
)
FROM (VALUES (%(schema)s::text, %(table)s::text)) AS wanted (schema_name, table_name)
LEFT JOIN pg_namespace AS n ON n.nspname = wanted.schema_name
LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.table_name

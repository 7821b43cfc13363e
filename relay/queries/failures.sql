-- Shows the rows that were given up last, of the thousand newest that were given up: when, after how many refusals, and
-- why. Reads nothing of the message.
-- Rides on the index message_failed.
SELECT f.id::bigint AS row_id, f.failures, f.failed_at, f.error
FROM (
  SELECT
    id,
    failures,
    extract(epoch FROM available_at)::float8 AS failed_at,
    -- As bytes, untouched where the database has no encoding: cut there, or written by a stranger, it may be no text.
    convert_to(left(last_error, 2000), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END) AS error
  FROM {table}
  WHERE status = 'failed'
  ORDER BY id DESC
  LIMIT 1000
) AS f
ORDER BY f.failed_at DESC, f.id DESC
LIMIT 10

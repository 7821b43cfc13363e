-- Shows the rows that were given up last, of the thousand newest that were given up: when, after how many refusals, and
-- why. Reads nothing of the message.
-- Rides on the index message_failed.
SELECT f.id::bigint AS row_id, f.failures, f.failed_at, f.error
FROM (
  SELECT
    id,
    failures,
    extract(epoch FROM available_at)::float8 AS failed_at,
    -- As bytes: cut, or written by somebody else, it may be no text in a database without an encoding.
    textsend(left(last_error, 2000)) AS error
  FROM {table}
  WHERE status = 'failed'
  ORDER BY id DESC
  LIMIT 1000
) AS f
ORDER BY f.failed_at DESC, f.id DESC
LIMIT 10

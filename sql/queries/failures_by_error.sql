-- Why messages were refused: the reason, which is the word before the colon, of those given up and those that retry.
SELECT
  status,
  split_part(last_error, ':', 1) AS reason,
  count(*) AS messages,
  min(id) AS first_id,
  max(id) AS last_id,
  left(min(last_error), 120) AS for_example
FROM (
  (SELECT id, status, last_error FROM "outbox"."message" WHERE status = 'failed' ORDER BY id LIMIT 10000)
  UNION ALL
  (
    SELECT id, status, last_error
    FROM "outbox"."message"
    WHERE status = 'pending' AND failures > 0
    ORDER BY id
    LIMIT 10000
  )
) AS refused
GROUP BY status, reason
ORDER BY messages DESC;

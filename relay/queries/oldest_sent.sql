-- Finds when the oldest of the sent rows was sent, from :since on: below that cleanups have left dead entries only.
-- Rides on the index message_sent.
SELECT extract(epoch FROM sent_at)::float8
FROM {table}
WHERE status = 'sent' AND sent_at >= to_timestamp(%(since)s::float8)
ORDER BY sent_at
LIMIT 1

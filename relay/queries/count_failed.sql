-- Counts the rows that a cleanup of failed ones, or with no age a requeue, would touch.
-- Rides on the index message_failed.
SELECT count(*)
FROM {table}
WHERE status = 'failed' AND (%(older_than)s::interval IS NULL OR available_at < now() - %(older_than)s::interval)

-- Finds the first row that waits from :high on, due or not, for a claim that took nothing below it.
-- Rides on the index message_pending.
SELECT id::bigint FROM {table} WHERE status = 'pending' AND id >= %(high)s::bigint ORDER BY id LIMIT 1

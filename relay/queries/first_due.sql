-- Locks the first due row from :low on, so that a claim from its id takes that row and no other.
-- Rides on the index message_pending.
SELECT id::bigint
FROM {table}
WHERE status = 'pending'
  AND id >= %(low)s::bigint
  AND available_at <= now()
  AND (claimed_until IS NULL OR claimed_until <= now())
ORDER BY id
LIMIT 1
FOR NO KEY UPDATE SKIP LOCKED

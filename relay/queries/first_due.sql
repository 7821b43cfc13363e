-- Locks the first due row from :low up to :high, so that a claim from its id takes that row and no other; with order per
-- key the first of the :ids.
-- Rides on the index message_pending, or on the primary key.
SELECT id::bigint
FROM {table}
WHERE status = 'pending'
  AND {those}
  AND available_at <= now()
  AND (claimed_until IS NULL OR claimed_until <= now())
ORDER BY id
LIMIT 1
FOR NO KEY UPDATE SKIP LOCKED

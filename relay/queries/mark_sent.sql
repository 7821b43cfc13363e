-- Marks confirmed rows sent, whoever holds their lease and even if given up since: the broker has them.
-- Rides on the primary key.
UPDATE {table}
SET status = 'sent', sent_at = now(), claimed_until = NULL
WHERE id = ANY (%(ids)s::bigint[]) AND status <> 'sent'

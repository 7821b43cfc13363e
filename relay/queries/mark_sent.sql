-- Marks confirmed rows of our lease sent; even after it ran out, as long as nobody took them.
-- Rides on the primary key.
UPDATE {table}
SET status = 'sent', sent_at = now(), claimed_until = NULL
WHERE id = ANY (%(ids)s::bigint[]) AND claim_token = %(token)s AND status <> 'sent'

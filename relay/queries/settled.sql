-- Finds rows that we settled already under this lease: a commit whose reply was lost.
-- Rides on the primary key.
SELECT id::bigint
FROM {table}
WHERE id = ANY (%(ids)s::bigint[]) AND claim_token = %(token)s AND claimed_until IS NULL AND status <> 'sent'

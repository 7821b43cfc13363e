-- Lengthens our lease of rows whose publish is not resolved yet.
-- Rides on the primary key.
UPDATE {table}
SET claimed_until = now() + make_interval(secs => %(lease_s)s)
WHERE id = ANY (%(ids)s::bigint[])
  AND status = 'pending'
  AND claim_token = %(token)s
  AND claimed_until IS NOT NULL
RETURNING id::bigint

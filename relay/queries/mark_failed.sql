-- Gives up rows of our lease; available_at then tells when.
-- Rides on the primary key.
UPDATE {table} AS m
SET
  status = 'failed',
  failures = m.failures + 1,
  available_at = now(),
  claimed_until = NULL,
  last_error = v.error
FROM unnest(%(ids)s::bigint[], %(notes)s::text[]) AS v (id, error)
WHERE m.id = v.id AND m.status = 'pending' AND m.claim_token = %(token)s AND m.claimed_until IS NOT NULL
RETURNING m.id::bigint

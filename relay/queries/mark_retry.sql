-- Counts a failure against rows of our lease and lets each wait.
-- Rides on the primary key.
UPDATE {table} AS m
SET
  failures = m.failures + 1,
  available_at = now() + make_interval(secs => v.delay_s),
  claimed_until = NULL,
  last_error = v.error
FROM unnest(%(ids)s::bigint[], %(delays_s)s::float8[], %(notes)s::text[]) AS v (id, delay_s, error)
WHERE m.id = v.id AND m.status = 'pending' AND m.claim_token = %(token)s AND m.claimed_until IS NOT NULL
RETURNING m.id::bigint

-- Gives rows of our lease back as if never claimed, but for a note when an earlier publish may have arrived.
-- Rides on the primary key.
UPDATE {table} AS m
SET
  claims = greatest(m.claims - 1, 0),
  claimed_until = NULL,
  last_error = coalesce(v.doubt, m.last_error)
FROM unnest(%(ids)s::bigint[], %(notes)s::text[]) AS v (id, doubt)
WHERE m.id = v.id AND m.status = 'pending' AND m.claim_token = %(token)s AND m.claimed_until IS NOT NULL
RETURNING m.id::bigint

-- Leases one row, which the same transaction holds locked, without reading any text of it.
-- Rides on the primary key.
UPDATE {table}
SET
  claimed_until = now() + make_interval(secs => %(lease_s)s),
  claim_token = %(token)s,
  claims = claims + 1
WHERE id = %(id)s::bigint
RETURNING id::bigint, message_id::text, claims, failures

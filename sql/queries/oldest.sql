-- The first messages in line: how long each has been due, and in whose hand it is. Shows no payload and no header.
SELECT
  id,
  now() - CASE WHEN failures = 0 THEN available_at ELSE created_at END AS due_since,
  claims,
  failures,
  greatest(available_at - now(), interval '0') AS waits_still,
  claimed_until > now() AS in_a_relays_hand,
  left(last_error, 120) AS last_error
FROM "outbox"."message"
WHERE status = 'pending'
ORDER BY id
LIMIT 20;

-- Gives back the rows of a claim whose commit nobody answered; none, when it was never committed.
-- Rides on the index message_pending, and looks at no more than :seen rows from where the claim began; with order per
-- key at the :ids it had chosen, by the primary key.
UPDATE {table}
SET claims = greatest(claims - 1, 0), claimed_until = NULL
WHERE id = ANY (ARRAY (
    SELECT id
    FROM (
      SELECT id, claim_token
      FROM {table}
      WHERE status = 'pending' AND {those}
      ORDER BY id
      LIMIT %(seen)s
    ) AS head
    WHERE claim_token = %(token)s
  ))
  AND status = 'pending'
  AND claim_token = %(token)s
  AND claimed_until IS NOT NULL

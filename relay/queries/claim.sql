-- Leases the next due rows, in order of id, as many as fit the limits of rows and bytes; at least one.
-- Rides on the index message_pending: candidate walks it from :low up to :high, and nothing else is ever scanned. With
-- order per key it looks at the :ids alone that turns.sql chose, and rides on the primary key.
-- What follows is one stream over the candidates, as each further MATERIALIZED would copy every row once more.
--
-- candidate  MATERIALIZED, or a plan may run it once a row and LIMIT would limit nothing. `weight` is what a row
--            costs to look at, without reading it out of TOAST: the size of a text or bytea; for jsonb and json a
--            guess, as a document may be ten times what is stored when that is compressed.
-- cheap      cuts by weight, so that the server never spells out 500 large documents to hand over one, and before a row
--            that may have killed its relays: it is claimed with nothing else, or a relay that dies before it could
--            give the others back would make killers of them all.
-- spelled    the bytes to send, once a row: without OFFSET 0 the planner would put the spelling wherever its size is
--            asked for, too. What weighs more than eight times the largest message is too large in any spelling, and
--            gets none.
-- fit        cuts by the true size. A row over :message_bytes costs nothing: its texts are not fetched.
WITH candidate AS MATERIALIZED (
  SELECT
    id,
    payload,
    headers,
    properties,
    claims - failures >= {suspect_claims} AS suspect,
    {weight} + pg_column_size(headers) + pg_column_size(properties) + coalesce(pg_column_size(key), 0) AS weight
  FROM {table}
  WHERE status = 'pending'
    AND {those}
    AND available_at <= now()
    AND (claimed_until IS NULL OR claimed_until <= now())
  ORDER BY id
  LIMIT %(rows)s
  FOR NO KEY UPDATE SKIP LOCKED
),
offer AS MATERIALIZED (SELECT count(*) AS candidates, bool_or(suspect) AS suspected FROM candidate),
cheap AS (
  SELECT *
  FROM (
    SELECT
      *,
      weight > 8 * %(message_bytes)s::bigint AS hopeless,
      sum(weight::float8) OVER up - weight AS before,
      row_number() OVER up AS place,
      count(*) FILTER (WHERE suspect) OVER up AS suspects
    FROM candidate
    WINDOW up AS (ORDER BY id ROWS UNBOUNDED PRECEDING)
  ) AS c
  WHERE before < %(bytes)s AND (suspects = 0 OR place = 1)
),
spelled AS (
  SELECT
    id,
    weight,
    CASE WHEN NOT hopeless THEN {body} END AS body,
    CASE WHEN NOT hopeless THEN headers::text END AS headers,
    CASE WHEN NOT hopeless THEN properties::text END AS properties
  FROM cheap
  OFFSET 0
),
fit AS (
  SELECT id, bytes, body, headers, properties
  FROM (
    SELECT
      id,
      body,
      headers,
      properties,
      -- Headers larger than any message are blamed as a payload would be.
      CASE WHEN rim > %(message_bytes)s THEN rim ELSE bytes END AS bytes,
      row_number() OVER up AS place,
      sum(CASE WHEN greatest(bytes, rim) <= %(message_bytes)s THEN (bytes + rim)::float8 ELSE 0 END) OVER up AS so_far
    FROM (
      SELECT
        *,
        coalesce(octet_length(body), weight) AS bytes,
        coalesce(octet_length(headers) + octet_length(properties), 0) AS rim
      FROM spelled
    ) AS sized
    WINDOW up AS (ORDER BY id ROWS UNBOUNDED PRECEDING)
  ) AS s
  WHERE so_far <= %(bytes)s OR place = 1
)
UPDATE {table} AS m
SET
  claimed_until = now() + make_interval(secs => %(lease_s)s),
  claim_token = %(token)s,
  claims = m.claims + 1
FROM fit
WHERE m.id = fit.id
RETURNING
  m.id::bigint,
  m.message_id::text,
  -- No name over 255 bytes can be sent; enough of a longer one to be refused with its row.
  left(m.exchange, 1000),
  left(m.routing_key, 1000),
  -- Not part of the message, and therefore without a limit of its own.
  left(m.key, 1000),
  CASE WHEN fit.bytes <= %(message_bytes)s THEN fit.body END,
  fit.bytes::bigint,
  left(m.content_type, 1000),
  CASE WHEN fit.bytes <= %(message_bytes)s THEN fit.headers ELSE '{{}}' END,
  CASE WHEN fit.bytes <= %(message_bytes)s THEN fit.properties ELSE '{{}}' END,
  m.claims,
  m.failures,
  -- As numbers, clamped: a producer may write infinity or the year 20000, and no row may spoil a claim.
  greatest(0, least(date_part('epoch', m.created_at), 253402300799)),
  m.last_error IS NOT NULL,
  greatest(0, least(
    date_part('epoch', now()) - date_part('epoch', CASE WHEN m.failures = 0 THEN m.available_at ELSE m.created_at END),
    1e9
  )),
  (SELECT candidates FROM offer),
  (SELECT suspected FROM offer),
  -- Somebody may change the type of the column while the relay runs.
  pg_typeof(m.payload)::oid = {payload_type_id},
  (SELECT id::bigint FROM {table} WHERE status = 'pending' AND id >= %(high)s::bigint ORDER BY id LIMIT 1)

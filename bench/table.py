"""The outbox table made as it is after a day, a year, or a bad night."""

import secrets
from typing import Any, LiteralString

import psycopg

FILL: LiteralString = """
INSERT INTO outbox.message (routing_key, payload)
SELECT
  'order.placed',
  jsonb_build_object(
    'order', n,
    'customer', md5(n::text),
    'placed_at', '2024-05-17T09:00:00+00:00',
    'total', jsonb_build_object('currency', 'EUR', 'cents', 1000 + n % 90000),
    'lines', jsonb_build_array(
      jsonb_build_object('sku', left(md5('a' || n), 12), 'name', 'hand plane', 'quantity', 1 + n % 3, 'cents', 4900),
      jsonb_build_object('sku', left(md5('b' || n), 12), 'name', 'tea pot, 1 l', 'quantity', 1, 'cents', 2350)
    ),
    'ship_to', jsonb_build_object('street', 'Rue de la Paix ' || n % 200, 'city', 'Genève', 'country', 'CH'),
    'note', repeat('please ring ', 4) || n % 1000
  )
FROM generate_series(1, $1) AS n
"""
# Each statement takes the number of rows. The body of a sent row is never read again, so one serves for all.
HISTORY: LiteralString = """
INSERT INTO outbox.message (routing_key, payload, status, sent_at, claims, created_at, available_at)
SELECT 'order.placed', jsonb_build_object('note', repeat('please ring ', 36)), 'sent', at, 1, at, at
FROM generate_series(1, $1) AS n, LATERAL (SELECT now() - ($1 - n) * interval '1 s' AS at) AS t
"""
RETRYING: LiteralString = """
INSERT INTO outbox.message (routing_key, payload, failures, claims, last_error, available_at)
SELECT 'nobody', '{}', 1, 1, 'unroutable: no queue is bound', now() + interval '1 h' FROM generate_series(1, $1) AS n
"""
SEND: LiteralString = """
WITH head AS (
  SELECT id FROM outbox.message WHERE status = 'pending' AND id > $1 ORDER BY id LIMIT $2
), taken AS (
  UPDATE outbox.message AS m
  SET status = 'sent', sent_at = now(), claims = 1
  FROM head
  WHERE m.id = head.id
  RETURNING m.id
)
SELECT coalesce(max(id), 0) FROM taken
"""
BODIES: LiteralString = """
INSERT INTO outbox.message (routing_key, payload) SELECT 'order.placed', to_jsonb($2::text) FROM generate_series(1, $1)
"""
COUNT: LiteralString = """
SELECT count(*) FILTER (WHERE status = 'sent'), count(*) FILTER (WHERE status <> 'sent') FROM outbox.message
"""
SEND_BATCH = 50_000


def add(connection: psycopg.Connection[Any], statement: LiteralString, rows: int) -> None:
    """Add rows by one of the statements above."""
    with psycopg.RawCursor(connection) as cursor:
        cursor.execute(statement, [rows])


def fill(connection: psycopg.Connection[Any], rows: int) -> None:
    """Replace the table's rows by fresh ones, at rest."""
    connection.execute("TRUNCATE outbox.message RESTART IDENTITY")
    add(connection, FILL, rows)
    rest(connection)


def fill_with(connection: psycopg.Connection[Any], rows: int, body_bytes: int) -> None:
    """Replace the table's rows by ones with a body of that size, which does not compress."""
    connection.execute("TRUNCATE outbox.message RESTART IDENTITY")
    body = secrets.token_hex(body_bytes // 2)[: body_bytes - 2]  # and its quotes
    with psycopg.RawCursor(connection) as cursor:
        cursor.execute(BODIES, [rows, body])
    rest(connection)


def fill_with_keys(connection: psycopg.Connection[Any], rows: int, key: LiteralString, keys: int) -> None:
    """Replace the table's rows by ones with a key, in SQL of their number `n` and the number of keys `$2`."""
    connection.execute("TRUNCATE outbox.message RESTART IDENTITY")
    head, _, tail = FILL.partition("SELECT\n")
    with psycopg.RawCursor(connection) as cursor:
        cursor.execute(
            f"{head.replace('routing_key', 'key, routing_key')}SELECT\n  {key},\n{tail}".encode(), [rows, keys]
        )
    rest(connection)


def rest(connection: psycopg.Connection[Any]) -> None:
    """Bring the table to rest: vacuumed, and on disk."""
    connection.execute("VACUUM (FREEZE, ANALYZE) outbox.message")
    connection.execute("CHECKPOINT")


def send(connection: psycopg.Connection[Any], rows: int, *, after: int = 0) -> int:
    """Mark the next rows sent, as relays would have done; return the id of the last."""
    done = 0
    while done < rows:
        with psycopg.RawCursor(connection) as cursor:
            cursor.execute(SEND, [after, min(SEND_BATCH, rows - done)])
            ((after,),) = cursor.fetchall()
        done += SEND_BATCH
    return after


def counts(connection: psycopg.Connection[Any]) -> tuple[int, int]:
    """Return how many rows are sent, and how many are not."""
    ((sent, others),) = connection.execute(COUNT).fetchall()
    return int(sent), int(others)


def body_bytes(connection: psycopg.Connection[Any]) -> float:
    """Return the mean size of a payload."""
    ((mean,),) = connection.execute("SELECT avg(octet_length(payload::text))::float8 FROM outbox.message").fetchall()
    return float(mean)

"""How marks are written: `sent` by whoever knows it, all others by the holder of the lease alone."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from relay.decide import ERROR_CHARS_MAX, clean
from relay.model import Failed, Release, Retry, Sent
from relay.store.connect import Connection
from relay.store.queries import SQL_ASCII, UTF8, Queries


def under_lease(token: UUID, marks: Sequence[Sent]) -> dict[str, object]:
    """Return what `mark_sent` asks for. Nearly always it marks all: one token is cheaper than each message id."""
    return {"ids": _array(mark.row_id for mark in marks), "token": token}


def under_message_id(marks: Sequence[Sent]) -> dict[str, object]:
    """Return what `mark_sent_late` asks for: it marks whoever holds the lease, but no row that holds another message.

    Given in order of id and run in a transaction of its own, so that no two relays wait in a circle.
    """
    return {
        "ids": _array(mark.row_id for mark in marks),
        "message_ids": _array(mark.message_id for mark in marks),
    }


def _array(values: Iterable[int | str]) -> str:
    """Spell an array as Postgres reads it; psycopg would look at each value's type."""
    return f"{{{','.join(map(str, values))}}}"


async def write_fenced(
    conn: Connection, queries: Queries, token: UUID, marks: Sequence[Retry | Failed | Release], *, encoding: str
) -> frozenset[int]:
    """Write the marks that only the holder of the lease may; in order of id, so that no two relays wait in a circle."""
    marks = sorted(marks, key=lambda mark: mark.row_id)
    lost = {mark.row_id for mark in marks}
    for kind, query in ((Retry, queries.mark_retry), (Failed, queries.mark_failed), (Release, queries.release)):
        chosen = [mark for mark in marks if isinstance(mark, kind)]
        if chosen:
            lost -= await ids_of(
                conn,
                query,
                {
                    "token": token,
                    "ids": [mark.row_id for mark in chosen],
                    "notes": [_note(mark, encoding) for mark in chosen],
                    "delays_s": [float(mark.delay_s) if isinstance(mark, Retry) else 0.0 for mark in chosen],
                },
            )
    if lost:  # or settled before, by a commit whose reply never came
        lost -= await ids_of(conn, queries.settled, {"ids": sorted(lost), "token": token})
    return frozenset(lost)


def _note(mark: Retry | Failed | Release, encoding: str) -> str | None:
    """Return the error text, made storable once more: a mark that cannot be written would be tried for ever.

    What a database with an encoding of its own can hold is not known here, but ASCII it can.
    """
    text = mark.doubt if isinstance(mark, Release) else mark.error
    if text is None:
        return None
    kept = clean(text)
    if encoding not in {UTF8, SQL_ASCII}:
        kept = kept.encode("ascii", "backslashreplace").decode("ascii")[:ERROR_CHARS_MAX]
    return kept


async def ids_of(conn: Connection, query: bytes, params: dict[str, object]) -> frozenset[int]:
    """Run a statement that returns ids."""
    cursor = await conn.execute(query, params, binary=True)
    return frozenset(row[0] for row in await cursor.fetchall())

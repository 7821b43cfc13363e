"""How marks are written: `sent` by whoever knows it, all others by the holder of the lease alone."""

from collections.abc import Sequence
from uuid import UUID

from relay.decide import clean
from relay.model import Failed, Release, Retry, Sent
from relay.store.connect import Connection
from relay.store.queries import Queries


async def write_sent(conn: Connection, queries: Queries, token: UUID, marks: Sequence[Sent]) -> bool:
    """Write the marks of confirmed rows that are still under the lease; return whether that were all of them.

    Nearly always they are, and one token is cheaper to compare than each row's message id.
    """
    cursor = await conn.execute(queries.mark_sent, {"ids": [mark.row_id for mark in marks], "token": token})
    return cursor.rowcount == len(marks)


async def write_sent_late(conn: Connection, queries: Queries, marks: Sequence[Sent]) -> None:
    """Write them whoever holds the lease; a row that has the id but holds another message is left alone.

    Given in order of id and in a transaction of its own, so that no two relays wait in a circle.
    """
    params = {"ids": [mark.row_id for mark in marks], "message_ids": [mark.message_id for mark in marks]}
    await conn.execute(queries.mark_sent_late, params)


async def write_fenced(
    conn: Connection, queries: Queries, token: UUID, marks: Sequence[Retry | Failed | Release]
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
                    "notes": [_note(mark) for mark in chosen],
                    "delays_s": [float(mark.delay_s) if isinstance(mark, Retry) else 0.0 for mark in chosen],
                },
            )
    if lost:  # or settled before, by a commit whose reply never came
        lost -= await ids_of(conn, queries.settled, {"ids": sorted(lost), "token": token})
    return frozenset(lost)


def _note(mark: Retry | Failed | Release) -> str | None:
    """Return the error text, made storable once more: a mark that cannot be written would be tried for ever."""
    text = mark.doubt if isinstance(mark, Release) else mark.error
    return None if text is None else clean(text)


async def ids_of(conn: Connection, query: bytes, params: dict[str, object]) -> frozenset[int]:
    """Run a statement that returns ids."""
    cursor = await conn.execute(query, params, binary=True)
    return frozenset(row[0] for row in await cursor.fetchall())

"""A record of claim.sql → a row, and what else a claim tells."""

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg.adapt import Loader
from psycopg.pq import Format

from relay.model import Row
from relay.store.connect import Connection

ID_MAX = 2**63 - 1
_OFFERED, _SUSPECTED, _AS_COMPOSED, _BEYOND = 15, 16, 17, 18


def row_of(record: Sequence[Any]) -> Row:
    """Make the row; the columns come in the order of its fields."""
    return Row._make(record[:_OFFERED])


def alone(row: Row) -> tuple[Any, ...]:
    """Make the record of a claim that took this row and saw no other."""
    return (*row, 1, False, True, None)


def offered(record: Sequence[Any]) -> int:
    """Return how many rows were due within the row limit, before the byte limit cut."""
    return int(record[_OFFERED])


def suspected(record: Sequence[Any]) -> bool:
    """Return whether a suspected killer was due within the row limit; it cuts a claim too."""
    return bool(record[_SUSPECTED])


def as_composed(records: Sequence[Sequence[Any]]) -> bool:
    """Return whether the payload still has the type for which the claim was composed."""
    return all(record[_AS_COMPOSED] for record in records)


async def beyond_of(conn: Connection, query: bytes, params: Mapping[str, Any]) -> int | None:
    """Ask for the first row that waits behind the window of a claim that took nothing, and has no record to tell."""
    found = await (await conn.execute(query, params, binary=True)).fetchone()
    return None if found is None else int(found[0])


def first_beyond(record: Sequence[Any]) -> int | None:
    """Return the first row that waits behind the window of the claim."""
    row_id: int | None = record[_BEYOND]
    return row_id


class LooseText(Loader):
    """Reads text of a database without an encoding: what is no UTF-8 spoils its own row, not the whole claim."""

    format = Format.BINARY

    def load(self, data: bytes | bytearray | memoryview) -> str:
        """Keep foreign bytes as lone surrogates, which no message can carry."""
        return bytes(data).decode("utf-8", "surrogateescape")

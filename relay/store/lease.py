"""What a claim does inside its transaction: choose rows, lease them, read what they hold."""

from typing import Any
from uuid import UUID

from psycopg.types.numeric import Int8

from relay.model import Fault, Release
from relay.ports import StoreUnavailable
from relay.store.config import StoreConfig
from relay.store.connect import Connection
from relay.store.marks import write_fenced
from relay.store.queries import SQL_ASCII, Queries
from relay.store.rows import ID_MAX, LooseText, as_composed, beyond_of, first_beyond
from relay.store.turns import Turns
from relay.store.unreadable import take, take_alone

Record = tuple[Any, ...]


def terms(config: StoreConfig, *, token: UUID, rows: int, low: int) -> dict[str, Any]:
    """Return the parameters of a claim. With order per key it looks at the rows of `ids` and knows no window.

    Numbers are of one type whatever their size, or each type would be a statement of its own to plan.
    """
    return {
        "low": Int8(low),
        "high": Int8(ID_MAX if config.ordered else min(low + config.scan_ids, ID_MAX)),
        "ids": [],
        "rows": Int8(rows),
        "bytes": Int8(config.batch_bytes),
        "message_bytes": Int8(config.message_bytes_max),
        "lease_s": float(config.lease_s),
        "token": token,
    }


async def lease(
    conn: Connection,
    queries: Queries,
    claim: bytes,
    params: dict[str, Any],
    *,
    encoding: str,
    turns: Turns | None,
    alone: bool,
) -> tuple[list[Record], int | None]:
    """Lease rows in the open transaction; with `turns` those whose turn it is, of which it notes the ids in `params`.

    With them comes the first row that waits behind the window. Raises Unreadable: one row is perhaps to blame, so take
    one alone; StoreUnavailable: the table was changed.
    """
    cursor = conn.cursor(binary=True)
    if encoding == SQL_ASCII:  # its texts may hold any bytes
        await conn.execute("SET LOCAL client_encoding = 'SQL_ASCII'")
        cursor.adapters.register_loader("text", LooseText)
    if turns is not None:
        params["ids"] = list(await turns.choose(cursor, params))
        if not params["ids"]:
            return [], None
    if alone:
        records = await take_alone(cursor, queries, claim, params)
    else:
        records = await take(cursor, claim, params)
    if not as_composed(records):  # it would be spelled otherwise, so nothing is taken
        raise StoreUnavailable(Fault.SCHEMA, "the type of the payload column was changed")
    orphans = frozenset() if turns is None else turns.orphans([record[0] for record in records])
    if orphans:
        await write_fenced(conn, queries, params["token"], [Release(row_id) for row_id in orphans], encoding=encoding)
    beyond = first_beyond(records[0]) if records else await beyond_of(conn, queries.beyond, params)
    return [record for record in records if record[0] not in orphans], beyond

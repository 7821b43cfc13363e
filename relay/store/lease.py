"""What a claim does inside its transaction: choose rows, lease them, read what they hold."""

from typing import Any

from relay.model import Fault, Release
from relay.ports import StoreUnavailable
from relay.store.connect import Connection
from relay.store.marks import write_fenced
from relay.store.queries import SQL_ASCII, Queries
from relay.store.rows import LooseText, as_composed
from relay.store.turns import Turns
from relay.store.unreadable import take, take_alone

Record = tuple[Any, ...]


async def lease(
    conn: Connection,
    queries: Queries,
    claim: bytes,
    params: dict[str, Any],
    *,
    encoding: str,
    turns: Turns | None,
    alone: bool,
) -> list[Record]:
    """Lease rows in the open transaction; with `turns` those whose turn it is, of which it notes the ids in `params`.

    Raises Unreadable: one row is perhaps to blame, so take one alone; StoreUnavailable: the table was changed.
    """
    cursor = conn.cursor(binary=True)
    if encoding == SQL_ASCII:  # its texts may hold any bytes
        await conn.execute("SET LOCAL client_encoding = 'SQL_ASCII'")
        cursor.adapters.register_loader("text", LooseText)
    if turns is not None:
        params["ids"] = list(await turns.choose(cursor, params))
        if not params["ids"]:
            return []
    if alone:
        records = await take_alone(cursor, queries, claim, params)
    else:
        records = await take(cursor, claim, params)
    if not as_composed(records):  # it would be spelled otherwise, so nothing is taken
        raise StoreUnavailable(Fault.SCHEMA, "the type of the payload column was changed")
    orphans = frozenset() if turns is None else turns.orphans([record[0] for record in records])
    if orphans:
        await write_fenced(conn, queries, params["token"], [Release(row_id) for row_id in orphans], encoding=encoding)
    return [record for record in records if record[0] not in orphans] if orphans else records

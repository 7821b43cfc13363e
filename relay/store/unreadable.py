"""The one row that the database cannot hand over: it is found, and taken without its texts, to be blamed alone.

A claim spells out its rows and fails as a whole when one has no spelling: a jsonb of a few kB may be over 1 GB as text,
and a database whose encoding is not UTF-8 may hold bytes that are no character.
"""

from collections.abc import Mapping
from typing import Any

import psycopg

from relay.model import Refusal, Refused, Row
from relay.store.config import STATEMENT_TIMEOUT_S
from relay.store.queries import Queries
from relay.store.rows import alone

Cursor = psycopg.AsyncCursor[Any]
Record = tuple[Any, ...]

_NO_SPELLING = {"22", "54"}
"""Classes of SQLSTATE: data that cannot be converted, limits of the server that a value exceeds."""
_TIMEOUT, _DAMAGED = "57014", "XX001"


class Unreadable(Exception):
    """A claim took nothing, perhaps because of what one of its rows holds: take one alone."""


def blame(error: psycopg.Error) -> Refused | None:
    """Return what to say of a row that was read alone when this happened; None when it is not to blame.

    The server's sentence is left out: it may quote what the row holds.
    """
    state = error.sqlstate or ""
    if state[:2] in _NO_SPELLING:
        return Refused(Refusal.INVALID, f"the database cannot spell it: {_named(error)}")
    if state == _TIMEOUT:
        return Refused(Refusal.UNREADABLE, f"the database cannot spell it in {STATEMENT_TIMEOUT_S:g} s")
    if state == _DAMAGED:
        return Refused(Refusal.UNREADABLE, f"the database cannot read it: {_named(error)}")
    return None


def _named(error: psycopg.Error) -> str:
    return f"{error.sqlstate} {type(error).__name__}"


async def take(cursor: Cursor, claim: bytes, params: Mapping[str, object]) -> list[Record]:
    """Claim rows. Raises Unreadable when it may be for what one of them holds that it failed."""
    try:
        return await (await cursor.execute(claim, params, prepare=True)).fetchall()
    except psycopg.Error as error:
        # Of several rows it is rather the server that was slow.
        if blame(error) is None or (error.sqlstate == _TIMEOUT and params["rows"] != 1):
            raise
        raise Unreadable from None


async def take_alone(cursor: Cursor, queries: Queries, claim: bytes, params: Mapping[str, object]) -> list[Record]:
    """Claim the first due row; one that cannot be read comes with the reason in place of its payload.

    Locked first, it is certainly the row that is read and the row that is blamed, whatever other relays do.
    """
    due = await (await cursor.execute(queries.first_due, params)).fetchone()
    if due is None:
        return []
    (row_id,) = due
    try:
        async with cursor.connection.transaction():
            only = {**params, "low": row_id, "ids": [row_id], "rows": 1}
            return await (await cursor.execute(claim, only)).fetchall()
    except psycopg.Error as error:
        refused = blame(error)
        if refused is None:
            raise
    # What fails here is not what the row holds.
    (taken,) = await (await cursor.execute(queries.claim_unread, {**params, "id": row_id})).fetchall()
    return [alone(_unread(taken, refused))]


def _unread(taken: Record, refused: Refused) -> Row:
    row_id, message_id, claims, failures = taken
    return Row(
        row_id,
        message_id,
        exchange=None,
        routing_key="",
        key=None,
        payload=refused,
        payload_bytes=0,
        content_type="",
        headers="{}",
        properties="{}",
        claims=claims,
        failures=failures,
        created_at=0.0,
        doubtful=False,
        waited_s=0.0,
    )

"""Rows, claims and envelopes in one word, with only what a test cares about spelled out."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from relay.model import Claim, Envelope, Row

CREATED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()

_ROW = Row(
    id=1,
    message_id=str(UUID(int=1)),
    exchange=None,
    routing_key="order.created",
    key=None,
    payload=b'{"n": 1}',
    payload_bytes=8,
    content_type="application/json",
    headers="{}",
    properties="{}",
    claims=1,
    failures=0,
    created_at=CREATED_AT,
    doubtful=False,
    waited_s=0.25,
)


def a_row(**columns: Any) -> Row:
    """A row claimed for the first time, but for the given columns."""
    return _ROW._replace(**columns)


def a_claim(*rows: Row, taken_at: float = 0.0, more: bool = False) -> Claim:
    """A claim of those rows."""
    return Claim(UUID(int=7), rows, taken_at, more=more)


def an_envelope(row_id: int = 1) -> Envelope:
    """An envelope of that row."""
    return Envelope(
        row_id=row_id,
        message_id=str(UUID(int=row_id)),
        exchange="events",
        routing_key="order.created",
        body=b"{}",
        content_type="application/json",
        created_at=CREATED_AT,
    )

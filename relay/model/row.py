"""What is taken from the table, and what is made of it for the wire.

What is made once a row is a named tuple: a frozen dataclass of as many fields takes five times as long to make.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, Never
from uuid import UUID

from relay.model.outcome import Refused


class Row(NamedTuple):
    """One outbox row as a claim returned it; its counters already include this claim."""

    id: int
    message_id: str
    exchange: str | None
    routing_key: str
    key: str | None
    payload: bytes | Refused | None
    """None when the payload is larger than allowed and was therefore not fetched; why the row is refused, when the
    database could not hand it over. Then there is no text of it either.
    """
    payload_bytes: int
    content_type: str
    headers: str
    """JSON text as stored: parsed by the envelope, where a bad one blames only its row."""
    properties: str
    claims: int
    failures: int
    created_at: float
    """Unix time by the database's clock."""
    doubtful: bool
    """An earlier publish may have arrived although no confirm was seen."""
    waited_s: float
    """Seconds since the row became due, by the database's clock, when it was claimed."""

    @property
    def unanswered(self) -> int:
        """Earlier claims that ended neither in a mark nor in a release: their relay died."""
        return self.claims - self.failures - 1


@dataclass(frozen=True, slots=True)
class Claim:
    """Rows leased to this relay, in id order, until the lease runs out."""

    token: UUID
    rows: tuple[Row, ...]
    taken_at: float
    """Local monotonic clock, read before the claim was sent: the lease cannot end before `taken_at + lease`."""
    more: bool
    """The claim was cut by its row or byte limit, so more rows are due."""
    beyond: int | None = None
    """The first row, due or not, that waits behind the window which the claim looked at; None: there is none."""


HeaderValue = None | bool | int | str | list["HeaderValue"] | dict[str, "HeaderValue"]


_NOTHING: Mapping[str, Never] = MappingProxyType({})


class Envelope(NamedTuple):
    """A message ready for the wire."""

    row_id: int
    message_id: str
    exchange: str
    routing_key: str
    body: bytes
    content_type: str
    created_at: float
    """Unix time."""
    headers: Mapping[str, HeaderValue] = _NOTHING
    properties: Mapping[str, str | int] = _NOTHING

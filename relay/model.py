"""The words of the relay, as frozen data; every other module speaks them.

A *row* is claimed under a *claim* (a lease with a token), sealed into an *envelope*, published; the broker's
answer is an *outcome*, which a decision turns into a *mark*, which the store settles.

What is made once a row is a named tuple: a frozen dataclass of as many fields takes five times as long to make.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, Never
from uuid import UUID


class Row(NamedTuple):
    """One outbox row as a claim returned it; its counters already include this claim."""

    id: int
    message_id: str
    exchange: str | None
    routing_key: str
    key: str | None
    payload: "bytes | Refused | None"
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


class Refusal(StrEnum):
    """Why a row itself is to blame; a closed set, used as a metric label."""

    UNROUTABLE = "unroutable"
    REJECTED = "rejected"
    INVALID = "invalid"
    TOO_LARGE = "too_large"
    NO_EXCHANGE = "no_exchange"
    FORBIDDEN = "forbidden"
    BLAMED = "blamed"
    CRASH_LOOP = "crash_loop"
    UNREADABLE = "unreadable"


class Fault(StrEnum):
    """Why a server cannot be used now; a closed set, used as a metric label. No row is to blame."""

    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    AUTH = "auth"
    TLS = "tls"
    BLOCKED = "blocked"
    LOST = "lost"
    TIMEOUT = "timeout"
    LIMIT = "limit"
    READ_ONLY = "read_only"
    SCHEMA = "schema"
    PERMISSION = "permission"
    OTHER = "other"


class Doubt(StrEnum):
    """Why publishing a row may repeat a message that had arrived; a closed set, used as a metric label."""

    CONNECTION_LOST = "connection_lost"
    CONFIRM_TIMEOUT = "confirm_timeout"
    BLOCKED = "blocked"
    CHANNEL_CLOSED = "channel_closed"
    LEASE_LOST = "lease_lost"
    RELAY_DIED = "relay_died"


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The broker took responsibility for this very publish, and did not return it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer that blames this row and no other."""

    reason: Refusal
    detail: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The broker closed the channel (or the connection, with a verdict) while others were in flight too.

    Any of them may be to blame, and each may have arrived: the row goes through quarantine.
    """

    detail: str


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The broker could not be asked, or the connection ended without a verdict on any message."""

    fault: Fault
    detail: str
    written: bool
    """The message was handed to the socket, so it may have arrived: publishing it again may duplicate it."""


Outcome = Confirmed | Refused | Unknown | Unreachable


class Answer(NamedTuple):
    """What became of one published row."""

    row_id: int
    outcome: Outcome


class Sent(NamedTuple):
    """Mark the row sent: it is the truth, whoever holds the lease."""

    row_id: int
    message_id: str
    """Which message the row held: a failover to a standby that was behind gives its id to another one."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Count a failure against the row and let it wait."""

    row_id: int
    reason: Refusal
    delay_s: float
    error: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Give the row up; only an operator's requeue brings it back."""

    row_id: int
    reason: Refusal
    error: str


@dataclass(frozen=True, slots=True)
class Release:
    """Give the claim back: the row is not to blame, and costs no attempt."""

    row_id: int
    doubt: str | None = None
    """Why an earlier publish of the row may have arrived; None when it never left the relay."""


Mark = Sent | Retry | Failed | Release


@dataclass(frozen=True, slots=True)
class Backlog:
    """A sample of the whole table's backlog; counts stop at the cap."""

    pending: int
    retrying: int
    failed: int
    capped: bool
    oldest_age_s: float
    sampled_at: float
    """Unix time by the database's clock."""
    deleted: int = 0
    """Rows ever deleted from the table, as Postgres counts them; it may start anew after a crash of Postgres."""
    blocked_keys: int = 0
    """With order per key: keys whose next rows wait for a refused one; the count stops at the cap."""


class BellState(StrEnum):
    """How the doorbell stands, as one relay sees it."""

    ABSENT = "absent"
    """There is no trigger, or it is disabled."""
    READY = "ready"
    """To be had, unless another relay holds it."""
    POOLED = "pooled"
    """A pooler stands before the database: a session is not the relay's own."""
    LOST = "lost"
    """No session for it could be opened, or it ended."""


@dataclass(frozen=True, slots=True)
class Doorbell:
    """What the database says of the doorbell."""

    table_id: int
    installed: bool
    enabled: bool
    """Its trigger fires."""
    holder: str | None
    """application_name of the relay that holds it."""


@dataclass(frozen=True, slots=True)
class TickReport:
    """What one tick did to the rows it claimed; `claimed` is the sum of all outcomes."""

    claimed: int
    outcomes: Mapping[str, int] = field(default_factory=dict)
    """Rows by outcome: `confirmed`, a refusal's reason, or `unreachable`, which counts all that went back."""
    retried: int = 0
    failed: Mapping[Refusal, int] = field(default_factory=dict)
    released: int = 0
    doubts: Mapping[Doubt, int] = field(default_factory=dict)
    """Rows that a later publish may duplicate, by reason."""
    delays_s: tuple[float, ...] = ()
    """For each confirmed row, the seconds from when it became due to its confirm."""
    claim_s: float = 0.0
    publish_s: float = 0.0
    """Spent waiting for the broker's answers; 0 when nothing was published."""
    carry_s: float = 0.0
    """From the claim in hand to the last mark written."""
    examples: Mapping[Refusal, str] = field(default_factory=dict)
    """For each reason the first row that was refused for it, and in what words."""

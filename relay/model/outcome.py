"""What became of a publish, and why a row or a server is to blame."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


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

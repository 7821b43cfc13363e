"""What the table is to say of a row."""

from dataclasses import dataclass
from typing import NamedTuple

from relay.model.outcome import Refusal


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

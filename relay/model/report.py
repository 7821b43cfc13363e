"""What is told of the table as a whole, and of one tick."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from relay.model.outcome import Doubt, Refusal


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
    inserted: int = 0
    """Rows ever inserted into the table, as Postgres counts them; it may start anew after a crash of Postgres."""
    deleted: int = 0
    """Rows ever deleted from it, likewise."""
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

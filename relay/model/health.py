"""What is told of the table's health: its size, what keeps vacuum from it, who works at it, what failed."""

from dataclasses import dataclass
from enum import StrEnum


class Holder(StrEnum):
    """What holds a snapshot; a closed set, used as a metric label."""

    TRANSACTION = "transaction"
    """A session of this database, or one that has written in another."""
    STANDBY = "standby"
    """A standby that asks, without a replication slot, not to be overtaken by vacuum (hot_standby_feedback)."""
    PREPARED_TRANSACTION = "prepared_transaction"
    REPLICATION_SLOT = "replication_slot"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The oldest of its kind: vacuum removes no row that died after it was taken."""

    holder: Holder
    transactions: int
    """How many have begun to write since, in all databases of the server."""
    age_s: float | None = None
    """For how long its transaction has been open; None when the database does not tell."""
    pid: int | None = None
    application: str | None = None
    name: str | None = None
    """Of a replication slot, or of a prepared transaction."""


@dataclass(frozen=True, slots=True)
class Replica:
    """A relay that is connected to the database."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class FailedRow:
    """A row that was given up, without anything of its message."""

    row_id: int
    reason: str
    """A Refusal, or in its place the word of whoever wrote the error; `unknown` without one."""
    error: str
    failures: int
    failed_at: float
    """Unix time by the database's clock."""


@dataclass(frozen=True, slots=True)
class Health:
    """A sample of how the table fares, as Postgres and its statistics know it."""

    live_tuples: int
    dead_tuples: int
    table_bytes: int
    """The rows with what is stored beside them (TOAST), free space included."""
    index_bytes: int
    complete: bool
    """This login sees the activity of every other one; without that the age of their transactions is unknown."""
    sampled_at: float
    """Unix time by the database's clock, as all times here."""
    last_autovacuum_at: float | None = None
    oldest_sent_at: float | None = None
    """When the oldest of the sent rows was sent; None: there is none, or it took too long to find."""
    snapshots: tuple[Snapshot, ...] = ()
    """The oldest first, at most one of a kind."""
    replicas: tuple[Replica, ...] = ()
    failures: tuple[FailedRow, ...] = ()
    """The newest first."""

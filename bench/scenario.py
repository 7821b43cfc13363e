"""What a scenario is, what it may ask for, and what it finds. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bench.bars import Bar
from bench.figures import Spread

if TYPE_CHECKING:
    from bench.stage import Stage

Say = Callable[[str], None]
"""Tells a person, at once."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything; the defaults are what the bars are meant for."""

    runs: int = 3
    """Of each figure; the medians of them count."""
    rows: int = 100_000
    """Of a backlog that is drained."""
    flat_rows: int = 60_000
    """Of the part of a big table that is drained."""
    history: int = 5_000_000
    """Sent rows that were never cleaned up."""
    backlog: int = 1_000_000
    """Pending rows."""
    dead: int = 1_000_000
    """Rows sent under an old snapshot."""
    retrying: int = 10_000
    """Refused rows that wait, at the head of the index."""
    body_mib: int = 100
    """Bodies drained at each size."""
    steady_s: float = 15.0
    """How long rows come steadily, or an idle relay is watched."""
    gathered: int = 200_000
    """Rows that gather in an outage."""
    keys: int = 10_000
    """Ordering keys."""
    keyed_rows: int = 20_000
    """Rows with such keys that are drained."""

    def with_runs(self, runs: int) -> "Sizes":
        """Return the same with another number of runs."""
        return replace(self, runs=runs)


QUICK = Sizes(
    runs=1,
    rows=4_000,
    flat_rows=4_000,
    history=20_000,
    backlog=10_000,
    dead=10_000,
    retrying=500,
    body_mib=4,
    steady_s=3.0,
    gathered=5_000,
    keys=100,
    keyed_rows=1_000,
)
"""Small enough to see in a minute or two that everything works; its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Yard:
    """The yardsticks of a run, measured before everything else: rows or messages a second."""

    naive: Spread
    """The baseline."""
    broker: Spread
    """The broker alone, fed encoded frames."""
    postgres: Spread
    """Postgres alone, claims and marks."""

    def ratios(self, rate: float) -> tuple[str, str]:
        """Return a rate as times the naive loop, and as a share of what the slower server could do alone."""
        return f"{rate / self.naive.median:.2f}", f"{rate / min(self.broker.median, self.postgres.median):.0%}"


@dataclass(frozen=True, slots=True)
class Table:
    """Figures for a person."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What a scenario found."""

    tables: tuple[Table, ...]
    bars: tuple[Bar, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    """Every run, and what plots are drawn from."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One question to the relay, and how it is answered."""

    name: str
    asks: str
    """The question, in a sentence."""
    measure: "Callable[[Stage, Sizes, Yard, Say], Found]"

"""What was measured, and what it must reach. Pure."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

Who = Literal["relay", "naive"]

RATIO_MIN = 3.0
"""The relay must move at least that many times the messages of the naive loop in the same time."""
CPU_US_MAX = 40.0
"""Of processor time of the relay's process for each message, in microseconds."""


@dataclass(frozen=True, slots=True)
class Run:
    """One drain of the whole table by one process."""

    who: Who
    rows: int
    seconds: float
    """From the process being ready to work, not yet connected, to its last mark."""
    cpu_s: float
    """User and system time of the process, all threads, within `seconds`."""
    startup_s: float
    """From its start to being ready to work: the interpreter and the imports."""
    startup_cpu_s: float
    statements: int
    """Statements the database server counted, from the process's start to its end."""
    transactions: int
    memory_mib: float
    """The most memory the process had resident."""
    postgres_cpu_s: float
    rabbitmq_cpu_s: float
    """Processor time of the servers, from the process being ready to its end; 0 when it cannot be seen."""
    elsewhere: float
    """Share of all processors that neither the process nor the servers used, but something else did meanwhile."""

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.rows / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of processor time for each message."""
        return self.cpu_s / self.rows * 1e6

    @property
    def postgres_us(self) -> float:
        """Microseconds of processor time of Postgres for each message."""
        return self.postgres_cpu_s / self.rows * 1e6

    @property
    def rabbitmq_us(self) -> float:
        """Microseconds of processor time of RabbitMQ for each message."""
        return self.rabbitmq_cpu_s / self.rows * 1e6

    @property
    def statements_per_1000(self) -> float:
        """Statements for a thousand rows."""
        return self.statements / self.rows * 1000

    @property
    def transactions_per_1000(self) -> float:
        """Transactions for a thousand rows."""
        return self.transactions / self.rows * 1000

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON."""
        return asdict(self) | {"rate": self.rate, "cpu_us": self.cpu_us}


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over several runs."""

    median: float
    least: float
    most: float

    @staticmethod
    def of(values: Sequence[float]) -> "Spread":
        """Sum values up; there must be one at least."""
        return Spread(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Bar:
    """Something that must be reached."""

    what: str
    wanted: str
    got: str
    met: bool


def spread(runs: Sequence[Run], figure: Callable[[Run], float]) -> Spread:
    """Sum up one figure of several runs."""
    return Spread.of([figure(run) for run in runs])


def ratios(runs: Sequence[Run]) -> list[float]:
    """How many times as fast the relay was, for each pair of neighbouring runs; empty when only one was measured."""
    relay = [run.rate for run in runs if run.who == "relay"]
    naive = [run.rate for run in runs if run.who == "naive"]
    return [ours / theirs for ours, theirs in zip(relay, naive, strict=False)]


def bars(runs: Sequence[Run]) -> list[Bar]:
    """Hold the medians to what they must reach, as far as it was measured."""
    found = []
    if pairs := ratios(runs):
        ratio = Spread.of(pairs).median
        found.append(Bar("times the naive loop", f">= {RATIO_MIN:.1f}", f"{ratio:.2f}", ratio >= RATIO_MIN))
    if relay := [run for run in runs if run.who == "relay"]:
        cpu_us = spread(relay, lambda run: run.cpu_us).median
        found.append(Bar("relay CPU, µs a message", f"<= {CPU_US_MAX:.1f}", f"{cpu_us:.1f}", cpu_us <= CPU_US_MAX))
    return found


def order(runs: int, only: Who | None) -> list[Who]:
    """Return who runs when: in turns, so that a machine that slows down slows both."""
    pair: list[Who] = ["naive", "relay"] if only is None else [only]
    return pair * runs


@dataclass(frozen=True, slots=True)
class Seen:
    """What table and queue hold after a run."""

    sent: int
    not_sent: int
    queued: int


def refusal(seen: Seen, rows: int) -> str | None:
    """Say why a run's figures count for nothing; None when every row was sent and is in the queue exactly once."""
    if seen.sent != rows or seen.not_sent:
        return f"{seen.sent} rows are sent and {seen.not_sent} are not, of {rows}"
    if seen.queued < rows:
        return f"{rows - seen.queued} messages were lost: {seen.queued} in the queue, {rows} rows sent"
    if seen.queued > rows:
        return f"{seen.queued - rows} messages are in the queue twice"
    return None

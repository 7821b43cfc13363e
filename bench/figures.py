"""What was measured. Pure."""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

Who = Literal["relay", "naive"]


@dataclass(frozen=True, slots=True)
class Run:
    """Rows carried by one process, or by several side by side."""

    who: Who
    copies: int
    """Processes."""
    rows: int
    seconds: float
    """From the first process being ready to work, not yet connected, to the last mark of all."""
    cpu_s: float
    """User and system time of the processes, all threads, within `seconds`."""
    startup_s: float
    """From its start to being ready to work: the interpreter and the imports."""
    startup_cpu_s: float
    statements: int
    """Statements the database server counted, from the start to the end."""
    transactions: int
    memory_mib: float
    """The most memory one process had resident."""
    postgres_cpu_s: float
    rabbitmq_cpu_s: float
    """Processor time of the servers, from being ready to the end; 0 when it cannot be seen."""
    elsewhere: float
    """Share of all processors that neither the processes nor the servers used, but something else did meanwhile."""
    first_s: float = 0.0
    """Of `seconds`, until the first batch was marked: the connections, and a look at the whole index."""
    first_rows: int = 0
    claims_s: tuple[float, ...] = ()
    """How long each claim took; of the relay only."""

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.rows / self.seconds

    @property
    def steady_rate(self) -> float:
        """Messages a second behind the first batch; of one process."""
        return (self.rows - self.first_rows) / (self.seconds - self.first_s)

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
        kept = asdict(self) | {"rate": self.rate, "cpu_us": self.cpu_us}
        del kept["claims_s"]
        return kept


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


def spread(runs: Sequence[Run], figure: Callable[[Run], float]) -> Spread:
    """Sum up one figure of several runs."""
    return Spread.of([figure(run) for run in runs])


def ratios(runs: Sequence[Run]) -> list[float]:
    """How many times as fast the relay was, for each pair of neighbouring runs; empty when only one was measured."""
    relay = [run.rate for run in runs if run.who == "relay"]
    naive = [run.rate for run in runs if run.who == "naive"]
    return [ours / theirs for ours, theirs in zip(relay, naive, strict=False)]


def order(runs: int, only: Who | None) -> list[Who]:
    """Return who runs when: in turns, so that a machine that slows down slows both."""
    pair: list[Who] = ["naive", "relay"] if only is None else [only]
    return pair * runs


def of_all(values: Sequence[float], share: float) -> float:
    """Return the value that this share of them does not exceed; there must be one at least."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if share > 0 else ordered[0]


@dataclass(frozen=True, slots=True)
class Delays:
    """How long something took, over many times; in milliseconds."""

    count: int
    p50: float
    p90: float
    p99: float
    most: float

    @staticmethod
    def of(seconds: Sequence[float]) -> "Delays":
        """Sum them up; there must be one at least."""
        return Delays(len(seconds), *(of_all(seconds, share) * 1000 for share in (0.5, 0.9, 0.99, 1.0)))


BINS_A_DECADE = 10


def histogram(seconds: Sequence[float]) -> list[tuple[float, float]]:
    """Return the shares of equal steps of the logarithm: the lower end in ms, and the share; gaps are 0."""
    steps = [math.floor(math.log10(max(each * 1000, 0.1)) * BINS_A_DECADE) for each in seconds]
    counts = Counter(steps)
    ends = range(min(counts), max(counts) + 1)
    return [(10 ** (step / BINS_A_DECADE), counts[step] / len(seconds)) for step in ends]


def most_within(moments: Sequence[float], seconds: float) -> int:
    """Return the most of them that lie in any such stretch of time."""
    ordered = sorted(moments)
    most = first = 0
    for last, moment in enumerate(ordered):
        while moment - ordered[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def disorder(row_ids: Sequence[int], keys: Sequence[str | None]) -> int:
    """Count rows that arrived after a later one of their key; rows without a key have no order."""
    latest: dict[str, int] = {}
    wrong = 0
    for row_id, key in zip(row_ids, keys, strict=True):
        if key is not None:
            wrong += row_id < latest.get(key, 0)
            latest[key] = max(row_id, latest.get(key, 0))
    return wrong


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

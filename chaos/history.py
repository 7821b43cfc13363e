"""The history of a run: what each witness saw with its own eyes, one record a line, one file a witness.

The checker believes these files. Whoever writes one writes nothing else, and nobody reads before the run is over.
Every time is a Unix time in seconds of the one machine the run is on.
"""

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar


class Fate(StrEnum):
    """How a producer's transaction ended."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"
    UNKNOWN = "unknown"
    """Nobody answered the COMMIT: the final table tells."""


@dataclass(frozen=True, slots=True)
class Run:
    """What the run was, written once at its end."""

    seed: int
    began: float
    ended: float
    replicas: int
    in_flight_max: int
    """Rows one replica may have in flight: its lanes times its batch size."""
    ordered: bool = False
    """The replicas ran with an order per key."""
    emptied: float | None = None
    """When, after the last fault, no row was pending any more; None: it never came to that."""
    recovery_max_s: float | None = None
    """What is promised from the end of the last fault to the empty backlog; None: nothing."""
    stall_max_s: float | None = None
    """How long nothing may arrive while rows wait and no fault lasts; None: nothing is promised."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of everything that took part; the machine too."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row that a producer tried to write. Written as `unknown` before COMMIT and again with its end: the last counts.

    Whoever cannot die between the two may write the end alone.
    """

    message_id: str
    body: str
    """`digest` of the body as Postgres spells it (`payload::text`)."""
    exchange: str
    routing_key: str
    fate: Fate
    at: float
    """Before the INSERT was sent."""
    key: str | None = None
    sequence: int = 0
    """Rising within its key, in the order of commits."""
    labels: str = ""
    """`label` of its headers and properties."""
    row_id: int | None = None
    refusal: str = ""
    """The refusal this row was made to deserve; empty: none."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A delivery to the drain, written before it was acked."""

    position: int
    """Rising over the whole run, also when the drain connects again."""
    message_id: str
    body: str
    exchange: str
    routing_key: str
    at: float
    labels: str = ""
    """`label` of what the producer gave: without the relay's own headers."""
    row_id: int | None = None
    """The header `x-outbox-id`."""
    attempt: int = 1
    """The header `x-outbox-attempt`; 1 where there is none."""
    delivery_mode: int = 2
    redelivered: bool = False
    """The broker's own flag: it handed this very copy out before."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing the nemesis did, and what may be put down to it."""

    name: str
    target: str
    began: float
    ended: float
    repeats_max: int = 0
    """Rows it may make arrive once more: those in flight where it struck."""
    refusals: Sequence[str] = ()
    """Refusals it may make the broker answer; they cost a row a failure. None: it is an outage, which costs nothing."""
    stalls: bool = False
    """While it lasts nothing needs to arrive."""
    erases: bool = False
    """Postgres may forget committed rows: a crash when commits do not wait for the disk, a failover that was late."""


@dataclass(frozen=True, slots=True)
class RelayEvent:
    """A line of a replica's log."""

    replica: str
    event: str
    at: float
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FinalRow:
    """A row of the outbox when all was over."""

    id: int
    message_id: str
    status: str
    failures: int
    claims: int
    last_error: str | None
    sent_at: float | None
    failed_at: float | None = None
    """When it was given up."""

    @property
    def settled_at(self) -> float | None:
        """When it was sent or given up; None: not yet, or nobody noted it."""
        return self.sent_at if self.failed_at is None else self.failed_at


Record = Run | Attempt | Arrival | Fault | RelayEvent | FinalRow
Kind = TypeVar("Kind", Run, Attempt, Arrival, Fault, RelayEvent, FinalRow)
FILES: Mapping[type[Record], str] = {
    Run: "run.jsonl",
    Attempt: "attempts.jsonl",
    Arrival: "arrivals.jsonl",
    Fault: "faults.jsonl",
    RelayEvent: "relays.jsonl",
    FinalRow: "rows.jsonl",
}


@dataclass(frozen=True, slots=True)
class History:
    """Everything the checker judges by."""

    run: Run
    attempts: Sequence[Attempt] = ()
    """One a message id."""
    arrivals: Sequence[Arrival] = ()
    """By position."""
    faults: Sequence[Fault] = ()
    events: Sequence[RelayEvent] = ()
    rows: Sequence[FinalRow] = ()


class Log:
    """Appends records to their files in a folder. Each is one write, so that a SIGKILL leaves whole lines only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[type[Record], int] = {}

    def add(self, *records: Record) -> None:
        """Append records of one kind, all in one write."""
        if records:
            lines = "".join(json.dumps(asdict(each), ensure_ascii=False) + "\n" for each in records)
            os.write(self._file(type(records[0])), lines.encode())

    def _file(self, kind: type[Record]) -> int:
        if kind not in self._files:
            self._files[kind] = os.open(self._folder / FILES[kind], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return self._files[kind]

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()


def read(folder: Path, *, events: bool = False) -> History:
    """Read a run's folder. A missing file holds nothing; without a run it raises FileNotFoundError.

    The relays' logs are large and no judgement looks at them, so their `events` are read on demand only.
    """
    attempts = {each.message_id: each for each in _records(folder, Attempt)}
    if not (runs := _records(folder, Run)):
        raise FileNotFoundError(folder / FILES[Run])
    return History(
        runs[-1],
        attempts=tuple(attempts.values()),
        arrivals=sorted(_records(folder, Arrival), key=lambda each: each.position),
        faults=_records(folder, Fault),
        events=_records(folder, RelayEvent) if events else (),
        rows=_records(folder, FinalRow),
    )


def _records(folder: Path, kind: type[Kind]) -> list[Kind]:
    if not (path := folder / FILES[kind]).exists():
        return []
    with path.open(encoding="utf-8") as lines:
        return [kind(**json.loads(line, object_hook=_spelled)) for line in lines if line.endswith("\n")]


def _spelled(fields: dict[str, Any]) -> dict[str, Any]:
    """Keep one copy of each text: a long run has a million rows, told by three witnesses."""
    kept = {name: sys.intern(value) if isinstance(value, str) else value for name, value in fields.items()}
    return kept | {"fate": Fate(kept["fate"])} if "fate" in kept else kept


def fingerprint(folder: Path) -> str:
    """Name the raw history by its content: SHA-256 over the files and their names."""
    whole = hashlib.sha256()
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as file:
            whole.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def digest(body: bytes) -> str:
    """Name a body by its bytes."""
    return hashlib.sha256(body).hexdigest()


def label(headers: Mapping[str, Any], properties: Mapping[str, Any]) -> str:
    """Name headers and properties by what they say; those whose value is None say nothing."""
    said = {"headers": headers, "properties": {name: each for name, each in properties.items() if each is not None}}
    return digest(json.dumps(said, sort_keys=True, separators=(",", ":")).encode())

"""Is a server gone, and how gently to knock: a pure state machine, one for the broker and one for the database.

    Flowing ──failure──▶ Outage ──next_at──▶ Probing ──answer──▶ Flowing(limit 1, 10, 100, none)
                           ▲                    │
                           └──────failure───────┘

No clock and no randomness in here: `now` (local monotonic seconds) and `jitter` (0 ≤ jitter < 1) are arguments.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import assert_never

from relay.model import Fault

RAMP_FACTOR = 10
RAMP_TOP = 100


@dataclass(frozen=True, slots=True)
class OutagePolicy:
    """How long to sleep between probes: doubling from `first_s` to `max_s` seconds."""

    first_s: float = 1.0
    max_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Flowing:
    """The server answers."""

    limit: int | None = None
    """Rows one claim may take while the flow ramps up after an outage; None when it runs full."""
    proven: bool = True
    """False: reopened on a connection alone, because no row was there to prove it with a confirm."""


@dataclass(frozen=True, slots=True)
class Outage:
    """The server is gone; nothing is asked of it before `next_at`."""

    fault: Fault
    detail: str
    since: float
    probes: int
    next_at: float


@dataclass(frozen=True, slots=True)
class Probing:
    """One careful question is on its way."""

    fault: Fault
    detail: str
    since: float
    probes: int


State = Flowing | Outage | Probing


class Proof(Enum):
    """What a piece of work told about the server when it did not fail."""

    ANSWER = auto()
    """It answered a real question, be it to refuse a row: it is alive, and it keeps up."""
    CONNECTION = auto()
    """A connection could be opened; no row was there to ask with."""


def fail(state: State, fault: Fault, detail: str, *, now: float, jitter: float, policy: OutagePolicy) -> Outage:
    """Open an outage, or lengthen the sleep of the one that stands."""
    match state:
        case Flowing():
            return Outage(fault, detail, since=now, probes=0, next_at=now + _sleep_s(0, jitter, policy))
        case Outage():  # late news of the same trouble: the reason and the rest stand until a probe
            return state
        case Probing(since=since, probes=probes):
            return Outage(fault, detail, since=since, probes=probes, next_at=now + _sleep_s(probes, jitter, policy))
        case _:
            assert_never(state)


def probe(state: Outage) -> Probing:
    """Begin a probe of a server that was given its rest."""
    return Probing(state.fault, state.detail, since=state.since, probes=state.probes + 1)


def prove(state: State, proof: Proof) -> State:
    """Take good news: end a probe, or widen the ramp when a whole batch was answered.

    Refusals widen it too: a backlog that begins with many bad rows would otherwise be walked row by row for ever.
    News that arrive while an outage stands (from a lane that was faster) do not end it: only a probe does.
    """
    match state:
        case Outage():
            return state
        case Probing():
            return Flowing(limit=1, proven=proof is not Proof.CONNECTION)
        case Flowing(limit=None):
            return Flowing()
        case Flowing(limit=int(limit)) if proof is Proof.ANSWER:
            return Flowing(limit=limit * RAMP_FACTOR if limit < RAMP_TOP else None)
        case Flowing():
            return state
        case _:
            assert_never(state)


def claim_limit(state: State, batch: int) -> int:
    """Rows the next claim may take: none in an outage, one as a probe, few on the ramp, then the batch."""
    match state:
        case Outage():
            return 0
        case Probing():
            return 1
        case Flowing(limit=limit):
            return batch if limit is None else min(limit, batch)
        case _:
            assert_never(state)


def cautious(state: State) -> bool:
    """Return whether one lane must work alone: during a probe and on the ramp."""
    return state != Flowing()


def _sleep_s(probes: int, jitter: float, policy: OutagePolicy) -> float:
    """Double from the first sleep to the longest; half of it is jitter, so that replicas spread."""
    ceiling = min(policy.max_s, policy.first_s * 2.0 ** min(probes, 32))
    return ceiling * (0.5 + 0.5 * jitter)

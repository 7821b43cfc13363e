"""One server as people see it: its state with since when and why, and whether it answers."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, assert_never

from relay.model import Fault
from relay.outage import Flowing, Outage, Probing, State

THERE = frozenset({Fault.SCHEMA, Fault.PERMISSION, Fault.READ_ONLY})
"""Faults a server can only tell over a connection that works."""


class Broker(Protocol):
    """What the broker's adapter knows better than its answers tell."""

    @property
    def connected(self) -> bool:
        """A connection is open."""
        ...

    @property
    def blocked(self) -> bool:
        """The broker blocks publishers."""
        ...

    @property
    def latency_s(self) -> float | None:
        """Seconds of the latest round trip."""
        ...


@dataclass(slots=True)
class Side:
    """What is known of one server now."""

    state: State
    since: float
    """Unix time when it began to flow, or the outage began."""
    detail: str = ""
    answered: bool = False
    """It has answered at least once since the relay began."""
    latency_s: float | None = None
    """Of its last answer."""
    outage_s: float = 0.0
    """Spent in outages that have ended."""
    outage_from: float | None = None
    """Local monotonic time when the outage that stands began."""

    def outage_lasts(self, now: float) -> float:
        """Return the length of the outage that stands, 0 without one."""
        return 0.0 if self.outage_from is None else now - self.outage_from

    def outage_seconds(self, now: float) -> float:
        """Return the time spent in outages up to `now`, the one that stands included."""
        return self.outage_s + self.outage_lasts(now)

    @property
    def connected(self) -> bool:
        """It answers, be it to say no."""
        return self.answered if isinstance(self.state, Flowing) else self.state.fault in THERE

    def answer(self, seconds: float) -> None:
        """Take an answer of the server, and how long it took."""
        self.answered, self.latency_s = True, seconds

    def became(self, after: State, *, detail: str, now: float, wall: float) -> None:
        """Follow a change of state."""
        was_flowing = isinstance(self.state, Flowing)
        self.state, self.detail = after, detail
        if isinstance(after, Flowing):
            self.answered = True
            if not was_flowing:
                self.outage_s, self.outage_from, self.since = self.outage_seconds(now), None, wall
        elif was_flowing:
            self.outage_from, self.since = now, wall

    def word(self) -> str:
        """Return the state in one word."""
        match self.state:
            case Flowing(limit=None):
                return "flowing" if self.answered else "starting"
            case Flowing():
                return "recovering"
            case Outage():
                return "outage"
            case Probing():
                return "probing"
            case _:
                assert_never(self.state)

    def told(self) -> dict[str, Any]:
        """Return it as JSON."""
        shown: dict[str, Any] = {
            "state": self.word(),
            "since": iso(self.since),
            "connected": self.connected,
            "latency_seconds": round(self.latency_s, 6) if self.connected and self.latency_s is not None else None,
        }
        if isinstance(self.state, Flowing):
            return shown | {"limit": self.state.limit, "proven": self.answered and self.state.proven}
        return shown | {"reason": self.state.fault.value, "detail": self.detail, "probes": self.state.probes}


def iso(wall: float) -> str:
    """Write Unix time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

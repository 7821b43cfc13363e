"""Stand-ins for the world, typed like it, on a clock that jumps: an outage of an hour takes no time.

The store and the publisher earn their trust: tests/contract runs the real ones through the same scenarios, and each
suite says what it cannot compare. The observer has no real twin: it only remembers.
"""

from tests.doubles.bell import MemoryBell
from tests.doubles.bench import Bench
from tests.doubles.clock import Stuck, VirtualLoop
from tests.doubles.observer import RecordingObserver
from tests.doubles.publisher import Fate, ScriptedPublisher
from tests.doubles.rows import a_claim, a_row, an_envelope
from tests.doubles.store import MemoryStore

__all__ = [
    "Bench",
    "Fate",
    "MemoryBell",
    "MemoryStore",
    "RecordingObserver",
    "ScriptedPublisher",
    "Stuck",
    "VirtualLoop",
    "a_claim",
    "a_row",
    "an_envelope",
]

"""What the engine needs to know of the settings, and what its parts work with."""

from collections.abc import Callable
from dataclasses import dataclass, field

from relay.decide import PollPolicy, RetryPolicy
from relay.envelope import SealPolicy
from relay.outage import OutagePolicy


@dataclass(frozen=True, slots=True)
class EnginePolicy:
    """The engine's numbers; times in seconds."""

    seal: SealPolicy
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    poll: PollPolicy = field(default_factory=PollPolicy)
    outage: OutagePolicy = field(default_factory=OutagePolicy)
    lanes: int = 2
    batch_size: int = 500
    lease_s: float = 60.0
    rescan_s: float = 5.0
    ordered: bool = False
    """One message of a key is in flight, and none follows one that is neither sent nor given up."""
    failed_blocks_key: bool = False
    """With order: nor one that was given up."""


@dataclass(frozen=True, slots=True)
class Chance:
    """Time and luck, given from outside so that a test can rule both."""

    now: Callable[[], float]
    """Local monotonic seconds."""
    jitter: Callable[[], float]
    """A number from 0 to 1, 1 excluded."""

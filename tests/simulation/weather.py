"""What may happen in a world: some kinds of faults only, so that each is met among many others and among few."""

import random
from dataclasses import dataclass

from tests.simulation.broker import Fate

FAULTS = ("kill", "terminate", "freeze", "fall", "cut", "stop", "block", "lose_database", "crash_database", "slow")
"""Methods of World."""
HARMLESS = (Fate.UNROUTABLE, Fate.REJECTED, Fate.NO_EXCHANGE)
"""They blame a row and harm no other."""


@dataclass(frozen=True, slots=True)
class Weather:
    """The kinds of faults, and of bad rows."""

    faults: tuple[str, ...]
    bad: tuple[Fate, ...]
    trouble: float
    """How often a statement, or its answer, is lost."""

    @property
    def mild(self) -> bool:
        """Nothing excuses a repeated message: SIGTERM is no fault."""
        return set(self.faults) <= {"terminate"} and set(self.bad) <= set(HARMLESS) and not self.trouble


def weather(seed: int, chance: random.Random) -> Weather:
    """Draw it: one world in ten is calm, one knows nothing but SIGTERM, each other one has some kinds of faults."""
    if seed % 10 < 2:
        return Weather(("terminate",) if seed % 10 else (), HARMLESS, 0.0)
    faults = tuple(name for name in FAULTS if chance.random() < 0.5)
    bad = tuple(fate for fate in Fate if chance.random() < 0.5)
    return Weather(faults, bad, chance.choice((0.0, 0.02, 0.2)))

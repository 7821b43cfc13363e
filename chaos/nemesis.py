"""The nemesis: strikes when the schedule says so, and writes down what it did."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from chaos.harms import EFFECTS, repeats_max
from chaos.history import Fault
from chaos.schedule import TRAITS, Stroke
from chaos.stage import Stage


class Nemesis:
    """Plays a schedule. A stroke waits for the one before it that holds the same thing, should that last longer."""

    def __init__(self, stage: Stage, schedule: Sequence[Stroke], tell: Callable[[str], None]) -> None:
        self._stage = stage
        self._schedule = schedule
        self._tell = tell
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.struck: Counter[str] = Counter()
        """How often each fault was made and healed."""

    async def run(self) -> None:
        """Strike until all is struck and healed."""
        began_at = time.monotonic()
        async with asyncio.TaskGroup() as strokes:
            for stroke in self._schedule:
                await asyncio.sleep(began_at + stroke.at_s - time.monotonic())
                strokes.create_task(self._strike(stroke, began_at), name=str(stroke))

    async def _strike(self, stroke: Stroke, began_at: float) -> None:
        effect = EFFECTS[stroke.harm]
        async with self._turns[TRAITS[stroke.harm].holds]:
            began = time.time()
            self._tell(f"{time.monotonic() - began_at:7.1f} s  {stroke.harm} {stroke.target}".rstrip())
            async with effect.hurt(self._stage, stroke.target):
                await asyncio.sleep(stroke.lasts_s)
            await asyncio.sleep(effect.believed_s)
            ended = time.time()
        self.struck[stroke.harm] += 1
        repeats = repeats_max(stroke.harm, stroke.target, self._stage.relays)
        self._stage.log.add(
            Fault(stroke.harm, stroke.target, began, ended, repeats_max=repeats, refusals=effect.refusals, stalls=True)
        )

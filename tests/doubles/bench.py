"""An engine among doubles, on a clock that jumps."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

from relay.decide import RetryPolicy
from relay.engine import Chance, Engine, EnginePolicy
from relay.envelope import SealPolicy
from tests.doubles.bell import MemoryBell
from tests.doubles.observer import RecordingObserver
from tests.doubles.publisher import ScriptedPublisher
from tests.doubles.store import MemoryStore

SEAL = SealPolicy("events", 2**20)


class Bench:
    """An engine and the doubles around it."""

    def __init__(self, *, seed: int = 1, bell: MemoryBell | None = None, **policy: Any) -> None:
        now = asyncio.get_running_loop().time
        self.now = now
        self.began_at = now()
        given: dict[str, Any] = {"seal": SEAL, "retry": RetryPolicy(max_failures=3)}
        self.policy = EnginePolicy(**(given | policy))
        self.store = MemoryStore(
            now,
            lease_s=self.policy.lease_s,
            ordered=self.policy.ordered,
            failed_blocks_key=self.policy.failed_blocks_key,
        )
        self.publisher = ScriptedPublisher(now)
        self.observer = RecordingObserver(now)
        chance = Chance(now, random.Random(seed).random)
        self.engine = Engine(self.store, self.publisher, self.observer, self.policy, chance, waker=bell)

    @property
    def elapsed_s(self) -> float:
        """Virtual seconds since the test began."""
        return self.now() - self.began_at

    async def drain(self, within_s: float = 600.0) -> None:
        """Run until no row is due."""
        async with asyncio.timeout(within_s):
            await self.engine.run(drain=True)

    @contextlib.asynccontextmanager
    async def running(self, within_s: float = 36000.0) -> AsyncIterator["asyncio.Task[None]"]:
        """Run beside the test, and stop at the end of it."""
        async with asyncio.timeout(within_s):
            task = asyncio.create_task(self.engine.run())
            try:
                yield task
                self.engine.stop()
                if not task.cancelled():
                    await task
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def until(self, condition: Callable[[], object], within_s: float = 300.0, step_s: float = 0.01) -> None:
        """Let virtual time pass until the condition holds."""
        deadline = self.now() + within_s
        while not condition():
            assert self.now() < deadline, "it never came true"
            await asyncio.sleep(step_s)

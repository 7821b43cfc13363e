"""One relay of a simulation: the real engine in a process that can be killed, stopped and told to end."""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Protocol

from relay.engine import Chance, Engine, EnginePolicy
from relay.model import Fault
from relay.outage import Flowing
from relay.ports import StoreUnavailable
from tests.doubles import RecordingObserver
from tests.simulation.broker import Broker
from tests.simulation.outbox import WatchedTable
from tests.simulation.ports import Killed, Life, SimulatedPublisher, SimulatedStore
from tests.simulation.witness import Witness

PATIENCE_S = 20.0
"""After so long a relay that was told to end is cut short."""
HEARTBEATS_S = 20.0
"""After so long the broker gives up a relay that does not run."""


class Surroundings(Protocol):
    """What a relay needs of its world."""

    chance: random.Random
    witness: Witness
    table: WatchedTable
    broker: Broker
    policy: EnginePolicy
    way_s: float
    database_down: Fault | None

    @property
    def trouble(self) -> float:
        """How often a statement is lost."""
        ...

    def ended(self, relay: "Replica") -> None:
        """Take note of its end."""
        ...


class Replica:
    """From its start to its end, by whatever cause."""

    def __init__(self, world: Surroundings, number: int) -> None:
        self._world = world
        self.name = f"relay {number}"
        self.life = Life(self.name)
        chance, loop = world.chance, asyncio.get_running_loop()
        self.store = SimulatedStore(world.table, self.life, chance, world.witness, way_s=world.way_s)
        self.store.trouble, self.store.down = world.trouble, world.database_down
        waits = {"flush_s": chance.choice((0.05, 0.5)), "patience_s": chance.choice((3.0, 10.0))}
        self.publisher = SimulatedPublisher(world.broker, self.life, world.witness, **waits)
        self.observer = RecordingObserver(loop.time)
        luck = Chance(loop.time, chance.random)
        self.engine = Engine(self.store, self.publisher, self.observer, world.policy, luck)
        self.life.on_death = self._died
        self.hurried = False
        self._timer: asyncio.TimerHandle | None = None
        self._running = asyncio.create_task(self.engine.run(), name=self.name)
        self._running.add_done_callback(self._ended)

    @property
    def well(self) -> bool:
        """Both servers flow, in full or on the ramp."""
        return all(isinstance(state, Flowing) for state in self.engine.servers.states.values())

    # -- what happens to it -------------------------------------------------------------------------------------

    def kill(self) -> None:
        """SIGKILL."""
        self._world.witness.note(f"{self.name} is killed")
        self.life.die()

    def terminate(self) -> None:
        """SIGTERM: let it finish, but not for ever."""
        if self._timer is None:
            self._world.witness.note(f"{self.name} is told to end")
            self.engine.stop()
            self._timer = self._later(PATIENCE_S, self._hurry)

    def _hurry(self) -> None:
        self.hurried = not self._running.done()
        self._running.cancel()

    def freeze(self) -> None:
        """SIGSTOP, and after some time SIGCONT."""
        link = self.publisher.link
        if self.life.dead or self.life.frozen:
            return
        self._world.witness.note(f"{self.name} is stopped")
        self.life.freeze()
        if link is not None:
            link.frozen = True
            self._later(HEARTBEATS_S, lambda: link.hear_end(ConnectionResetError("silent")) if link.frozen else None)
        self._later(self._world.broker.some(10.0), self.thaw)

    def thaw(self) -> None:
        """SIGCONT."""
        if self.publisher.link is not None:
            self.publisher.link.thaw()
        self._world.witness.note(f"{self.name} goes on")
        self.life.thaw()

    def calm(self) -> None:
        """Let nothing more happen to it."""
        self.life.after(0, lambda: None)
        self.store.trouble = 0.0
        self.store.heal()
        self.thaw()

    def _later(self, seconds: float, what: Callable[[], object]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, what)

    # -- its end ------------------------------------------------------------------------------------------------

    def _died(self) -> None:
        self._hang_up()
        self._running.cancel()

    def _hang_up(self) -> None:
        if self.publisher.link is not None:
            self.publisher.link.hear_end(None)

    def _ended(self, running: "asyncio.Task[None]") -> None:
        """Accept an end by a kill, by impatience, or the good one after a SIGTERM."""
        error = None if running.cancelled() else running.exception()
        allowed = (Killed, asyncio.CancelledError) if self.life.killed else ()
        if bad := [each for each in _leaves(error) if not isinstance(each, allowed)]:
            self._world.witness.wrong.append(f"{self.name} crashed: {bad!r}")
        if running.cancelled() and not (self.life.killed or self.hurried):
            self._world.witness.wrong.append(f"{self.name} was cancelled by nobody")
        self._closing = asyncio.create_task(self._close())

    async def _close(self) -> None:
        """Do what the daemon does on its way out."""
        if not self.life.dead:
            with suppress(StoreUnavailable, Killed):
                await self.store.ready()
        if self._timer is not None:
            self._timer.cancel()
        self._hang_up()
        self.life.dead = True
        self._world.ended(self)


def _leaves(error: BaseException | None) -> Iterator[BaseException]:
    """What is at the bottom of a group."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    elif error is not None:
        yield error

"""A table, a broker, some relays, and all that can happen to them, drawn from one seed on virtual time."""

import asyncio
import random
from collections.abc import Callable
from functools import partial
from uuid import UUID

from relay.decide import PollPolicy, RetryPolicy
from relay.engine import EnginePolicy
from relay.envelope import SealPolicy
from relay.model import Fault
from relay.outage import OutagePolicy
from tests.doubles import a_row
from tests.doubles.table import Stored
from tests.simulation.broker import Broker, Fate, Manners
from tests.simulation.outbox import WatchedTable
from tests.simulation.replica import Replica
from tests.simulation.weather import weather
from tests.simulation.witness import Witness

STORM_S = 20.0
CALM_S = 600.0
"""Within so long after the last fault all must be well: some leases, rests and backoffs, one after the other."""
ROWS_MAX = 60
MAX_FAILURES = 3
KEYS = ("a", "b", "c", None)
DOWN = (Fault.REFUSED, Fault.AUTH, Fault.UNREACHABLE, Fault.TIMEOUT)


class World:
    """All of it; `live` through it and then ask the verdict."""

    def __init__(self, seed: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.seed = seed
        self.chance = chance = random.Random(seed)
        self.weather = weather(seed, chance)
        self.witness = Witness(self.loop.time)
        self.ordered = seed // 10 % 2 == 1
        """Every other ten seeds keep order, in any weather."""
        self.failed_blocks_key = self.ordered and seed // 20 % 2 == 1
        self.policy = EnginePolicy(
            SealPolicy("events", 2**20),
            retry=RetryPolicy(max_failures=MAX_FAILURES, max_s=5.0),
            poll=PollPolicy(max_s=2.0),
            outage=OutagePolicy(max_s=chance.choice((2.0, 30.0))),
            lanes=chance.randint(1, 3),
            batch_size=chance.choice((1, 5, 20)),
            lease_s=chance.choice((10.0, 20.0)),
            ordered=self.ordered,
            failed_blocks_key=self.failed_blocks_key,
        )
        self.table = WatchedTable(
            self.loop.time,
            lease_s=self.policy.lease_s,
            batch_bytes=2**20,
            message_bytes_max=2**20,
            ordered=self.ordered,
            failed_blocks_key=self.failed_blocks_key,
        )
        self.table.witness = self.witness
        self.way_s = chance.choice((0.0005, 0.005, 0.05))
        manners = Manners(self.way_s, chance.choice((0.001, 0.02, 0.5)), chance.choice((0.0, 0.5)), 0.5)
        self.broker = Broker(chance, manners, self.witness.happened)
        self.stormy, self.ending = True, False
        self.committed: set[int] = set()
        self.database_down: Fault | None = None
        self.relays: list[Replica] = []
        self._empty = asyncio.Event()
        self.past: list[Replica] = []
        """Relays that ended."""
        self.reserved: list[int] = []
        """Rows whose transaction is not over yet."""
        self._last_id = 0
        self._neighbours: list[Fate] = []
        self._timers: list[asyncio.TimerHandle] = []

    @property
    def trouble(self) -> float:
        """How often a statement is lost, now."""
        return self.weather.trouble if self.stormy else 0.0

    # -- the run ------------------------------------------------------------------------------------------------

    async def live(self) -> None:
        """Commit rows and break things for a while, then let all of it be well until nothing is left to do."""
        for _ in range(self.chance.randint(1, 3)):
            self.start()
        until = self.loop.time() + STORM_S
        while self.loop.time() < until:
            await asyncio.sleep(self.chance.expovariate(2.0))
            self._produce()
            if self.weather.faults:
                name = self.chance.choice(self.weather.faults)
                self.witness.happened[name] += 1
                self.witness.note(name)
                getattr(self, name)()
        self._clear_up()
        deadline = self.loop.time() + CALM_S
        while not self._well():
            assert self.loop.time() < deadline, f"not well within {CALM_S:g} s: {self._unwell()}"
            await asyncio.sleep(0.5)
        await self._end()

    def _clear_up(self) -> None:
        self.stormy = False
        for timer in self._timers:
            timer.cancel()
        self.broker.resume()
        self._set_database(None)
        for relay in self.relays:
            relay.calm()
        if not self.relays:
            self.start()

    def _well(self) -> bool:
        return not self._unwell()

    def _unwell(self) -> list[object]:
        pending = [row_id for row_id in self.table.pending() if not self.stopped(row_id)]
        return [*pending, *(relay.name for relay in self.relays if not relay.well)]

    def stopped(self, row_id: int) -> bool:
        """Return whether a failed row of the key stops this one for good."""
        key = self.table.rows[row_id].row.key
        alike = [stored for stored in self.table.rows.values() if stored.row.key == key]
        return self.failed_blocks_key and key is not None and any(stored.status == "failed" for stored in alike)

    async def _end(self) -> None:
        self.ending = True
        self._empty.clear()
        async with asyncio.timeout(CALM_S):
            for relay in tuple(self.relays):
                relay.terminate()
            await self._empty.wait()

    def start(self) -> None:
        """Start a relay."""
        self.relays.append(Replica(self, len(self.past) + len(self.relays) + 1))

    def ended(self, relay: Replica) -> None:
        """Take note of the end of a relay; another is started, unless all is to end."""
        self.relays.remove(relay)
        self.past.append(relay)
        if not self.relays:
            self._empty.set()
        if self.stormy:
            self._timers.append(self.loop.call_later(self.chance.expovariate(0.5), self.start))
        elif not self.ending:
            self.start()

    # -- producers ----------------------------------------------------------------------------------------------

    def _produce(self) -> None:
        """Commit rows; some transactions take their time, and some are rolled back."""
        pick = self.chance
        for _ in range(pick.randint(0, 8) if self._last_id < ROWS_MAX else 0):
            self._last_id += 1
            if pick.random() < 0.2:
                self.reserved.append(self._last_id)
            else:
                self._commit(self._last_id, key=pick.choice(KEYS) if self.ordered else None)
        for row_id in tuple(self.reserved):
            if pick.random() < 0.3:
                self.reserved.remove(row_id)
                if pick.random() < 0.5:
                    self._commit(row_id)
                    self.witness.happened["late commit"] += any(later > row_id for later in self.witness.writes)

    def _commit(self, row_id: int, *, key: str | None = None) -> None:
        """Commit a row; one that commits late has no key, for order is promised to those who write a key in turns."""
        if self.database_down is not None:
            return
        self._doom(row_id)
        now = self.loop.time()
        self.table.rows[row_id] = Stored(a_row(id=row_id, message_id=str(UUID(int=row_id)), key=key), now, now)
        self.committed.add(row_id)
        if self.chance.random() < 0.2:
            self.table.lazily(partial(self._erase, row_id))
        else:
            self.table.flush()

    def _doom(self, row_id: int) -> None:
        """Draw what is the matter with a row, for good or for some times; sometimes with its neighbours, too."""
        if self.weather.bad and self.chance.random() < 0.07:
            self._neighbours = [self.chance.choice(self.weather.bad)] * self.chance.choice((1, 1, 1, 1, 4))
        if self._neighbours:
            fate = self._neighbours.pop()
            if self.chance.random() < 0.5 and fate is not Fate.CUTS:
                self.broker.bad[row_id] = fate
            else:
                self.broker.fates[row_id].extend([fate] * self.chance.randint(1, MAX_FAILURES - 1))

    def _erase(self, row_id: int) -> None:
        """A crash undoes a commit that did not wait for the disk."""
        del self.table.rows[row_id]
        self.committed.discard(row_id)
        self.witness.happened["row erased by a crash"] += 1

    # -- faults -------------------------------------------------------------------------------------------------

    def _later(self, mean_s: float, what: Callable[[], object]) -> None:
        self._timers.append(self.loop.call_later(self.chance.expovariate(1 / mean_s), what))

    def _befall(self, what: Callable[[Replica], object]) -> None:
        """Let it happen to some relay, at one of its next awaits or at once."""
        if self.relays:
            relay = self.chance.choice(self.relays)
            relay.life.after(self.chance.randint(0, 12), partial(what, relay))
            if self.chance.random() < 0.3:
                what(relay)

    def kill(self) -> None:
        """SIGKILL."""
        self._befall(Replica.kill)

    def terminate(self) -> None:
        """SIGTERM."""
        self._befall(Replica.terminate)

    def freeze(self) -> None:
        """SIGSTOP, and some time later SIGCONT."""
        self._befall(Replica.freeze)

    def fall(self) -> None:
        """The broker is gone for a while."""
        self.broker.fall(self.chance.choice(DOWN))
        self._later(5.0, self.broker.resume)

    def cut(self) -> None:
        """Connections end, and new ones can be had."""
        self.broker.end_all()

    def stop(self) -> None:
        """The broker's process is stopped, or its queue has no majority."""
        self.broker.stopped = True
        self._later(10.0, self.broker.resume)

    def block(self) -> None:
        """The broker has no room."""
        self.broker.block()
        self._later(5.0, self.broker.resume)

    def lose_database(self) -> None:
        """The database is gone for a while."""
        self._set_database(self.chance.choice(list(Fault)))
        self._later(5.0, partial(self._set_database, None))

    def crash_database(self) -> None:
        """Postgres is killed and comes back; commits that were not on disk are lost."""
        self.table.crash()
        if self.chance.random() < 0.7:
            self._set_database(Fault.REFUSED)
            self._later(1.0, partial(self._set_database, None))

    def slow(self) -> None:
        """Some statement takes long."""
        if self.relays:
            store = self.chance.choice(self.relays).store
            store.delay_s[self.chance.choice(("ready", "claim", "renew", "settle"))] = self.chance.choice((0.0, 3.0))

    def _set_database(self, fault: Fault | None) -> None:
        self.database_down = fault
        for relay in self.relays:
            relay.store.down = fault

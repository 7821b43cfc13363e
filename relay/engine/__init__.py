"""The loop: rest, claim, carry, and again. `Engine.run` turns it, `Engine.tick` is one turn.

One lane claims at a time and rests while it holds the turn, so that an idle relay asks the database once per poll
however many lanes it has, or sleeps with the doorbell in hand until it rings. With rows in hand it passes the turn on
and carries them beside the other lanes. After an outage, and with a row in hand that may kill the process, it keeps the
turn until the rows are settled.
"""

import asyncio
import random
import time

from relay import scan
from relay.decide import next_poll_s, suspect
from relay.engine.air import Air
from relay.engine.bell import Bell, Silent
from relay.engine.carry import Batch
from relay.engine.desk import Desk
from relay.engine.ledger import Ledger
from relay.engine.policy import Chance, EnginePolicy
from relay.engine.servers import Servers
from relay.model import Claim, TickReport
from relay.outage import Proof
from relay.ports import Observer, Publisher, Store, StoreUnavailable, Waker

__all__ = ["Chance", "Engine", "EnginePolicy"]

TURN_S = 1.0
"""The longest rest without telling the observer that the loop is alive."""


class Engine:
    """Carries rows from the store to the publisher until it is stopped, through any outage of either."""

    def __init__(
        self,
        store: Store,
        publisher: Publisher,
        observer: Observer,
        policy: EnginePolicy,
        chance: Chance | None = None,
        *,
        waker: Waker | None = None,
    ) -> None:
        self._store = store
        self._observer = observer
        self._policy = policy
        self._chance = chance or Chance(time.monotonic, random.random)
        self.servers = Servers(store, publisher, observer, policy.outage, self._chance)
        self._ledger = Ledger(store, self.servers, observer)
        self._desk = Desk(store, publisher, observer, self.servers, self._ledger, Air(), policy, self._chance)
        self._suspects: set[int] = set()
        """Rows that must travel alone; see Batch."""
        self._scan = scan.Scan()
        self._poll_s = 0.0
        self._sweep = scan.Sweep()
        self._next_at = float("-inf")
        """When the next claim is due, by the loop's clock."""
        self._idle = False
        self._suspicious = False
        """The last claim was a suspected killer, which is carried with nothing else in hand."""
        self._carrying = 0
        """Batches carried beside the turn; the one that keeps the turn is not among them."""
        self._hands_empty = asyncio.Event()
        self._hands_empty.set()
        self._drain = False
        self._turn = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._alarm = asyncio.Event()
        """Ends a rest: a stop, the doorbell, or with order per key a batch that was carried."""
        self._bell = Bell(waker or Silent(), self._alarm.set, self._chance.now)
        self._quiet = False
        """Every row that was there when the last claim began was seen: with the bell in hand it is time to sleep."""

    async def run(self, *, drain: bool = False) -> None:
        """Turn the loop on every lane until `stop`, or with `drain` until no row is due.

        What is in hand at `stop` is always finished: without the database it waits until the marks can be written.
        Cancelled, it gives the rows in hand back and tries once to write what it owes. A bug on any lane ends it with
        an ExceptionGroup.
        """
        self._drain = drain
        try:
            async with asyncio.TaskGroup() as lanes:
                for number in range(self._policy.lanes):
                    lanes.create_task(self._lane(), name=f"lane-{number}")
            while not await self._ledger.pay():
                self._observer.turned()
                await asyncio.sleep(self._policy.outage.first_s)
        finally:
            if not self._ledger.given_up:
                await self._ledger.pay()

    def stop(self) -> None:
        """Claim no more; `run` returns when the rows in hand are settled."""
        self._stopping.set()
        self._alarm.set()

    async def _lane(self) -> None:
        while not self._stopping.is_set():
            await self.tick()
        await self._bell.let_go()

    async def tick(self) -> TickReport:
        """Claim one batch and bring every row in it to a mark."""
        async with self._turn:
            await self._rest()
            claim = await self._claim()
            if claim is None:
                return TickReport(claimed=0)
            if self._suspicious or self.servers.cautious:
                return await self._carry(claim, after=self._hands_empty)
            self._carrying += 1
            self._hands_empty.clear()
        try:
            return await self._carry(claim)
        finally:
            self._carrying -= 1
            if not self._carrying:
                self._hands_empty.set()
            if self._policy.ordered:
                self._alarm.set()  # the next rows of its keys may be claimed

    async def _rest(self) -> None:
        """Wait out the outage, or the poll, or with the bell in hand until it rings; a stop ends each at once."""
        self._observer.turned()
        outage_s = self.servers.rest_s()
        if outage_s is not None:
            await self._bell.let_go()
            await self._wait(outage_s)
        elif not await self._listening():
            await self._wait(self._next_at - self._chance.now())
        elif not self._quiet:
            await self._wait(self._until_walk_s(0.0))
        elif await self._wait(self._until_walk_s(self._policy.poll.max_s)):
            self._scan, self._idle = scan.told(self._scan), False

    async def _listening(self) -> bool:
        """Return whether the bell is in hand; when it was just taken, the whole table is to be looked at once more."""
        if await self._bell.keep():
            return True
        if self._drain or not await self._bell.take():
            return False
        self._scan, self._idle, self._quiet = scan.told(self._scan), True, False
        return True

    async def _wait(self, seconds: float) -> bool:
        """Wait so long, or until the alarm, which it takes: then return True."""
        until = self._chance.now() + seconds
        while (left := until - self._chance.now()) > 0 and not self._stopping.is_set():
            try:
                async with asyncio.timeout(min(left, TURN_S)):
                    await self._alarm.wait()
            except TimeoutError:
                self._observer.turned()
            else:
                self._alarm.clear()
                return True
        return False

    async def _claim(self) -> Claim | None:
        """Take a batch; None when a server is gone, when nothing is due, or when stopping."""
        if self._stopping.is_set() or not await self._ready():
            self._sweep = scan.Sweep(self._sweep.at)  # what it saw may have changed when the servers are back
            return None
        probing, quiet, look = self.servers.probing_broker, not self._carrying, self._look()
        limit = self.servers.claim_limit(self._policy.batch_size)
        if not limit or self._stopping.is_set():  # an outage another lane met, or a stop, while the servers were asked
            return None
        began = self._chance.now()
        self._alarm.clear()  # this claim sees what rang before it
        try:
            claim = await self._store.claim(limit=limit, low=look.low)
        except StoreUnavailable as error:
            self.servers.database_failed(error)
            return None
        self.servers.proved("database", Proof.ANSWER)
        self._note(claim, look, began=began, quiet=quiet)
        if claim.rows:
            return claim
        if probing and self._sweep.whole:
            self.servers.proved("broker", Proof.CONNECTION)
        if self._drain and self._sweep.whole and self._sweep.quiet:
            self.stop()
        return None

    async def _ready(self) -> bool:
        """Return whether both servers are there and nothing is owed; what is owed is paid without the broker, too.

        Each is asked, so that one's outage does not hide the other's. When only one is there no claim can prove it,
        so its connection must do.
        """
        database = await self.servers.ask_database() and await self._ledger.pay()
        broker = await self.servers.ask_broker()
        if database != broker:
            self.servers.proved("database" if database else "broker", Proof.CONNECTION)
        return database and broker

    def _look(self) -> scan.Look:
        """Return where to begin; a question that needs a certain answer, or a certain row, begins at 0."""
        if self.servers.probing_broker or (self._drain and self._idle):
            return scan.Look(self._sweep.at)
        if self._suspicious:
            return scan.Look(0)
        return scan.start(self._scan, idle=self._idle, now=self._chance.now(), rescan_s=self._policy.rescan_s)

    def _note(self, claim: Claim, look: scan.Look, *, began: float, quiet: bool) -> None:
        """Remember where the claim ended and how soon to claim again."""
        now, last_id = self._chance.now(), claim.rows[-1].id if claim.rows else None
        sight = scan.Sight(last_id, claim.more, claim.beyond, now - began)
        self._scan = scan.saw(self._scan, look, sight, now=now)
        self._sweep = scan.swept(self._sweep, look, sight, quiet=quiet, probing=self.servers.probing_broker)
        self._quiet = not (claim.more or claim.beyond) and (bool(claim.rows) or not self._scan.untidy)
        self._bell.came(len(claim.rows))
        self._suspicious = any(map(suspect, claim.rows))
        if claim.rows or not look.walks:  # that nothing is due below the mark makes nobody idle
            self._idle = not claim.rows
            late_s = max(0.0, began - self._next_at)  # of a steady beat nothing is lost by waking late
            took_s = sight.took_s + late_s
            rest_s = next_poll_s(self._poll_s, found=bool(claim.rows), took_s=took_s, policy=self._policy.poll)
            self._poll_s = 0.0 if claim.more or claim.beyond is not None else rest_s
        self._next_at = now + self._until_walk_s(self._poll_s)

    def _until_walk_s(self, seconds: float) -> float:
        """Return how long to rest, so many seconds at most: a walk below the mark may go on before."""
        return scan.rest_s(self._scan, seconds, now=self._chance.now())

    async def _carry(self, claim: Claim, *, after: asyncio.Event | None = None) -> TickReport:
        self._observer.in_flight(len(claim.rows))
        try:
            report = await Batch(claim, self._desk, self._suspects).carry(after=after)
        finally:
            self._observer.in_flight(-len(claim.rows))
        self._observer.ticked(report)
        return report

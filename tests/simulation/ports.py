"""What a relay of a simulation stands on: a process that may end at any await, and the two ports."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from uuid import UUID

from relay.broker.classify import Loss, unwritten
from relay.broker.within import pulse
from relay.envelope import ATTEMPT_HEADER
from relay.model import Answer, Envelope, Fault, Refusal, Refused, Row, Unreachable
from tests.doubles import MemoryStore
from tests.doubles.store import Moment
from tests.doubles.table import Table
from tests.simulation.broker import Broker, Fate
from tests.simulation.link import Channel, Link
from tests.simulation.witness import Witness

CONNECT_TIMEOUT_S = 5.0
PROOF_S = 5.0
"""As relay.store.postgres."""
NO_EXCHANGE = Refused(Refusal.NO_EXCHANGE, "no exchange")


class Killed(BaseException):
    """The process is no more; nothing it would still do is done."""


class Life:
    """Whether a process runs."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.killed = False
        """It did not end by itself."""
        self.was_frozen = False
        self._runs = asyncio.Event()
        self._runs.set()
        self.on_death: Callable[[], None] = lambda: None
        self._steps = 0
        self._then: Callable[[], object] | None = None

    @property
    def frozen(self) -> bool:
        """It is stopped, and may go on later."""
        return not self._runs.is_set()

    def die(self) -> None:
        """End at once, wherever it is."""
        if not self.dead:
            self.dead = self.killed = True
            self._runs.set()
            self.on_death()

    def freeze(self) -> None:
        """Stop."""
        self.was_frozen = True
        self._runs.clear()

    def thaw(self) -> None:
        """Go on."""
        self._runs.set()

    def after(self, steps: int, then: Callable[[], object]) -> None:
        """Let something happen to it so many steps from now: at any of its awaits, not at any time of its idle life."""
        self._steps, self._then = steps, then

    async def goes_on(self) -> None:
        """Pass only while the process runs; it may not for a while, or never again. Every await of the world asks."""
        if self._then is not None:
            self._steps -= 1
            if self._steps < 0:
                then, self._then = self._then, None
                then()
        await self._runs.wait()
        if self.dead:
            raise Killed


SCAN_IDS = 12
"""Few enough that a look at everything takes several claims."""


class SimulatedStore(MemoryStore):
    """A store whose statements take their time, and fail by chance."""

    def __init__(self, table: Table, life: Life, chance: random.Random, witness: Witness, *, way_s: float) -> None:
        super().__init__(asyncio.get_running_loop().time, table=table, scan_ids=SCAN_IDS)
        self.proof_s = PROOF_S
        self._life = life
        self._witness = witness
        self._chance = chance
        self._way_s = way_s
        self.trouble = 0.0
        """How often a statement, or its answer, is lost."""
        self.on_call = self._perhaps

    def _perhaps(self, op: str) -> None:
        if self._chance.random() < self.trouble:
            own = {"claim": [Moment.LATE], "settle": [Moment.HALFWAY]}.get(op, [])
            moment = self._chance.choice([Moment.BEFORE, Moment.AFTER, *own])
            self._witness.happened[f"{op} {moment.name.lower()}"] += 1
            self._faults[op].append(moment)

    def _take(self, token: UUID, limit: int, low: int) -> tuple[tuple[Row, ...], bool, int | None]:
        self._witness.holders[token] = self._life
        return super()._take(token, limit, low)

    async def _travel(self, seconds: float) -> None:
        await asyncio.sleep(seconds + self._chance.expovariate(1 / self._way_s))
        await self._life.goes_on()
        self._arrived()


class SimulatedPublisher:
    """Fills relay.ports.Publisher on the simulated broker, as the real one does: one connection, a channel a flight."""

    def __init__(self, broker: Broker, life: Life, witness: Witness, *, flush_s: float, patience_s: float) -> None:
        self.link: Link | None = None
        self._broker = broker
        self._life = life
        self._witness = witness
        self._flush_s = flush_s
        self._patience_s = patience_s
        self._opening = asyncio.Lock()

    @property
    def in_flight(self) -> int:
        """Messages written and not answered."""
        return sum(len(channel.waiting) for channel in self.link.channels) if self.link is not None else 0

    async def ready(self) -> Unreachable | None:
        """Open a connection, if there is one to be had."""
        loss = await self._connected()
        return None if loss is None else unwritten(loss)

    async def _connected(self) -> Loss | None:
        async with self._opening:
            await self._pass(2 * self._broker.some(self._broker.manners.way_s))
            link = self.link
            if link is not None and link.end is not None:
                self.link = None
                if isinstance(link.end, Loss) and link.end.fault is Fault.BLOCKED:
                    return link.end
            elif link is not None and not self._broker.stopped:
                return None
            if self._broker.stopped:
                await self._pass(CONNECT_TIMEOUT_S)
            if self._broker.stopped or self._broker.down is not None:
                return Loss(self._broker.down or Fault.TIMEOUT, "no connection")
            if self.link is None:
                self.link = self._broker.connect()
            return None

    async def _pass(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._life.goes_on()

    async def publish(self, envelopes: Sequence[Envelope]) -> AsyncGenerator[Sequence[Answer], None]:
        """Publish a batch; what a closed channel had not taken yet is tried again on the next one."""
        rows = [envelope.row_id for envelope in envelopes]
        if any(self._broker.fate(row_id, of=lambda fate: fate is Fate.KILLS) for row_id in rows):
            self._life.die()
        known = [row_id for row_id in rows if self._broker.fate(row_id, of=lambda fate: fate is Fate.NO_EXCHANGE)]
        yield [Answer(row_id, NO_EXCHANGE) for row_id in known]
        left = deque(envelope for envelope in envelopes if envelope.row_id not in known)
        while left:
            if self.link is None or self.link.end is not None:
                preparing = asyncio.ensure_future(self._connected())
                async with aclosing(pulse(preparing, self._flush_s)) as beats:
                    async for nothing in beats:
                        yield nothing
                if (loss := preparing.result()) is not None:
                    yield [Answer(envelope.row_id, unwritten(loss)) for envelope in left]
                    return
            if self.link is None or self.link.end is not None:
                continue
            channel = Channel(self.link, lone=len(envelopes) == 1)
            async with aclosing(self._fly(channel, left)) as flight:
                async for answers in flight:
                    self._witness.heard(self._life, answers)
                    yield answers
            if left and isinstance(channel.end, Loss):
                yield [Answer(envelope.row_id, unwritten(channel.end)) for envelope in left]
                return

    async def _fly(self, channel: Channel, left: deque[Envelope]) -> AsyncGenerator[Sequence[Answer], None]:
        loop, tag = asyncio.get_running_loop(), 0
        moved_at, room = loop.time(), self._broker.chance.choice((1, 7, 1000))
        try:
            while channel.end is None and (left or channel.waiting):
                for _ in range(min(room, len(left))):
                    tag, moved_at = tag + 1, loop.time()
                    self._write(channel, tag, left.popleft())
                await channel.news(self._broker.some(0.001) if left else self._flush_s)
                await self._life.goes_on()
                if loop.time() - max(moved_at, channel.heard_at) > self._patience_s:
                    channel.link.finish(Loss(Fault.TIMEOUT, "no confirm in time"))
                yield channel.take()
            if rest := channel.take():
                yield rest
        finally:
            channel.waiting.clear()
            channel.link.channels.remove(channel)

    def _write(self, channel: Channel, tag: int, envelope: Envelope) -> None:
        link = channel.link
        link.published = True
        link.arrives_at = max(link.arrives_at + 1e-6, link.loop.time() + self._broker.some(self._broker.manners.way_s))
        self._witness.wrote(self._life, envelope.row_id, repeated=ATTEMPT_HEADER in envelope.headers)
        channel.waiting[tag] = envelope.row_id
        link.loop.call_at(link.arrives_at, self._broker.take, channel, tag, envelope.row_id)

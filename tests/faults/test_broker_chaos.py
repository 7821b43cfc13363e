"""Lanes, poisons, cancellations and a bad network all at once: every row ends as it deserves, and none is lost."""

import asyncio
import random
import time
from collections import Counter
from contextlib import aclosing
from typing import Any

import pytest

from relay.broker import RabbitPublisher
from relay.model import Envelope, Outcome, Refusal
from services.broker import Broker
from services.proxy import Proxy
from tests.builders import Amqp
from tests.publishing import envelope, publishing, word

STORM_S = 6.0
LANES = 3
POISONS: tuple[tuple[dict[str, Any], Refusal], ...] = (
    ({"exchange": "missing"}, Refusal.NO_EXCHANGE),
    ({"routing_key": "nowhere"}, Refusal.UNROUTABLE),
    ({"headers": {"CC": "x"}}, Refusal.BLAMED),
    ({"headers": {"pad": "x" * 140_000}}, Refusal.INVALID),
)


class Storm:
    """Rows, what they deserve, and what they got."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.ends_at = time.monotonic() + STORM_S
        self.deserved: dict[int, str] = {}
        self.got: dict[int, str] = {}

    @property
    def over(self) -> bool:
        """The network is good again, and no new rows come."""
        return time.monotonic() >= self.ends_at

    def row(self) -> Envelope:
        """A new row, now and then a poison or a large one."""
        number = len(self.deserved) + 1
        if self.chance.random() < 0.02:
            fields, reason = self.chance.choice(POISONS)
            self.deserved[number] = reason
            return envelope(number, **fields)
        self.deserved[number] = "confirmed"
        return envelope(number, body=b"x" * self.chance.choice([0, 400, 400, 400, 200_000]))

    async def lane(self, publisher: RabbitPublisher) -> None:
        """Carry rows as the engine does: unknown ones again, alone; unreachable ones again."""
        together: dict[int, Envelope] = {}
        alone: dict[int, Envelope] = {}
        while not self.over or together or alone:
            if not alone and not self.over:
                together |= {
                    row.row_id: row for row in (self.row() for _ in range(self.chance.choice([1, 5, 50, 200])))
                }
            batch = [next(iter(alone.values()))] if alone else list(together.values())
            for row_id, outcome in (await self.publish(publisher, batch)).items():
                match word(outcome):
                    case "unreachable":
                        continue
                    case "unknown":
                        assert len(batch) > 1, "alone, it must be known"
                        alone[row_id] = together.pop(row_id)
                    case told:
                        together.pop(row_id, None)
                        alone.pop(row_id, None)
                        self.got[row_id] = told

    async def publish(self, publisher: RabbitPublisher, batch: list[Envelope]) -> dict[int, Outcome]:
        """Publish, and sometimes lose patience; the answers seen until then."""
        outcomes: dict[int, Outcome] = {}

        async def fly() -> None:
            async with aclosing(publisher.publish(batch)) as flight:
                async for answers in flight:
                    outcomes.update({answer.row_id: answer.outcome for answer in answers})

        task = asyncio.create_task(fly())
        impatient = self.chance.random() < 0.05 and not self.over
        await asyncio.wait({task}, timeout=self.chance.random() * 0.05 if impatient else None)
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()
        return outcomes

    async def rage(self, between: Proxy) -> None:
        """Harm the network until the storm is over."""
        while not self.over:
            await asyncio.sleep(self.chance.random() * 0.4)
            match self.chance.randrange(5):
                case 0:
                    between.reset_all()
                case 1:
                    between.cut_after(self.chance.randrange(1, 300_000), self.chance.choice(["up", "down"]))
                case 2:
                    between.hold(self.chance.choice(["up", "down"]))
                    await asyncio.sleep(self.chance.random())
                case 3:
                    between.blackhole()
                    await asyncio.sleep(self.chance.random())
                case _:
                    between.delay(0.01)
            await between.pass_all()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [1, 2])
async def test_every_row_ends_as_it_deserves(rabbitmq: Broker, amqp: Amqp, proxy: Any, seed: int) -> None:
    await amqp.queue("all")
    between: Proxy = await proxy(rabbitmq.host, rabbitmq.amqp_port)
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    storm = Storm(seed)
    timeouts = {"heartbeat_s": 1, "confirm_timeout_s": 1.0, "connect_timeout_s": 1.0, "exchange_ttl_s": 0.5}
    async with publishing(between.url(amqp.url), **timeouts) as publisher, asyncio.TaskGroup() as everybody:
        everybody.create_task(storm.rage(between))
        for _ in range(LANES):
            everybody.create_task(storm.lane(publisher))
    assert storm.got == storm.deserved
    arrived = Counter(int(str((each.headers or {})["x-outbox-id"])) for each in await amqp.drain("all"))
    assert set(arrived) == {number for number, told in storm.got.items() if told == "confirmed"}
    assert complaints == []

"""The story: steady flow, the broker gone, the relay killed at its busiest, and everything to its end."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from demo.frame import Mood
from demo.monitor import Monitor
from demo.processes import Broken
from demo.stage import IN_HAND_MAX, LEASE_S, Stage
from demo.vitals import Stethoscope, Vitals

FAULTS = 2
LOOK_S = 0.1
BUSY_LOOK_S = 0.004
BUSY_ROWS = 400
"""The relay is killed when it holds this many rows; at the shop's pace it holds a handful."""
BUSY_WAIT_S = 3.0
NOTICE_S = 30.0
RELAY_DOWN_S = 1.5
DRAIN_S = 60.0
QUIET_S = 3.0
"""When the relay has nothing left and nothing arrives for this long, nothing more will."""
LISTEN_S = 0.7
BROKER_DOWN_S = 6.0
"""From the first word of its stop until it is started again; the start takes some seconds more."""
FAULTS_S = 16.0
"""About what the faults take beside the lease: the broker's stop and start, the recovery, the end."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long things last, in seconds."""

    seconds: float
    rate: float
    withhold: int = 0
    """Number of a message the consumer throws away, to see the verdict turn red; 0 for none."""
    calm: bool = False
    """Nothing is broken on purpose."""

    @property
    def steady_s(self) -> float:
        """Flow before the first fault."""
        return self.seconds if self.calm else max(2.0, self.seconds - LEASE_S - FAULTS_S)

    @property
    def duplicates_max(self) -> int:
        """A lost connection and a killed relay may each repeat what was in flight; nothing else repeats anything."""
        return 0 if self.calm else FAULTS * IN_HAND_MAX


class Story:
    """Plays a plan on a stage; raises Broken when it cannot go on."""

    def __init__(self, stage: Stage, monitor: Monitor, plan: Plan) -> None:
        self._stage = stage
        self._monitor = monitor
        self._tell = monitor.tell
        self._plan = plan
        self._ears = Stethoscope(stage.port)
        self._lease_ends_at = 0.0
        self._leased_rows = 0

    async def play(self) -> None:
        """Play it to the end."""
        try:
            await self._steady()
            if not self._plan.calm:
                await self._stop_broker()
                await self._start_broker()
                await self._kill_relay()
                await self._replace_relay()
            await self._close_shop()
            await self._drain()
            await self._stop_relay()
            await self._listen_out()
        finally:
            await self._ears.close()

    async def _steady(self) -> None:
        await self._stage.start_shop(self._plan.rate)
        self._tell(
            f"The shop takes about {self._plan.rate:.0f} orders a second. One transaction writes the order and its"
            " outbox row; one in ten is rolled back. The relay carries the rows, the consumer receives them.",
            happening="Everything runs. Rows leave the outbox as fast as they are committed.",
        )
        await asyncio.sleep(self._plan.steady_s)

    async def _stop_broker(self) -> None:
        began_at = time.monotonic()
        self._monitor.broker = "stopping"
        self._tell(
            "RabbitMQ is stopped. Nobody tells the shop or the relay.",
            happening="RabbitMQ goes. The shop notices nothing: its rows wait in the table.",
            mood=Mood.NO_BROKER,
        )
        await asyncio.gather(self._stage.in_thread(self._stage.rabbitmq.stop), self._notice())
        self._monitor.broker = "stopped"
        await asyncio.sleep(began_at + BROKER_DOWN_S - time.monotonic())

    async def _notice(self) -> None:
        """Wait until the relay knows."""
        vitals = await self._until(lambda seen: seen.outage is not None and not seen.in_hand, "notice the outage")
        self._tell(
            f"The relay has noticed ({vitals.outage}): it has {vitals.in_hand} rows in its hands, and takes none until"
            " RabbitMQ has confirmed one. No row loses an attempt.",
            happening="RabbitMQ is gone. The relay holds nothing: every row is safe in the table, and they pile up.",
        )

    async def _start_broker(self) -> None:
        self._monitor.broker = "starting"
        self._tell(
            f"RabbitMQ is started again; {self._stage.history.waiting:,} rows wait by now.",
            happening="RabbitMQ starts. The relay probes it once a second, with one real row.",
        )
        before = await self._until(lambda _: True, "answer")
        await self._stage.in_thread(self._stage.rabbitmq.start)
        self._monitor.broker = "up"
        await self._until(lambda seen: seen.confirmed > before.confirmed, "recover", every_s=BUSY_LOOK_S)

    async def _kill_relay(self) -> None:
        relay = self._stage.relay
        assert relay is not None
        waiting = self._stage.history.waiting
        busy = min(BUSY_ROWS, waiting // 4)
        deadline = time.monotonic() + BUSY_WAIT_S
        while time.monotonic() < deadline:
            vitals = await self._ears.look()
            if vitals is not None and vitals.in_hand >= busy:
                break
            await asyncio.sleep(BUSY_LOOK_S)
        await relay.kill()
        leased = await asyncio.to_thread(self._stage.leased)
        self._lease_ends_at = time.monotonic() + leased.seconds
        self._tell(
            f"The relay has found RabbitMQ by itself and begins to work off {waiting:,} rows: kill -9, right now,"
            f" with {leased.rows:,} rows in its hands.",
            happening="The relay is dead. Rows it had taken stay leased to it; the shop goes on.",
            mood=Mood.NO_RELAY,
        )
        self._leased_rows = leased.rows
        await asyncio.sleep(RELAY_DOWN_S)

    async def _replace_relay(self) -> None:
        await self._stage.start_relay()
        await self._until(lambda seen: seen.confirmed > 0, "carry rows")
        rows = f"{self._leased_rows:,} rows"
        self._tell(
            f"A new relay takes everything but the {rows} of the dead one. It cannot know that the other is dead, so"
            f" it waits for the end of the lease, {LEASE_S} s after they were taken.",
            happening=f"Fresh rows flow. The {rows} are leased to a relay that is dead;",
            deadline=self._lease_ends_at,
        )

    async def _close_shop(self) -> None:
        """Keep the shop open until a dead relay's lease is nearly over."""
        await asyncio.sleep(self._lease_ends_at - 1.0 - time.monotonic())
        assert self._stage.shop is not None
        code = await self._stage.shop.terminate()
        if code != 0:
            raise Broken(f"The shop ended with exit code {code}.")
        self._tell(
            "The shop closes. What is committed is committed; now all of it must arrive.",
            happening="The last rows drain.",
        )

    async def _drain(self) -> None:
        """Wait until the relay's backlog is empty and all has arrived, or nothing arrives any more."""
        history, closed_at = self._stage.history, time.time()
        repeats = len(history.arrivals) - history.delivered
        deadline = time.monotonic() + max(0.0, self._lease_ends_at - time.monotonic()) + DRAIN_S
        quiet_since, seen = time.monotonic(), -1
        while True:
            vitals = await self._ears.look()
            empty = vitals is not None and vitals.sampled_at > closed_at and not vitals.backlog
            if len(history.arrivals) != seen or not empty:
                quiet_since, seen = time.monotonic(), len(history.arrivals)
            if empty and (not history.waiting or time.monotonic() - quiet_since > QUIET_S):
                break
            if time.monotonic() > deadline:
                backlog = "unknown" if vitals is None else f"{vitals.backlog:,} rows"
                raise Broken(f"The outbox did not drain within {DRAIN_S:.0f} s; the relay's backlog is {backlog}.")
            await asyncio.sleep(LOOK_S)
        await self._quiet()
        self._tell(self._emptied(len(history.arrivals) - history.delivered - repeats), happening="", mood=Mood.GOOD)

    def _emptied(self, repeats: int) -> str:
        if not self._leased_rows:
            return "The outbox is empty."
        return (
            f"The outbox is empty. The lease ended and the {self._leased_rows:,} rows of the dead relay were sent:"
            f" {repeats:,} had arrived before, and came a second time."
        )

    async def _stop_relay(self) -> None:
        relay = self._stage.relay
        assert relay is not None
        began_at = time.monotonic()
        code = await relay.terminate()
        took_s = time.monotonic() - began_at
        self._tell(f"SIGTERM: the relay ended in {took_s:.1f} s with exit code {code}.", happening="")
        if code != 0:
            raise Broken(f"The relay ended its SIGTERM with exit code {code} instead of 0.\n{relay.tail()}")

    async def _listen_out(self) -> None:
        """Give a copy too many the time to arrive, so that it is counted, and let the consumer go home."""
        await self._quiet()
        assert self._stage.consumer is not None
        await self._stage.consumer.terminate()
        self._stage.history.read()

    async def _quiet(self) -> None:
        """Wait until nothing has arrived for a moment."""
        arrivals, seen = self._stage.history.arrivals, -1
        while len(arrivals) != seen:
            seen = len(arrivals)
            await asyncio.sleep(LISTEN_S)

    async def _until(self, true: Callable[[Vitals], bool], what: str, *, every_s: float = LOOK_S) -> Vitals:
        """Ask the relay until something is true; return what it said then."""
        deadline = time.monotonic() + NOTICE_S
        while True:
            vitals = await self._ears.look()
            if vitals is not None and true(vitals):
                return vitals
            if time.monotonic() > deadline:
                relay = self._stage.relay
                raise Broken(f"The relay did not {what} within {NOTICE_S:.0f} s.\n{relay.tail() if relay else ''}")
            await asyncio.sleep(every_s)

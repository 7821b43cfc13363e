"""One run from its first row to its verdict."""

import asyncio
import json
import os
import platform
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chaos import fates
from chaos.history import RelayEvent, Run
from chaos.keeper import Keeper
from chaos.nemesis import Nemesis
from chaos.replicas import IN_FLIGHT_MAX
from chaos.schedule import LEASE_S, QUIET_S, RELAYS, Stroke
from chaos.soak import Soak
from chaos.stage import Stage
from demo.processes import Broken
from relay import __version__

LOOK_S = 0.2
RECOVERY_MAX_S = 90.0
"""From the last fault to the empty backlog: a lease of 23 s, and a row with a bad end has up to 40 s of retries."""
RETRIES_S = 40.0
STALL_MAX_S = 20.0
"""With order per key a lease longer: what a dead relay has in hand holds its keys, which may be all there are."""
PENDING = "SELECT count(*) FROM outbox.message WHERE status = 'pending'"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run."""

    seed: int
    minutes: float
    schedule: Sequence[Stroke]
    rate: float = 300.0
    producers: int = 4
    relays: int = RELAYS
    ordered: bool = False
    """With order per key."""

    @property
    def poison_s(self) -> float:
        """Rows with a bad end come until then: the last of them shall have met it when the run ends.

        With order only for a third of the run: while they wait for a retry no relay passes anything by, and what it may
        pass by shall be tried, too.
        """
        if self.ordered:
            return self.minutes * 20
        return max(self.minutes * 30, self.minutes * 60 - QUIET_S - RETRIES_S)


async def play(stage: Stage, plan: Plan, tell: Callable[[str], None]) -> int:
    """Run it; the history is then complete. Return how many asynchronous commits the crashes of Postgres erased.

    Raises Broken when something ended, or hangs, that no fault explains.
    """
    nemesis, keeper, soak = Nemesis(stage, plan.schedule, tell), Keeper(stage), Soak(stage)
    began = time.time()
    await stage.start_producers()
    beside = [asyncio.create_task(each.run()) for each in (keeper, soak)]
    try:
        await _watched(stage, nemesis.run(), beside)
        await stage.stop_producers()
        emptied = await _watched(stage, _emptied(stage), beside)
    finally:
        for each in beside:
            each.cancel()
        await asyncio.wait(beside)
    await stage.replicas.terminate()
    await stage.finish_drain()
    await keeper.write_down()
    erased = await fates.resolve(stage)
    _write_events(stage)
    stage.log.add(
        Run(
            seed=plan.seed,
            began=began,
            ended=time.time(),
            replicas=plan.relays,
            in_flight_max=IN_FLIGHT_MAX,
            ordered=plan.ordered,
            emptied=emptied,
            recovery_max_s=RECOVERY_MAX_S,
            stall_max_s=STALL_MAX_S + LEASE_S * plan.ordered,
            versions=await versions(stage),
        )
    )
    return erased


async def _watched(
    stage: Stage, work: Coroutine[Any, Any, float | None], beside: Sequence[asyncio.Task[None]]
) -> float | None:
    """Do it while everything else lives. Raises Broken when something ends that should not."""
    task = asyncio.create_task(work)
    try:
        while not task.done():
            stage.check()
            for each in beside:
                if each.done():
                    each.result()
            await asyncio.wait({task}, timeout=LOOK_S)
        return task.result()
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _emptied(stage: Stage) -> float | None:
    """Wait until no row is pending; when that was, or None when it does not come to that in time."""
    ends_at = time.monotonic() + RECOVERY_MAX_S + LEASE_S
    while time.monotonic() < ends_at:
        if await stage.ask(PENDING) == [(0,)]:
            return time.time()
        await asyncio.sleep(LOOK_S)
    return None


def _write_events(stage: Stage) -> None:
    """Take the relays' logs into the history. Raises Broken for a line that is none of its events."""
    for replica in stage.replicas:
        with replica.log.open(encoding="utf-8") as lines:
            for line in lines:
                stage.log.add(_event(replica.name, line))


def _event(replica: str, line: str) -> RelayEvent:
    try:
        fields = json.loads(line)
        at = datetime.fromisoformat(fields.pop("timestamp")).timestamp()
        return RelayEvent(replica, fields.pop("event"), at, fields)
    except (ValueError, KeyError):
        raise Broken(f"Relay {replica} wrote what is no line of its log: {line.strip()[:300]}") from None


async def versions(stage: Stage) -> dict[str, str]:
    """Name everything that took part."""
    about: Any = await stage.in_thread(lambda: stage.rabbitmq.api("GET", "/api/overview"))
    ((server,),) = await stage.ask("SHOW server_version")
    return {
        "relay": __version__,
        "Postgres": server,
        "RabbitMQ": about["rabbitmq_version"],
        "Erlang": about["erlang_version"],
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }

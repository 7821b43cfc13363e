"""`relay run`: open, wire, turn the loop, close in order."""

import asyncio
import gc
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from relay import __version__, log
from relay.app.samples import Sample, keep
from relay.app.signals import DONE, FAILED, supervise
from relay.app.wire import doorbell_of, policy_of, publisher_of, store_of
from relay.engine import Engine
from relay.observe import Observatory
from relay.settings import Settings, effective
from relay.store import PostgresStore
from relay.web import Pages, Web

CLOSE_S = 3.0
"""How long each server gets for a goodbye."""


async def run(settings: Settings, *, drain: bool = False) -> int:
    """Relay until a signal, or with `drain` until no row is due; return the exit code.

    Starts with either server down and recovers by itself; never raises for a server's sake.
    """
    log.configure(level=settings.log_level, form=settings.log_format)
    seen = Observatory(version=__version__, name=settings.name, config=settings.numbers(), redact=log.redact)
    shown = effective(settings)
    seen.tell("relay.starting", version=__version__, settings=shown)
    store, publisher = store_of(settings, seen.db), publisher_of(settings)
    seen.watch_broker(publisher)
    bell = doorbell_of(settings, store, seen)
    seen.watch_bell(lambda: bell.held)
    engine = Engine(store, publisher, seen, policy_of(settings), waker=bell)
    async with AsyncExitStack() as stack:
        await store.open()
        stack.push_async_callback(store.close)
        stack.push_async_callback(bell.close)
        stack.push_async_callback(publisher.close, CLOSE_S)
        pages = _pages(seen, shown if settings.status_page else None)
        await stack.enter_async_context(Web(pages, host=settings.http_host, port=settings.http_port, tell=seen.tell))
        sampler = asyncio.create_task(keep(*_samples(store, seen, settings)), name="sampler")
        stack.push_async_callback(_end, sampler)
        # What stands now lives as long as the process: the collector need not walk it with every batch.
        gc.collect()
        gc.freeze()
        seen.tell("relay.started", lanes=settings.lanes, drain=drain)
        try:
            grace_s = settings.shutdown_grace_seconds
            code = await supervise(engine, sampler, seen.tell, grace_s=grace_s, drain=drain)
        except Exception as error:  # noqa: BLE001 -- ours to blame: told as one line of the log, then the process ends
            seen.tell("relay.crashed", exc_info=error)
            code = FAILED
    if code == DONE:
        seen.tell("relay.stopped")
    return code


def _pages(seen: Observatory, config: Mapping[str, str] | None) -> Pages:
    """Return what is served; without a configuration to show neither that nor the page for people."""

    def status() -> dict[str, Any]:
        return seen.status() | {"config": config}

    return Pages(seen.live, seen.ready, status, seen.metrics, for_people=config is not None)


def _samples(store: PostgresStore, seen: Observatory, settings: Settings) -> tuple[Sample, ...]:
    async def backlog() -> None:
        seen.sampled(await store.backlog())

    async def health() -> None:
        seen.health_sampled(await store.health())

    return (
        Sample(backlog, seen.sample_failed, settings.backlog_sample_seconds),
        Sample(health, seen.health_failed, settings.health_sample_seconds),
    )


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})

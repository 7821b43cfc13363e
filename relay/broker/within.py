"""Run the library's coroutines for a limited time, or while telling now and then that we still live."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns; raise what it raises, or TimeoutError when it has not ended in time.

    It runs as a task of its own, for two reasons. The library ends pending calls with CancelledError when it gives a
    connection up: that is an outcome (raised here as ConnectionAbortedError), and must not look like a cancellation
    of the caller. And work that ignores its own cancellation, waiting for a dead peer, must not hold the caller.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(_retrieve)
    if not task.done():
        raise TimeoutError
    if task.cancelled():
        raise ConnectionAbortedError("the connection was given up")
    return task.result()


async def pulse(task: asyncio.Future[Any], every_s: float) -> AsyncGenerator[tuple[()], None]:
    """Yield nothing, every so many seconds, until the task is done; closed early, cancel it."""
    try:
        while not (await asyncio.wait({task}, timeout=every_s))[0]:
            yield ()
    finally:
        task.cancel()


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Look at the result nobody waits for, or asyncio would complain that nobody did."""
    if not task.cancelled():
        task.exception()

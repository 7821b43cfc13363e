"""What every way to make a fault needs: to be tried until it succeeds."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import psycopg

from chaos import drain
from chaos.stage import Stage
from demo.processes import Broken
from services.process import ServerFailed

PERSIST_S = 180.0
AGAIN_S = 0.5
TROUBLE = (OSError, ServerFailed, subprocess.TimeoutExpired, psycopg.OperationalError, *drain.GONE)

Hurt = Callable[[Stage, str], AbstractAsyncContextManager[None]]
"""Makes a fault for as long as it is open, to the target of that name."""


async def persist(work: Callable[[], Awaitable[object]]) -> None:
    """Do it again until it succeeds: another fault may have the server. Raises Broken when it never does."""
    try:
        async with asyncio.timeout(PERSIST_S):
            while True:
                try:
                    await drain.ours(work())
                except TROUBLE:
                    await asyncio.sleep(AGAIN_S)
                else:
                    return
    except TimeoutError:
        raise Broken(f"A step of a fault did not succeed within {PERSIST_S:g} s.") from None


async def in_thread(stage: Stage, work: Callable[[], object]) -> None:
    """Do blocking work on a server until it succeeds."""
    await persist(lambda: stage.in_thread(work))

"""Harm to the relays themselves."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chaos.stage import Stage
from demo.processes import Broken

HELD = '"relay.gave_up"'
"""The last word of a relay whose grace was over while a server did not answer: another fault's doing."""


@asynccontextmanager
async def relay_kill(stage: Stage, target: str) -> AsyncIterator[None]:
    """SIGKILL, and another one a little later."""
    (replica,) = stage.replicas.of(target)
    await replica.kill()
    try:
        yield
    finally:
        await replica.start(stage.relay_url)


@asynccontextmanager
async def relay_term(stage: Stage, target: str) -> AsyncIterator[None]:
    """SIGTERM is no fault: the relay must end with exit code 0, unless another fault holds it, and repeat nothing."""
    (replica,) = stage.replicas.of(target)
    code = await replica.terminate()
    if code and HELD not in replica.tail():
        raise Broken(f"Relay {target} ended its SIGTERM with exit code {code}.\n{replica.tail()}")
    try:
        yield
    finally:
        await replica.start(stage.relay_url)


@asynccontextmanager
async def relay_pause(stage: Stage, target: str) -> AsyncIterator[None]:
    """SIGSTOP for longer than its leases last: others take its rows, and it knows nothing of it."""
    (replica,) = stage.replicas.of(target)
    replica.send(signal.SIGSTOP)
    try:
        yield
    finally:
        replica.send(signal.SIGCONT)

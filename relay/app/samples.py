"""The samples of a running relay: the backlog and the table's health, each on a timer of its own."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from relay.model import Fault
from relay.ports import StoreUnavailable


@dataclass(slots=True)
class Sample:
    """One kind of sample, and when it is due."""

    take: Callable[[], Awaitable[None]]
    failed: Callable[[Fault], None]
    every_s: float
    due_at: float = float("-inf")


async def keep(*samples: Sample) -> None:
    """Take each when it is due, for ever, one after the other: they have one connection between them.

    Replicas spread, so that their samples do not come at once.
    """
    now = asyncio.get_running_loop().time
    while True:
        sample = min(samples, key=lambda each: each.due_at)
        await asyncio.sleep(sample.due_at - now())
        try:
            await sample.take()
        except StoreUnavailable as error:
            sample.failed(error.fault)
        sample.due_at = now() + sample.every_s * (0.9 + 0.2 * random.random())  # noqa: S311 -- no secret

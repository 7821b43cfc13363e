"""Who may have messages in flight: batches beside each other, or one message with nothing beside it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Air:
    """Lanes may share one connection, so a message is alone in flight only when no lane has another.

    Only then does a closed channel or connection blame it: were two suspects in flight at once, on two lanes, none
    would ever be.
    """

    def __init__(self) -> None:
        self._gate = asyncio.Lock()
        self._flights = 0
        self._clear = asyncio.Event()
        self._clear.set()

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Fly beside others; waits while a message is alone in flight, or about to be."""
        async with self._gate:
            self._flights += 1
            self._clear.clear()
        try:
            yield
        finally:
            self._flights -= 1
            if not self._flights:
                self._clear.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Fly alone; waits for those in flight, and lets no other begin."""
        async with self._gate:
            await self._clear.wait()
            yield

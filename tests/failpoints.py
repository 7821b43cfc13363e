"""A relay that dies at a chosen point: the real engine between the real servers, one port wrapped.

`python -m tests.failpoints POINT`, with the environment of `relay run`. It ends itself with SIGKILL.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from uuid import UUID

import psycopg

from relay.app.wire import policy_of, publisher_of, store_of
from relay.engine import Engine
from relay.model import Answer, Claim, Envelope, Mark, Unreachable
from relay.ports import Publisher, Store
from relay.settings import load
from tests.doubles import RecordingObserver

HELD = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
"""A statement of the relay is held up by a trigger of the test."""


def die() -> None:
    """End this process as the kernel would."""
    os.kill(os.getpid(), signal.SIGKILL)


class WrappedStore:
    """Passes everything on."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def ready(self) -> None:
        """Pass on."""
        await self._store.ready()

    async def claim(self, *, limit: int, low: int) -> Claim:
        """Pass on."""
        return await self._store.claim(limit=limit, low=low)

    async def renew(self, token: UUID, row_ids: Sequence[int]) -> frozenset[int]:
        """Pass on."""
        return await self._store.renew(token, row_ids)

    async def settle(self, token: UUID, marks: Sequence[Mark]) -> frozenset[int]:
        """Pass on."""
        return await self._store.settle(token, marks)


class DiesWithAClaim(WrappedStore):
    """Dies when rows are claimed and none is published."""

    async def claim(self, *, limit: int, low: int) -> Claim:
        """Claim; with rows, die."""
        claim = await super().claim(limit=limit, low=low)
        if claim.rows:
            die()
        return claim


class DiesWhileItMarks(WrappedStore):
    """Dies when the database holds a mark that it has not answered."""

    async def settle(self, token: UUID, marks: Sequence[Mark]) -> frozenset[int]:
        """Send the marks, and die as soon as the database is in the midst of them."""
        marking = asyncio.create_task(super().settle(token, marks))
        async with await psycopg.AsyncConnection.connect(os.environ["RELAY_DATABASE_URL"], autocommit=True) as watch:
            while not marking.done():
                if await (await watch.execute(HELD)).fetchone():
                    die()
                await asyncio.sleep(0.01)
        return await marking


class DiesBehindItsMark(WrappedStore):
    """Dies when the marks are written and the engine does not know yet."""

    async def settle(self, token: UUID, marks: Sequence[Mark]) -> frozenset[int]:
        """Settle, and die."""
        lost = await super().settle(token, marks)
        die()
        return lost


class WrappedPublisher:
    """Passes everything on."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def ready(self) -> Unreachable | None:
        """Pass on."""
        return await self._publisher.ready()

    async def publish(self, envelopes: Sequence[Envelope]) -> AsyncGenerator[Sequence[Answer], None]:
        """Pass on."""
        async with aclosing(self._publisher.publish(envelopes)) as flight:
            async for answers in flight:
                self.saw(envelopes, answers)
                yield answers

    def saw(self, envelopes: Sequence[Envelope], answers: Sequence[Answer]) -> None:
        """Look at what comes."""


class DiesInTheMidstOfAWrite(WrappedPublisher):
    """Dies when the first part of a batch was handed to the socket."""

    def saw(self, envelopes: Sequence[Envelope], answers: Sequence[Answer]) -> None:
        """Die at the first sign of a flight."""
        del envelopes, answers
        die()


class DiesBehindTheLastConfirm(WrappedPublisher):
    """Dies when all of a batch is confirmed and nothing is marked."""

    async def publish(self, envelopes: Sequence[Envelope]) -> AsyncGenerator[Sequence[Answer], None]:
        """Keep the answers until all are there, and die."""
        kept: list[Answer] = []
        async for answers in super().publish(envelopes):
            kept += answers
            yield ()
        die()
        yield kept


STORES: Mapping[str, Callable[[Store], Store]] = {
    "claimed": DiesWithAClaim,
    "marking": DiesWhileItMarks,
    "marked": DiesBehindItsMark,
}
PUBLISHERS: Mapping[str, Callable[[Publisher], Publisher]] = {
    "writing": DiesInTheMidstOfAWrite,
    "confirmed": DiesBehindTheLastConfirm,
}


async def run(point: str) -> None:
    """Relay until the point is reached."""
    settings = load()
    store, publisher = store_of(settings), publisher_of(settings)
    await store.open()
    wrapped = STORES.get(point, WrappedStore)(store), PUBLISHERS.get(point, WrappedPublisher)(publisher)
    await Engine(*wrapped, RecordingObserver(time.monotonic), policy_of(settings)).run()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))

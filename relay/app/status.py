"""`relay status`: the table's backlog, and both servers as seen from here."""

import asyncio
import time
from dataclasses import asdict, dataclass
from typing import Any

from relay.app.wire import command_store_of, publisher_of
from relay.model import Backlog, Fault, Health
from relay.observe import telling
from relay.ports import StoreUnavailable
from relay.settings import Settings

CLOSE_S = 2.0


@dataclass(frozen=True, slots=True)
class Server:
    """One server, asked once."""

    reachable: bool
    latency_seconds: float | None = None
    reason: Fault | None = None
    """Why it cannot be reached, or why the table cannot be read."""
    detail: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        latency_s = self.latency_seconds
        return asdict(self) | {"latency_seconds": None if latency_s is None else round(latency_s, 6)}


@dataclass(frozen=True, slots=True)
class Status:
    """What was seen; `backlog` and `health` are None when they could not be had."""

    database: Server
    broker: Server
    backlog: Backlog | None
    health: Health | None

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON; every key is always there, and the samples are spelled as on the relay's own page."""
        return {"database": self.database.as_dict(), "broker": self.broker.as_dict()} | telling.samples(
            self.backlog, self.health
        )


async def status(settings: Settings) -> Status:
    """Count the backlog, look at the table, ask both servers once; never raises for a server's sake."""
    (database, backlog, health), broker = await asyncio.gather(_database(settings), _broker(settings))
    return Status(database, broker, backlog, health)


async def _database(settings: Settings) -> tuple[Server, Backlog | None, Health | None]:
    store = command_store_of(settings)
    await store.open()
    latency_s: float | None = None
    backlog: Backlog | None = None
    try:
        await store.facts()  # on a connection of its own, which tells at once why there is none
        latency_s = await store.ping()
        backlog = await store.backlog()
        health = await store.health()
    except StoreUnavailable as error:
        return Server(latency_s is not None, latency_s, error.fault, error.detail), backlog, None
    finally:
        await store.close()
    return Server(reachable=True, latency_seconds=latency_s), backlog, health


async def _broker(settings: Settings) -> Server:
    publisher = publisher_of(settings)
    try:
        began = time.monotonic()
        lost = await publisher.ready()
        if lost is not None:
            return Server(reachable=False, reason=lost.fault, detail=lost.detail)
        latency_s = publisher.latency_s
        return Server(reachable=True, latency_seconds=time.monotonic() - began if latency_s is None else latency_s)
    finally:
        await publisher.close(CLOSE_S)

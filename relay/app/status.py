"""`relay status`: the table's backlog, both servers as seen from here, and the relay on this host."""

import asyncio
import json
import urllib.request
from dataclasses import asdict, dataclass
from typing import Any

from relay.app.wire import publisher_of, store_of
from relay.model import Backlog
from relay.ports import StoreUnavailable
from relay.settings import Settings

LOCAL_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Status:
    """What was seen."""

    backlog: Backlog | None
    database: str
    broker: str
    relay: str
    reachable: bool

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


async def status(settings: Settings) -> Status:
    """Look at the table and ask both servers once; never raises for a server's sake."""
    (backlog, database), broker, relay = await asyncio.gather(
        _database(settings), _broker(settings), asyncio.to_thread(_local, settings.http_port)
    )
    return Status(backlog, database, broker or "reachable", relay, reachable=backlog is not None and broker is None)


async def _database(settings: Settings) -> tuple[Backlog | None, str]:
    store = store_of(settings)
    await store.open()
    try:
        latency_s = await store.ping()
        return await store.backlog(), f"reachable in {latency_s * 1000:.1f} ms"
    except StoreUnavailable as error:
        return None, str(error)
    finally:
        await store.close()


async def _broker(settings: Settings) -> str | None:
    publisher = publisher_of(settings)
    try:
        lost = await publisher.ready()
        return None if lost is None else f"{lost.fault}: {lost.detail}"
    finally:
        await publisher.close(LOCAL_TIMEOUT_S)


def _local(port: int) -> str:
    """Ask the relay on this host, if there is one, for the state it is in."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=LOCAL_TIMEOUT_S) as answer:
            told = json.load(answer)
    except (OSError, ValueError):
        return f"none answers on port {port} of this host"
    sides = ", ".join(f"{side} {told[side]['state']}" for side in ("broker", "database"))
    return f"{told['name']} {told['version']}, up {told['uptime_seconds']:.0f} s: {sides}"

"""The relays under test: real `relay run` processes, each behind two proxies of its own, started again when killed."""

import asyncio
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from chaos.drafts import EXCHANGE, MESSAGE_BYTES_MAX
from chaos.schedule import EVERY, LEASE_S, names
from demo.processes import Broken, Child
from services.process import free_port
from services.proxy import Proxy

RELAY = Path(sys.executable).with_name("relay")
LANES, BATCH_SIZE = 2, 100
IN_FLIGHT_MAX = LANES * BATCH_SIZE
GRACE_S = 12.0
SETTINGS: Mapping[str, object] = {
    "EXCHANGE": EXCHANGE,
    "HTTP_HOST": "127.0.0.1",
    "LANES": LANES,
    "BATCH_SIZE": BATCH_SIZE,
    "MAX_MESSAGE_BYTES": MESSAGE_BYTES_MAX,
    "LEASE_SECONDS": LEASE_S,
    "CONFIRM_TIMEOUT_SECONDS": 3,
    "SHUTDOWN_GRACE_SECONDS": GRACE_S,
    "HEARTBEAT_SECONDS": 5,
    "OUTAGE_SLEEP_SECONDS": 1,
    "POLL_MIN_SECONDS": 0.05,
    "RESCAN_SECONDS": 1,
    "MAX_FAILURES": 10,
    "RETRY_BASE_SECONDS": 0.5,
    "RETRY_MAX_SECONDS": 6,
}
"""Short leases and timeouts, so that every way out of a fault is taken. A row is given up after 19 s of refusals on
average; the faults that make the broker refuse are over by then."""


def settings(*, ordered: bool) -> dict[str, object]:
    """Return what all relays of a run are given."""
    return {**SETTINGS, "ORDERING": "key" if ordered else "none"}


async def link(host: str, port: int) -> Proxy:
    """Stand between; on a port that no outgoing connection may take while the link refuses."""
    proxy = Proxy(host, port)
    proxy.port = free_port()
    return await proxy.start()


@dataclass(slots=True)
class Replica:
    """One relay, its links to both servers, and its process while there is one."""

    name: str
    folder: Path
    amqp: Proxy
    postgres: Proxy
    port: int
    ordered: bool
    child: Child | None = None
    starts: int = 0

    @property
    def log(self) -> Path:
        """All it ever said, over all its processes."""
        return self.folder / f"relay-{self.name}.log"

    @property
    def amqp_file(self) -> Path:
        """The secret file with its broker's URL."""
        return self.folder / f"relay-{self.name}.amqp"

    async def start(self, database_url: str) -> None:
        """Start `relay run`; whether the servers are there is its own concern."""
        given = settings(ordered=self.ordered) | {
            "DATABASE_URL": self.postgres.url(database_url),
            "AMQP_URL_FILE": self.amqp_file,
            "HTTP_PORT": self.port,
            "NAME": f"chaos-{self.name}",
        }
        env = {f"RELAY_{name}": str(value) for name, value in given.items()}
        self.child = await Child.start(f"relay {self.name}", (str(RELAY), "run"), env, self.log)
        self.starts += 1

    async def kill(self) -> None:
        """End it with SIGKILL."""
        if self.child is not None:
            await self.child.kill()

    async def terminate(self) -> int:
        """End it with SIGTERM and return its exit code. Raises Broken when it takes longer than its grace."""
        assert self.child is not None
        self.child.send(signal.SIGCONT)
        return await self.child.terminate()

    def send(self, number: signal.Signals) -> None:
        """Send it SIGSTOP or SIGCONT."""
        if self.child is not None:
            self.child.send(number)

    def tail(self) -> str:
        """Return the end of what it wrote."""
        return "" if self.child is None else self.child.tail()

    def check(self) -> None:
        """Raise Broken when it ended and nobody ended it."""
        if self.child is not None:
            self.child.check()

    async def close(self) -> None:
        """Leave nothing behind."""
        await self.kill()
        for proxy in (self.amqp, self.postgres):
            await proxy.close()


class Replicas:
    """All of them."""

    def __init__(self, all_: Sequence[Replica]) -> None:
        self._all = all_

    @classmethod
    async def make(
        cls, folder: Path, amqp: tuple[str, int], database_url: str, *, relays: int, ordered: bool
    ) -> "Replicas":
        """Make so many with their proxies; no process yet."""
        info = psycopg.conninfo.conninfo_to_dict(database_url)
        postgres = (str(info["host"]), int(str(info["port"])))
        return cls(
            [
                Replica(name, folder, await link(*amqp), await link(*postgres), free_port(), ordered)
                for name in names(relays)
            ]
        )

    def __iter__(self) -> Iterator[Replica]:
        return iter(self._all)

    def of(self, target: str) -> Sequence[Replica]:
        """Return those a fault strikes: one by its name, or every one."""
        return [each for each in self._all if target in (each.name, EVERY)]

    def login(self, amqp_url: str) -> None:
        """Write the broker's URL, with the password of the hour, into the secret files."""
        for each in self._all:
            fresh = each.amqp_file.with_suffix(".new")
            fresh.write_text(each.amqp.url(amqp_url) + "\n")
            fresh.rename(each.amqp_file)

    def check(self) -> None:
        """Raise Broken when one ended that nobody ended."""
        for each in self._all:
            each.check()

    async def terminate(self) -> None:
        """End all of them in order. Raises Broken when one does not end with exit code 0."""
        codes = await asyncio.gather(*(each.terminate() for each in self._all))
        for each, code in zip(self._all, codes, strict=True):
            if code:
                raise Broken(f"Relay {each.name} ended its SIGTERM with exit code {code}.\n{each.tail()}")

    async def close(self) -> None:
        """Leave nothing behind."""
        for each in self._all:
            await each.close()

"""Builds the image and runs it as the README says, between real servers, and judges: `make prove-image`.

Needs root on Debian, and no engine. The base is made once and kept in .services; everything else is removed.
"""

import asyncio
import gzip
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aio_pika

from relay import __version__
from services import find
from services.broker import Broker
from services.oci import HARDENED, Container, Failed, Storage
from services.postgres import PostgresServer
from services.process import ServerFailed, free_port
from services.rabbitmq4 import NotFetched

ROOT = Path(__file__).parents[1]
PLACE = ROOT / ".services" / "image"
ARCHIVE = ROOT / ".services" / "python-base.tar"
BASE, IMAGE = "localhost/python-base", "localhost/outbox-relay:proof"
ROWS = 20_000
GRACE_S = 35
WAIT_S = 60.0
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Stage:
    """The servers, and the environment of a relay between them."""

    postgres: PostgresServer
    amqp_url: str
    port: int = field(default_factory=free_port)

    def env(self, user: str | None = "relay") -> dict[str, str]:
        """The relay's environment; the owner's when no user is named."""
        url = self.postgres.url("shop") if user is None else self.postgres.url("shop", user, "made-for-a-proof")
        return {
            "RELAY_DATABASE_URL": url,
            "RELAY_AMQP_URL": self.amqp_url,
            "RELAY_EXCHANGE": "orders",
            "RELAY_HTTP_PORT": str(self.port),
            "RELAY_HTTP_HOST": "127.0.0.1",
        }


def told(what: str, seen: object, *, good: bool) -> bool:
    """Tell one thing that was looked at."""
    print(f"  {'✓' if good else '✗'} {what:<42} {seen}", flush=True)
    return good


def refused(act: Callable[[], object]) -> bool:
    """Whether an act is not allowed."""
    try:
        act()
    except Failed:
        return True
    return False


def built(storage: Storage) -> Iterator[bool]:
    """Build it, and look at what came out."""
    revision = _output("git", "-C", str(ROOT), "rev-parse", "HEAD")
    began = time.monotonic()
    storage.base(ARCHIVE, BASE)
    yield told("base: Debian's own Python", f"{time.monotonic() - began:.0f} s", good=True)
    began = time.monotonic()
    storage.build(ROOT, IMAGE, {"BASE": BASE, "REVISION": revision})
    yield told("built on it", f"{time.monotonic() - began:.0f} s", good=True)
    image, base = storage.inspect(IMAGE), storage.inspect(BASE)
    config = image["Config"]
    yield told("user", config["User"], good=config["User"] == "10001:10001")
    yield told("revision", revision[:12], good=config["Labels"]["org.opencontainers.image.revision"] == revision)
    health = (image.get("Healthcheck") or config.get("Healthcheck") or {}).get("Test")
    yield told("health check", health, good=health == ["CMD", "relay", "healthcheck"])
    own = image["Size"] - base["Size"]
    packed = _packed(storage)
    seen = f"{own / MIB:.0f} MiB on a base of {base['Size'] / MIB:.0f}; packed {packed / MIB:.0f} MiB in all"
    yield told("size", seen, good=own < 200 * MIB)


def _output(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def _packed(storage: Storage) -> int:
    """How many bytes a registry would hand out, base and all."""
    archive = PLACE / "image.tar"
    storage.podman("image", "save", "--output", str(archive), IMAGE)
    size = 0
    with archive.open("rb") as file:
        while block := file.read(8 * MIB):
            size += len(gzip.compress(block, 6))
    archive.unlink()
    return size


def hardened(storage: Storage) -> Iterator[bool]:
    """Look at what it may do."""

    def inside(*argv: str) -> str:
        return storage.podman("run", "--rm", *HARDENED, "--entrypoint", argv[0], IMAGE, *argv[1:]).strip()

    who = inside("id", "-u") + ":" + inside("id", "-g")
    yield told("runs as", who, good=who == "10001:10001")
    status = dict(line.split(":\t", 1) for line in inside("cat", "/proc/self/status").splitlines() if ":\t" in line)
    capabilities = {name: int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")}
    yield told("capabilities", capabilities, good=not any(capabilities.values()))
    yield told("may gain none", f"NoNewPrivs {status['NoNewPrivs']}", good=status["NoNewPrivs"] == "1")
    files = ("/tmp/file", "/run/file", "/opt/relay/file")
    written = [name for name in files if not refused(partial(inside, "touch", name))]
    yield told("no disk to write on", written or f"refused: {', '.join(files)}", good=not written)
    [wanted] = re.findall(r"^ARG BASE=python:(\d+\.\d+)-", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    python = inside("python3", "--version")
    yield told("Python as the Dockerfile's base has it", python, good=python.startswith(f"Python {wanted}."))
    version = inside("relay", "version")
    yield told("version", version, good=version == __version__)
    brought = inside("ls", "/opt/relay/bin").split()
    tools = [name for name in brought if name.startswith(("pip", "uv"))]
    yield told("what it adds to its base has no installer", tools or f"{len(brought)} programs", good=not tools)


async def relayed(storage: Storage, stage: Stage) -> list[bool]:
    """Migrate, relay, stop in the midst, drain; then count what arrived."""
    seen = []
    with Container(storage, IMAGE, stage.env(user=None), "migrate", "up") as migration:
        code = migration.code()
        last = migration.log().strip().splitlines()[-1:]
        seen.append(told("relay migrate up", last, good=code == 0))
    stage.postgres.admin("CREATE ROLE relay LOGIN PASSWORD 'made-for-a-proof' IN ROLE outbox_relay")
    queue = await _declare(stage.amqp_url)
    with Container(storage, IMAGE, stage.env()) as relay:
        took = _wait(lambda: not refused(lambda: relay.execute("relay", "healthcheck")))
        seen.append(told("healthcheck", f"true after {took:.1f} s", good=took < WAIT_S))
        seen.append(told("the image's own health check", "healthy", good=relay.healthy()))
        stage.postgres.admin(_INSERT, (ROWS,), database="shop")
        _wait(lambda: _sent(stage) > ROWS // 10)
        began = time.monotonic()
        relay.stop(GRACE_S)
        code, lasted = relay.code(), time.monotonic() - began
        seen.append(told("SIGTERM in the midst", f"exit code {code} after {lasted:.1f} s", good=code == 0))
        sent, held = _sent(stage), _held(stage)
        good = 0 < sent < ROWS and held == 0
        seen.append(told("it gave back what it had not sent", f"{sent} sent, {held} held", good=good))
        ended = json.loads(relay.log().strip().splitlines()[-1])["event"]
        seen.append(told("its last word", ended, good=ended == "relay.stopped"))
    with Container(storage, IMAGE, stage.env(), "run", "--drain") as second:
        code = second.code()
        seen.append(told("another drains the rest", f"exit code {code}, {_sent(stage)} sent", good=code == 0))
    arrived = await _arrived(stage.amqp_url, queue)
    more = sum(times - 1 for times in arrived.values())
    good = len(arrived) == ROWS and not more
    seen.append(told("arrived", f"{len(arrived)} of {ROWS} messages, {more} duplicates", good=good))
    return seen


_INSERT = """
INSERT INTO outbox.message (routing_key, payload)
SELECT 'order.created', jsonb_build_object('order', n) FROM generate_series(1, %s) AS n
"""


_SENT = "SELECT count(*) FROM outbox.message WHERE status = 'sent'"
_HELD = "SELECT count(*) FROM outbox.message WHERE status = 'pending' AND claimed_until > now()"


def _sent(stage: Stage) -> int:
    [(number,)] = stage.postgres.admin(_SENT, database="shop")
    return int(number)


def _held(stage: Stage) -> int:
    [(number,)] = stage.postgres.admin(_HELD, database="shop")
    return int(number)


def _wait(done: Callable[[], bool]) -> float:
    """Ask until it is done; how long that took. Raises Failed when it never is."""
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > WAIT_S:
            raise Failed(f"waited {WAIT_S} s in vain")
        time.sleep(0.02)
    return time.monotonic() - began


async def _declare(url: str) -> str:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange("orders", aio_pika.ExchangeType.TOPIC, durable=True)
        queue = await channel.declare_queue("all", durable=True)
        await queue.bind(exchange, "#")
        return queue.name


async def _arrived(url: str, name: str) -> Counter[str]:
    """How often each message has come."""
    arrived: Counter[str] = Counter()
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.get_queue(name, ensure=False)
        while (message := await queue.get(no_ack=True, fail=False)) is not None:
            arrived[str(message.message_id)] += 1
    return arrived


def main() -> int:
    """Prove it; 1 when something is not as it should be, or cannot be tried here."""
    try:
        with Storage(PLACE) as storage:
            print("The image")
            seen = [*built(storage), *hardened(storage)]
            print("Between real servers")
            seen += _between(storage)
    except (Failed, ServerFailed, NotFetched, find.NothingFound) as error:
        print(f"It cannot be proved: {error}", file=sys.stderr)
        return 1
    print("The image does what it should." if all(seen) else "Not all is as it should be.")
    return 0 if all(seen) else 1


def _between(storage: Storage) -> list[bool]:
    postgres = find.own_postgres()
    try:
        broker: Broker = find.own_rabbitmq()
        try:
            postgres.create_database("shop")
            return asyncio.run(relayed(storage, Stage(postgres, broker.url())))
        finally:
            broker.close()
    finally:
        postgres.close()


if __name__ == "__main__":
    sys.exit(main())

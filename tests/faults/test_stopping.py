"""The end of a run when a server swallows every word: it comes within the grace all the same."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

import pytest

from services.broker import Broker
from services.proxy import Proxy
from tests.builders import Amqp, Database, eventually
from tests.running import RelayProcess, environment, start

GRACE_S = 4
STOPPED_IN_THE_MIDST_OF_ITS_IMPORTS = """
import os, signal, sys
from importlib.abc import MetaPathFinder
from relay.cli import main

class Stop(MetaPathFinder):
    def find_spec(self, name, *_):
        if name == "relay.app":
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Stop())
main(["run"])
"""


@pytest.fixture
async def hung(
    db: Database, amqp: Amqp, rabbitmq: Broker, proxy: Callable[[str, int], Awaitable[Proxy]]
) -> AsyncIterator[RelayProcess]:
    """A relay with rows in hand, of which neither server lets it hear or write any more."""
    await amqp.queue("all", "orders")
    server = urlsplit(db.url)
    database, broker = (
        await proxy(str(server.hostname), server.port or 5432),
        await proxy(rabbitmq.host, rabbitmq.amqp_port),
    )
    await db.insert(n=1)
    # One lane: another one may be opening its channel just when nothing is heard any more, and then nothing is claimed.
    settings = {"SHUTDOWN_GRACE_SECONDS": GRACE_S, "LANES": 1}
    process = await start(environment(database.url(db.url), broker.url(amqp.url), settings))

    async def claimed() -> None:
        assert await db.fetch("SELECT count(*) > 0 FROM {table} WHERE claims > 0 AND status = 'pending'") == [(True,)]

    try:
        await process.says("tick", confirmed=1)
        broker.hold("down")
        await db.insert(n=100)
        await eventually(claimed, 30)
        database.blackhole()
        yield process
    finally:
        await process.close()


async def test_the_end_of_the_grace_is_the_end_though_the_database_hangs(hung: RelayProcess) -> None:
    hung.signal(signal.SIGTERM)
    assert await hung.ended() == 1
    assert hung.events[-1]["event"] == "relay.gave_up"
    assert [each["why"] for each in hung.seen("relay.hurried")] == ["the grace ran out"]


async def test_a_second_signal_is_the_end_though_the_database_hangs(hung: RelayProcess) -> None:
    hung.signal(signal.SIGTERM)
    await hung.says("relay.stopping")
    hung.signal(signal.SIGINT)
    assert await hung.ended() == 1
    assert hung.events[-1]["event"] == "relay.gave_up"
    assert [each["why"] for each in hung.seen("relay.hurried")] == ["a second signal, SIGINT"]


async def test_a_relay_that_is_stopped_before_it_runs_has_stopped_as_asked(db: Database, amqp: Amqp) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STOPPED_IN_THE_MIDST_OF_ITS_IMPORTS, env=environment(db.url, amqp.url)
    )
    async with asyncio.timeout(20):
        assert await process.wait() == 0

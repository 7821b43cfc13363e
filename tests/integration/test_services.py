"""The servers the other tests stand on."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import aio_pika
import psycopg
import pytest

from services import find, install, rabbitmq4, rabbitmq_binaries
from services.find import NothingFound, OwnPostgres, OwnRabbitMQ
from services.process import ServerFailed
from services.proxy import Proxy
from services.tls import Authority
from tests.builders import Amqp, Database, eventually, payloads

MakeProxy = Callable[[str, int], Awaitable[Proxy]]


async def test_a_fresh_database_has_the_outbox_and_no_rows(db: Database) -> None:
    assert await db.statuses() == {}
    assert len(await db.insert(n=3, routing_key=lambda number: f"key.{number}")) == 3
    assert await db.statuses() == {"pending": 3}
    assert await db.fetch("SELECT routing_key FROM {table} ORDER BY id") == [("key.0",), ("key.1",), ("key.2",)]


async def test_a_queue_gives_what_was_published_to_its_exchange(amqp: Amqp) -> None:
    await amqp.queue("orders", "events")
    exchange = await (await amqp.channel()).get_exchange("events")
    await exchange.publish(aio_pika.Message(b'{"n": 1}'), "order.created")
    assert await amqp.count("orders") == 1
    assert payloads(await amqp.drain("orders", 1)) == [{"n": 1}]


async def test_a_postgres_of_our_own_survives_what_is_done_to_it(own_postgres: Callable[..., OwnPostgres]) -> None:
    server = own_postgres()
    server.admin("CREATE TABLE kept (n int)")
    server.admin("INSERT INTO kept VALUES (1)")
    for harm in (server.stop, server.kill, lambda: server.stop("immediate")):
        harm()
        with pytest.raises(psycopg.OperationalError):
            server.admin("SELECT 1")
        server.start()
        assert server.admin("SELECT n FROM kept") == [(1,)]


async def test_a_paused_postgres_is_silent_until_it_is_resumed(own_postgres: Callable[..., OwnPostgres]) -> None:
    server = own_postgres()
    with psycopg.connect(server.url()) as connection:
        server.pause()
        asked = asyncio.create_task(asyncio.to_thread(connection.execute, "SELECT 1"))
        done, _ = await asyncio.wait({asked}, timeout=0.3)
        assert not done
        server.resume()
        assert (await asked).fetchone() == (1,)


async def test_postgres_speaks_tls_with_our_own_authority(
    own_postgres: Callable[..., OwnPostgres], tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    server = own_postgres(tls=authority.issue("localhost", "127.0.0.1"), settings={"log_connections": "on"})
    with psycopg.connect(server.url(), sslmode="verify-full", sslrootcert=str(authority.ca)) as connection:
        assert connection.pgconn.ssl_in_use
    stranger = Authority(tmp_path, "a stranger")
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        psycopg.connect(server.url(), sslmode="verify-full", sslrootcert=str(stranger.ca))


@pytest.mark.timeout(120)
async def test_a_rabbitmq_of_our_own_keeps_its_queues_through_a_stop_and_a_kill(
    own_rabbitmq: Callable[..., OwnRabbitMQ],
) -> None:
    broker = own_rabbitmq()
    part = Amqp(broker.url(), "/")
    await part.queue("kept")
    for harm in (broker.stop, broker.kill):
        await asyncio.to_thread(harm)
        assert not broker.running
        with pytest.raises(ServerFailed, match="running node"):
            broker.ctl("status")
        await asyncio.to_thread(broker.start)
        assert await part.count("kept") == 0
    await asyncio.to_thread(broker.alarm, on=True)
    assert "alarm" in await asyncio.to_thread(broker.ctl, "status")
    await asyncio.to_thread(broker.alarm, on=False)
    broker.pause()
    assert not broker.manages()
    broker.resume()
    assert broker.manages()
    await part.close(remove=False)


async def test_a_missing_server_is_an_error_that_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(find.DATABASE_VARIABLE, raising=False)
    monkeypatch.setattr(find, "engine", lambda: False)
    monkeypatch.setattr(find, "has_binaries", lambda _binaries: False)
    with pytest.raises(NothingFound, match=f"apt-get install postgresql.*{find.DATABASE_VARIABLE}"):
        find.shared_postgres()


def test_an_unpacked_rabbitmq_is_used_when_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts, erlang = tmp_path / "usr/lib/rabbitmq/bin", tmp_path / "usr/bin"
    for program in (scripts / "rabbitmq-server", scripts / "rabbitmqctl", erlang / "erl"):
        program.parent.mkdir(parents=True, exist_ok=True)
        program.touch(0o755)
    monkeypatch.delenv(find.AMQP_VARIABLE, raising=False)
    monkeypatch.setenv(rabbitmq_binaries.TREE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(find, "engine", lambda: True)
    assert find.plan()["RabbitMQ"] == f"a private server from {scripts}"
    found = rabbitmq_binaries.binaries()
    assert (found.scripts, found.path.split(":")[0], found.user.uid) == (scripts, str(erlang), None)


def test_a_folder_without_a_rabbitmq_is_an_error_that_says_what_to_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(rabbitmq_binaries.TREE_VARIABLE, str(tmp_path))
    for needs in (rabbitmq_binaries.binaries, find.own_rabbitmq):
        with pytest.raises(rabbitmq_binaries.WrongTree, match=r"no RabbitMQ .*RELAY_TEST_RABBITMQ.*make rabbitmq4"):
            needs()
    monkeypatch.delenv(find.AMQP_VARIABLE, raising=False)
    monkeypatch.setattr(install, "engine", lambda: False)
    assert install.main() == 1
    assert "there is no RabbitMQ with its Erlang" in capsys.readouterr().err


def test_a_rabbitmq_4_that_cannot_be_fetched_says_what_else_would_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rabbitmq4, "PLACE", tmp_path / "rabbitmq-4")
    monkeypatch.setattr(rabbitmq4, "KEYRING", tmp_path / "no-keyring")
    assert rabbitmq4.main() == 1
    said = capsys.readouterr().err
    assert "not a Debian" in said
    assert rabbitmq_binaries.TREE_VARIABLE in said
    assert not rabbitmq4.PLACE.exists()


PARENT = """
import sys, time
from services.{module} import {name}
server = {name}()
print(server._process._guard.pid, server.folder, *server._process.members(), flush=True)
time.sleep(600)
"""


def _alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(
    ("module", "name", "number"),
    [
        ("postgres", "Postgres", signal.SIGKILL),
        ("postgres", "Postgres", signal.SIGTERM),
        ("rabbitmq", "RabbitMQ", signal.SIGKILL),
    ],
)
async def test_nothing_outlives_a_killed_parent(module: str, name: str, number: signal.Signals) -> None:
    if not find.has_binaries(getattr(__import__(f"services.{module}"), module).binaries):
        pytest.skip("the machine has no binaries of it; containers are removed by the engine's reaper")
    source = PARENT.format(module=module, name=name)
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", source, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    guard, folder, *pids = (await parent.stdout.readline()).decode().split()
    members = [int(guard), *map(int, pids)]
    # The guard, the server and its processes; the one that served the last look at the server may be ending just now.
    assert _alive(members[0])
    assert sum(map(_alive, members)) > 2
    os.kill(parent.pid, number)
    await parent.wait()

    def gone() -> None:
        assert not [pid for pid in members if _alive(pid)]
        assert not Path(folder).exists()

    await eventually(gone)


async def test_the_proxy_carries_holds_resets_and_refuses(
    proxy: MakeProxy, own_postgres: Callable[..., OwnPostgres]
) -> None:
    server = own_postgres()
    between = await proxy("127.0.0.1", server.port)
    url = between.url(server.url())
    connection = await psycopg.AsyncConnection.connect(url)
    between.blackhole()
    asked = asyncio.create_task(connection.execute("SELECT 1"))
    done, _ = await asyncio.wait({asked}, timeout=0.2)
    assert not done
    await between.pass_all()
    assert await (await asked).fetchone() == (1,)
    between.reset_all()
    with pytest.raises(psycopg.OperationalError):
        await connection.execute("SELECT 1")
    await connection.close()
    await between.refuse()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        await psycopg.AsyncConnection.connect(url)
    await between.pass_all()
    between.cut_after(20)
    with pytest.raises(psycopg.OperationalError):
        await psycopg.AsyncConnection.connect(url)
    assert between.accepted >= 2

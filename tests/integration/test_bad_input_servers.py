"""Servers that refuse, are silent, or want other words: an outage with a clear reason, and over when it is."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from psycopg import sql

from relay import migrate
from services import find
from services.broker import Broker
from services.find import OwnPostgres
from services.postgres import PostgresServer
from services.proxy import Direction, Proxy
from services.rabbitmq import RabbitMQ
from services.tls import Authority, Tls
from tests.builders import Amqp, Database, eventually
from tests.logins import PASSWORD, Login, relay_login
from tests.running import RelayProcess, command, environment, start

ProxyMaker = Callable[[str, int], Awaitable[Proxy]]


async def sent(db: Database, rows: int) -> None:
    """Wait until that many rows are sent, none ever charged, and none is left."""

    async def all_of_them() -> None:
        found = await db.fetch("SELECT status, count(*), sum(failures)::int FROM {table} GROUP BY status")
        assert found == [("sent", rows, 0)]

    await eventually(all_of_them, 40)


def place(url: str) -> tuple[str, int]:
    """The host and port of a URL."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


@asynccontextmanager
async def running(env: Mapping[str, str]) -> AsyncIterator[RelayProcess]:
    """A relay with that environment."""
    process = await start(env)
    try:
        yield process
    finally:
        await process.close()


async def in_outage(process: RelayProcess, side: str, reason: str, *words: str) -> None:
    """Wait until a side's page says that reason and those words, the loop alive all the while."""

    async def told() -> None:
        assert (await process.get("/livez"))[0] == 200
        seen = (await process.status())[side]
        assert seen["state"] in {"outage", "probing"}, seen
        assert seen["reason"] == reason, seen
        assert all(word in seen["detail"] for word in words), seen

    await eventually(told, 40)


# -- secrets ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def lines(db: Database, amqp: Amqp, proxy: ProxyMaker) -> tuple[Proxy, Proxy]:
    """Proxies before the database and before the broker."""
    return await proxy(*place(db.url)), await proxy(*place(amqp.url))


class Passwords:
    """A login of each server, its password, and the files from which a relay reads it."""

    def __init__(self, login: Login, rabbitmq: Broker, vhost: str, lines: tuple[Proxy, Proxy], folder: Path) -> None:
        self.login = login
        self.user = login.plain
        self.database, self.amqp = folder / "database-url", folder / "amqp-url"
        self._rabbitmq = rabbitmq
        self._vhost = vhost
        self._lines = lines

    async def change(self, db: Database, password: str) -> None:
        """Let both servers ask for another password, and end what is connected."""
        await db.fetch(sql.SQL("ALTER ROLE {} PASSWORD {}").format(self.login.name, password))
        rights = {"vhost": self._vhost, "configure": "", "write": ".*", "read": ""}
        await asyncio.to_thread(lambda: self._rabbitmq.add_user(self.user, password, **rights))
        self.cut()

    def cut(self) -> None:
        """End what is connected."""
        for line in self._lines:
            line.reset_all()

    def write(self, password: str) -> None:
        """Put a password into the files."""
        to_postgres, to_rabbitmq = self._lines
        self.database.write_text(to_postgres.url(self.login.url.replace(PASSWORD, password)) + "\n")
        self.amqp.write_text(to_rabbitmq.url(self._rabbitmq.url(self._vhost, self.user, password)) + "\n")

    def environment(self) -> dict[str, str]:
        """The environment of a relay that reads the files."""
        files = {"DATABASE_URL_FILE": self.database, "AMQP_URL_FILE": self.amqp, "RESCAN_SECONDS": 0.2}
        env = environment("", "", files)
        return {name: value for name, value in env.items() if name not in {"RELAY_DATABASE_URL", "RELAY_AMQP_URL"}}


@pytest.fixture
async def login(postgres: PostgresServer, db: Database) -> AsyncIterator[Login]:
    """A login of one test."""
    async with relay_login(postgres, db) as made:
        yield made


@pytest.fixture
async def passwords(
    login: Login, rabbitmq: Broker, amqp: Amqp, lines: tuple[Proxy, Proxy], tmp_path: Path
) -> AsyncIterator[Passwords]:
    """Made and removed with the test."""
    made = Passwords(login, rabbitmq, amqp.vhost, lines, tmp_path)
    yield made
    await asyncio.to_thread(rabbitmq.delete_user, made.user)


@pytest.mark.timeout(120)
async def test_rotated_passwords_are_read_again_and_a_lost_file_is_an_outage(
    db: Database, amqp: Amqp, passwords: Passwords
) -> None:
    await amqp.queue("all", "orders")
    await passwords.change(db, "hunter1")
    passwords.write("hunter1")
    async with running(passwords.environment()) as process:
        await db.insert(n=3)
        await sent(db, 3)

        await passwords.change(db, "hunter2")
        await in_outage(process, "database", "auth", "password authentication failed")
        await in_outage(process, "broker", "auth", "ACCESS_REFUSED")
        assert (await process.get("/readyz"))[0] == 503
        await db.insert(n=3)
        passwords.write("hunter2")
        await sent(db, 6)

        passwords.database.write_text("postgresql://relay:hunter3@/nowhere\n")
        passwords.amqp.unlink()
        passwords.cut()
        await in_outage(process, "database", "other", "RELAY_DATABASE_URL_FILE", "names no host")
        await in_outage(process, "broker", "other", "URL cannot be used", "No such file", str(passwords.amqp))
        await db.insert(n=3)
        passwords.database.write_bytes(b"\xff\xfe\x00")
        await in_outage(process, "database", "other", "is not UTF-8 text")
        passwords.database.unlink()
        await in_outage(process, "database", "other", "No such file", str(passwords.database))
        passwords.write("hunter2")
        await sent(db, 9)
        assert await process.stop() == 0
        log = "".join(process.lines) + process.stderr
    assert "hunter" not in log
    assert "Traceback" not in log
    assert await amqp.count("all") == 9


# -- silence ------------------------------------------------------------------------------------------------------


async def test_servers_that_take_connections_and_say_nothing_are_found_out_at_start(
    db: Database, amqp: Amqp, lines: tuple[Proxy, Proxy]
) -> None:
    await amqp.queue("all", "orders")
    await db.insert(n=3)
    to_postgres, to_rabbitmq = lines
    to_postgres.blackhole()
    to_rabbitmq.blackhole()
    env = environment(to_postgres.url(db.url), to_rabbitmq.url(amqp.url))
    async with running(env) as process:
        checking = asyncio.create_task(command(env, "check", "--json"))
        await in_outage(process, "database", "timeout")
        await in_outage(process, "broker", "timeout", "no answer in time")
        code, out, _ = await checking
        assert (code, {each["code"] for each in json.loads(out) if each["verdict"] != "ok"}) == (4, {"timeout"})
        await to_postgres.pass_all()
        await to_rabbitmq.pass_all()
        await sent(db, 3)
        assert await process.stop() == 0


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_a_server_that_falls_silent_in_one_direction_is_found_out(
    db: Database, amqp: Amqp, lines: tuple[Proxy, Proxy], direction: Direction
) -> None:
    await amqp.queue("all", "orders")
    to_postgres, to_rabbitmq = lines
    env = environment(to_postgres.url(db.url), to_rabbitmq.url(amqp.url), {"CONFIRM_TIMEOUT_SECONDS": 1})
    async with running(env) as process:
        await db.insert(n=3)
        await sent(db, 3)
        to_rabbitmq.hold(direction)
        await db.insert(n=3)
        # What a probe says of it on the page afterwards is another matter.
        began = await process.says("outage.began", 40, side="broker", reason="timeout")
        assert "no confirm within 1 s" in began["detail"]
        await in_outage(process, "broker", "timeout")
        assert (await process.get("/readyz"))[0] == 200
        await to_rabbitmq.pass_all()
        await sent(db, 6)
        to_postgres.hold(direction)
        await db.insert(n=3)
        await in_outage(process, "database", "timeout")
        assert (await process.get("/readyz"))[0] == 503
        await to_postgres.pass_all()
        await sent(db, 9)
        assert await process.stop() == 0
    seen: set[str] = set()
    for message in await amqp.drain("all", 9):
        assert str(message.message_id) not in seen or "x-outbox-attempt" in message.headers
        seen.add(str(message.message_id))
    assert len(seen) == 9


# -- TLS ----------------------------------------------------------------------------------------------------------


class Secured:
    """Both servers, certificates of one authority for `localhost`, and clients that must show one, too."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.stranger = Authority(folder, "somebody else")
        self.client = self.authority.issue("client.example", common_name="postgres")
        tls = self.authority.issue("localhost")
        self.postgres: OwnPostgres = find.own_postgres(tls=tls, hba=["hostssl all all 127.0.0.1/32 cert"])
        self.rabbitmq = find.own_rabbitmq(tls=tls)
        self.postgres.create_database("service")
        migrate.apply(self.database_url(client=self.client))

    def database_url(self, *, ca: Path | None = None, host: str = "localhost", client: Tls | None = None) -> str:
        """The URL of a verifying client."""
        port = place(self.postgres.url())[1]
        shown = "" if client is None else f"&sslcert={client.cert}&sslkey={client.key}"
        verify = f"sslmode=verify-full&sslrootcert={ca or self.authority.ca}"
        # Without a fallback to ::1, where nobody listens: its refusal would be told instead.
        where = f"hostaddr=127.0.0.1&{verify}" if host == "localhost" else verify
        return f"postgresql://postgres@{host}:{port}/service?{where}{shown}"

    def amqp_url(self, *, ca: Path | None = None, host: str = "localhost", client: Tls | None = None) -> str:
        """The URL of a verifying client."""
        assert isinstance(self.rabbitmq, RabbitMQ)
        shown = "" if client is None else f"&certfile={client.cert}&keyfile={client.key}"
        return f"{self.rabbitmq.tls_url(host=host)}?cafile={ca or self.authority.ca}{shown}"

    def urls(self, **wrong: Any) -> tuple[str, str]:
        """Both URLs, right but for what is named."""
        chosen: dict[str, Any] = {"client": self.client} | wrong
        return self.database_url(**chosen), self.amqp_url(**chosen)

    def close(self) -> None:
        """End both."""
        self.postgres.close()
        self.rabbitmq.close()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Both servers for the tests of this file."""
    made = Secured(tmp_path_factory.mktemp("tls"))
    yield made
    made.close()


async def test_check_says_what_is_wrong_with_a_certificate(secured: Secured) -> None:
    admin = Amqp(secured.rabbitmq.url(), "/")
    await admin.exchange("orders")
    await admin.close(remove=False)
    for wrong, in_database, in_broker in (
        ({}, "", ""),
        ({"ca": secured.stranger.ca}, "certificate verify failed", "certificate verify failed: "),
        ({"host": "127.0.0.1"}, "does not match host name", "IP address mismatch"),
        ({"client": None}, "client certificate", "CERTIFICATE"),  # or, as it happens, a question about one
        ({"ca": Path("/nowhere/ca.pem")}, "does not exist", "cannot be loaded: [Errno 2] No such file or directory"),
    ):
        code, out, err = await command(environment(*secured.urls(**wrong)), "check", "--json")
        found = {each["subject"]: each for each in json.loads(out) if each["verdict"] != "ok"}
        assert (code, err) == (3 if wrong else 0, ""), out
        if wrong:
            assert in_database in found["database"]["text"]
            assert in_broker.lower() in found["broker"]["text"].lower()
            assert found["database"]["code"] in {"tls", "auth"}
            assert "sslrootcert" in found["database"]["fix"] or found["database"]["code"] == "auth"
            assert (found["broker"]["code"], "cafile" in found["broker"]["fix"]) == ("tls", True)


async def test_rows_go_over_tls_and_a_wrong_authority_is_an_outage_until_the_file_is_right(
    secured: Secured, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    shutil.copyfile(secured.stranger.ca, ca)
    db = Database(secured.database_url(client=secured.client), "service")
    amqp = Amqp(secured.rabbitmq.url(), "/")
    await amqp.queue("all", "orders")
    await db.insert(n=5)
    async with running(environment(*secured.urls(ca=ca))) as process:
        for side in ("database", "broker"):
            began = await process.says("outage.began", side=side, reason="tls")
            assert "certificate verify failed" in began["detail"]
        shutil.copyfile(secured.authority.ca, ca)
        await sent(db, 5)
        [(encrypted,)] = await db.fetch(
            "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
            " WHERE starts_with(application_name, 'relay/')"
        )
        assert encrypted
        assert await process.stop() == 0
    assert await amqp.count("all") == 5
    await amqp.close(remove=False)
    await db.close()


# -- the log ------------------------------------------------------------------------------------------------------


async def test_a_log_that_cannot_be_written_stops_no_row(db: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    await db.insert(n=5)
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", 'exec "$0" -m relay run >/dev/full', sys.executable),
        env=environment(db.url, amqp.url),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await sent(db, 5)
        process.terminate()
        _, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    said = "the log cannot be written: No space left on device; the relay goes on without it\n"
    assert (process.returncode, err.decode()) == (0, said)


async def test_a_start_with_both_servers_gone_tells_each_once() -> None:
    gone = environment("postgresql://u:hunter2@127.0.0.1:1/x", "amqp://u:hunter2@no-such-host.invalid/")
    async with running(gone) as process:
        await in_outage(process, "database", "refused", "Connection refused")
        await in_outage(process, "broker", "unreachable", "the host name cannot be resolved")
        assert (await process.status())["database"]["probes"] >= 0

        async def probed() -> None:
            status = await process.status()
            assert min(status[side]["probes"] for side in ("database", "broker")) >= 2

        await eventually(probed, 30)
        assert [len(process.seen("outage.began", side=side)) for side in ("database", "broker")] == [1, 1]
        assert len([each for each in process.events if each["level"] == "warning"]) <= 3
        assert await process.stop() == 0
        assert "hunter2" not in "".join(process.lines) + process.stderr

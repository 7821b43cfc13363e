"""Where the pages' commands are run: a database and a virtual host, logins, and the programs of a person on call."""

import asyncio
import os
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from relay import migrate
from services.find import OwnPostgres
from services.process import free_port
from services.rabbitmq import RabbitMQ
from tests.builders import Amqp, Database
from tests.running import RelayProcess, environment, start

PASSWORD = "choose-one"
LOGINS = {
    "relay": "outbox_relay, pg_monitor",
    "keeper": "outbox_keeper, outbox_relay",
    "shop_service": "outbox_producer",
}
ORDERS = "order.#"


class Stage:
    """A database `shop` and a virtual host `shop`, and everything that a person on call has in the shell."""

    def __init__(self, postgres: OwnPostgres, rabbitmq: RabbitMQ, folder: Path) -> None:
        self.postgres, self.rabbitmq, self.folder = postgres, rabbitmq, folder
        self.stack = AsyncExitStack()
        self.port = free_port()
        self.db = Database(postgres.url("shop"), "shop")
        self.amqp = Amqp(rabbitmq.url("shop"), "shop")
        self.urls = {"owner": postgres.url("shop"), "producer": self.url("shop_service")}
        self.urls |= {"look": self.url("relay"), "keeper": self.url("keeper", PASSWORD)}
        self.amqp_url = rabbitmq.url("shop", "relay", PASSWORD)
        self.settings: dict[str, object] = {"NAME": "relay-0", "HTTP_PORT": self.port, "BACKLOG_SAMPLE_SECONDS": 1}
        self.more: dict[str, str] = {}
        """Variables that are no settings."""
        _write_programs(folder, rabbitmq)

    def url(self, login: str, password: str = PASSWORD, database: str = "shop") -> str:
        """The URL of a login."""
        return self.postgres.url(database, login, password)

    def env(self) -> dict[str, str]:
        """The environment of the commands, and of the relay."""
        made = environment(self.urls["look"], self.amqp_url, self.settings)
        urls = {f"{name.upper()}_URL": url for name, url in self.urls.items()}
        return made | urls | self.more | {"PATH": f"{self.folder}:{os.environ['PATH']}", "PGCONNECT_TIMEOUT": "10"}

    async def relay(self) -> RelayProcess:
        """Start a relay; it is ended with the stage."""
        process = await start(self.env())
        self.stack.push_async_callback(process.close)
        await process.port()
        return process

    async def session(self, application: str) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        """A session of somebody else, who is about to be ended."""
        connection = await psycopg.AsyncConnection.connect(self.urls["owner"], application_name=application)
        self.stack.push_async_callback(connection.close)
        return connection

    async def run(self, command: str) -> tuple[int, str]:
        """Run a line as bash reads it; its exit code, and what it printed."""
        line = command.replace("localhost:9464", f"127.0.0.1:{self.port}")
        return await self._end(["bash", "-c", line], b"")

    async def query(self, role: str, text: str) -> tuple[int, str]:
        """Have psql run a text as somebody."""
        return await self._end(["psql", "-X", "-v", "ON_ERROR_STOP=1", self.urls[role]], text.encode())

    async def _end(self, argv: list[str], given: bytes) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=self.env(),
            cwd=self.folder,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(40):
            printed, _ = await process.communicate(given)
        assert process.returncode is not None
        return process.returncode, printed.decode()


def _write_programs(folder: Path, rabbitmq: RabbitMQ) -> None:
    """Put `relay` and this node's `rabbitmqctl` where the shell finds them."""
    user = rabbitmq._user
    become = [] if user.uid is None else ["setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups"]
    node = rabbitmq._env | {"ERL_FLAGS": "-start_epmd false", "RABBITMQ_CTL_ERL_ARGS": "+S 1:1"}
    ctl = [*become, "env", *(f"{k}={v}" for k, v in node.items()), str(rabbitmq._binaries.scripts / "rabbitmqctl")]
    for name, argv in {"relay": [sys.executable, "-m", "relay"], "rabbitmqctl": ctl}.items():
        # Erlang wants to read the folder it is started in.
        change = f"cd {shlex.quote(str(rabbitmq.folder))}\n" if name == "rabbitmqctl" else ""
        (folder / name).write_text(f'#!/bin/sh\n{change}exec {shlex.join(argv)} "$@"\n')
        (folder / name).chmod(0o755)


@asynccontextmanager
async def opened(postgres: OwnPostgres, rabbitmq: RabbitMQ, folder: Path) -> AsyncIterator[Stage]:
    """A fresh stage with the table, logins and grants that the pages tell of."""
    await asyncio.to_thread(postgres.create_database, "shop")
    await asyncio.to_thread(rabbitmq.add_vhost, "shop")
    made = Stage(postgres, rabbitmq, folder)
    try:
        async with made.stack:
            await _furnish(made)
            yield made
    finally:
        await made.db.close()
        await made.amqp.close(remove=False)
        await asyncio.to_thread(_clear, postgres, rabbitmq)


async def _furnish(made: Stage) -> None:
    await made.amqp.queue("billing", "orders", ORDERS)
    await asyncio.to_thread(migrate.apply, made.urls["owner"])
    for login, roles in LOGINS.items():
        granted = sql.SQL(", ").join(map(sql.Identifier, roles.split(", ")))
        make = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}")
        await made.db.fetch(make.format(sql.Identifier(login), PASSWORD, granted))
    rights = {"configure": "^$", "write": r"^(orders|amq\.default)$", "read": "^$"}
    await asyncio.to_thread(lambda: made.rabbitmq.add_user("relay", PASSWORD, vhost="shop", **rights))


def _clear(postgres: OwnPostgres, rabbitmq: RabbitMQ) -> None:
    for name in ("shop", "clone", "old"):
        postgres.drop_database(name)
    for login in ("relay", "relay2", "keeper", "shop_service", "staging_relay"):
        postgres.admin(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(login)))
    vhosts = rabbitmq.api("GET", "/api/vhosts")
    users = rabbitmq.api("GET", "/api/users")
    assert isinstance(vhosts, list)
    assert isinstance(users, list)
    for vhost in vhosts:
        rabbitmq.delete_vhost(vhost["name"])
    for user in users:
        if user["name"] != rabbitmq.user:
            rabbitmq.delete_user(user["name"])

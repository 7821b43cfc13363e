"""Real servers and a fresh corner of them for every test."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from secrets import token_hex
from typing import Any

import hypothesis
import pytest

from relay import migrate
from services import find
from services.broker import Broker
from services.find import OwnPostgres, OwnRabbitMQ
from services.pgbouncer import PgBouncer
from services.postgres import PostgresServer
from services.proxy import Proxy
from services.rabbitmq_binaries import WrongTree
from services.standby import Standby
from tests.builders import Amqp, Database, fresh_vhost

for _name in list(os.environ):
    # What a developer's shell says about servers and colours is not for the tests, nor for the commands they start.
    if _name.startswith(("PG", "RELAY_", "NO_COLOR", "FORCE_COLOR")) and not _name.startswith("RELAY_TEST_"):
        del os.environ[_name]


collect_ignore = ["deploy"]  # `make test-deploy` names that folder, and brings what it needs


hypothesis.settings.register_profile("relay", deadline=None)  # a busy machine is no bug
hypothesis.settings.load_profile("relay")


SLOWEST = (
    "test_prometheus", "test_run", "test_bad_input_servers", "test_outages", "test_broker_faults", "test_demo",
    "test_chaos", "test_kills", "test_bad_input_database", "test_doorbell_run", "test_samples", "test_cli",
    "test_services", "test_pgbouncer", "test_histories", "test_plans", "test_rabbitmq_faults", "test_order",
    "test_bench", "test_failpoints",
)  # fmt: skip
"""Files that take long, mostly waiting for a server: the longest first."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take a minute: else one worker is at them when the others have nothing left to do."""
    places = {name: place for place, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


def pytest_report_header() -> list[str]:
    """Say which servers the run will use; pytest-randomly says the seed."""
    try:
        return [f"{service}: {source}" for service, source in find.plan().items()]
    except WrongTree as error:
        raise pytest.UsageError(str(error)) from None


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The server of the whole run; nothing may break it."""
    server = find.shared_postgres()
    yield server
    server.close()


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[Broker]:
    """The broker of the whole run; nothing may break it."""
    broker = find.shared_rabbitmq()
    yield broker
    broker.close()


@pytest.fixture(scope="session")
def template(postgres: PostgresServer) -> Iterator[str]:
    """A database migrated once; every test's is a copy of it."""
    name = f"relay_template_{token_hex(4)}"
    postgres.create_database(name)
    migrate.apply(postgres.url(name))
    yield name
    postgres.drop_database(name)


@pytest.fixture
async def db(postgres: PostgresServer, template: str) -> AsyncIterator[Database]:
    """A fresh, migrated database."""
    name = f"relay_test_{token_hex(4)}"
    await asyncio.to_thread(postgres.create_database, name, template=template)
    database = Database(postgres.url(name), name)
    yield database
    await database.close()
    await asyncio.to_thread(postgres.drop_database, name)


@pytest.fixture
async def amqp(rabbitmq: Broker) -> AsyncIterator[Amqp]:
    """A vhost of the test's own."""
    async with fresh_vhost(rabbitmq) as made:
        yield made


@pytest.fixture
async def part(broker: OwnRabbitMQ) -> AsyncIterator[Amqp]:
    """A vhost, with a durable queue `all`, of the `broker` that the module of tests makes."""
    async with fresh_vhost(broker) as made:
        await made.queue("all")
        yield made


@pytest.fixture
def own_postgres() -> Iterator[Callable[..., OwnPostgres]]:
    """Makes servers to break: `own_postgres(durable=True, settings={...}, hba=[...], tls=...)`."""
    servers: list[OwnPostgres] = []

    def make(**options: Any) -> OwnPostgres:
        servers.append(find.own_postgres(**options))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
async def own_database(
    own_postgres: Callable[..., OwnPostgres],
) -> AsyncIterator[Callable[..., tuple[OwnPostgres, Database]]]:
    """Makes a server to break with a migrated database in it."""
    databases: list[Database] = []

    def make(**options: Any) -> tuple[OwnPostgres, Database]:
        server = own_postgres(**options)
        server.create_database("service")
        migrate.apply(server.url("service"))
        databases.append(Database(server.url("service"), "service"))
        return server, databases[-1]

    yield make
    for database in databases:
        await database.close()


@pytest.fixture
def own_standby() -> Iterator[Callable[[OwnPostgres], Standby]]:
    """Makes standbys of servers of our own."""
    standbys: list[Standby] = []

    def make(primary: OwnPostgres) -> Standby:
        standbys.append(find.own_standby(primary))
        return standbys[-1]

    yield make
    for standby in standbys:
        standby.close()


@pytest.fixture
def own_pgbouncer() -> Iterator[Callable[..., PgBouncer]]:
    """Makes poolers: `own_pgbouncer(server, default_pool_size="2")`."""
    poolers: list[PgBouncer] = []

    def make(server: PostgresServer, **settings: str) -> PgBouncer:
        poolers.append(find.own_pgbouncer(server, **settings))
        return poolers[-1]

    yield make
    for pooler in poolers:
        pooler.close()


@pytest.fixture
def own_rabbitmq() -> Iterator[Callable[..., OwnRabbitMQ]]:
    """Makes brokers to break: `own_rabbitmq(config=[...], tls=..., verify_peer=...)`."""
    brokers: list[OwnRabbitMQ] = []

    def make(**options: Any) -> OwnRabbitMQ:
        brokers.append(find.own_rabbitmq(**options))
        return brokers[-1]

    yield make
    for broker in brokers:
        broker.close()


@pytest.fixture
async def proxy() -> AsyncIterator[Callable[[str, int], Awaitable[Proxy]]]:
    """Makes proxies: `await proxy(host, port)`."""
    proxies: list[Proxy] = []

    async def make(host: str, port: int) -> Proxy:
        proxies.append(await Proxy(host, port).start())
        return proxies[-1]

    yield make
    for each in proxies:
        await each.close()

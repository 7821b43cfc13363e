"""The situations in which the pages' commands are run, brought about on purpose."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from relay import migrate
from tests.builders import Amqp, Database, eventually
from tests.deploy.stage import PASSWORD, Stage
from tests.running import RelayProcess

GONE = "127.0.0.1:1"
"""Nothing listens there."""

Prepare = Callable[[Stage], AbstractAsyncContextManager[None]]
SITUATIONS: dict[str, Prepare] = {}


def situation(name: str) -> Callable[[Callable[[Stage], AsyncIterator[None]]], Prepare]:
    """Give a situation the name by which the pages call it."""

    def keep(function: Callable[[Stage], AsyncIterator[None]]) -> Prepare:
        SITUATIONS[name] = asynccontextmanager(function)
        return SITUATIONS[name]

    return keep


async def statuses(made: Stage, **wanted: int) -> None:
    """Wait until there are that many rows of each status."""

    async def reached() -> None:
        assert await made.db.statuses() == wanted

    await eventually(reached, 20)


@situation("calm")
async def calm(made: Stage) -> AsyncIterator[None]:
    """A relay that has delivered some rows, and has nothing to do."""
    process = await made.relay()
    await made.db.insert(n=25)
    await statuses(made, sent=25)
    await eventually(lambda: _sampled(process), 20)
    yield


async def _sampled(process: RelayProcess) -> None:
    """Its page knows of an empty outbox."""
    assert (await process.status())["backlog"]["pending"] == 0


@situation("empty database")
async def empty_database(made: Stage) -> AsyncIterator[None]:
    """Before the first deploy: the service's login, the consumers' queue, and nothing of the relay's."""
    await made.db.fetch("DROP SCHEMA outbox CASCADE; REVOKE outbox_producer FROM shop_service; DROP ROLE relay, keeper")
    await asyncio.to_thread(made.rabbitmq.delete_user, "relay")
    yield


@situation("waiting")
async def waiting(made: Stage) -> AsyncIterator[None]:
    """Rows that are due, and no relay."""
    await made.db.insert(n=25)
    yield


@situation("broker outage")
async def broker_outage(made: Stage) -> AsyncIterator[None]:
    """The broker is not there, and the relay has noticed."""
    made.amqp_url = f"amqp://relay:{PASSWORD}@{GONE}/shop"
    await made.db.insert(n=25)
    await (await made.relay()).says("outage.began", side="broker")
    yield


@situation("alarm")
async def alarm(made: Stage) -> AsyncIterator[None]:
    """The broker blocks publishers, and the relay has noticed."""
    process = await made.relay()
    await asyncio.to_thread(made.rabbitmq.alarm, on=True)
    try:
        await made.db.insert(n=5)
        await process.says("outage.began", reason="blocked")
        yield
    finally:
        await asyncio.to_thread(made.rabbitmq.alarm, on=False)


@situation("database outage")
async def database_outage(made: Stage) -> AsyncIterator[None]:
    """The database is not there, and the relay has noticed."""
    made.urls["look"] = f"postgresql://relay:{PASSWORD}@{GONE}/shop"
    await (await made.relay()).says("outage.began", side="database")
    yield


@situation("missing grant")
async def missing_grant(made: Stage) -> AsyncIterator[None]:
    """Somebody took a right away."""
    await made.db.fetch("REVOKE UPDATE (last_error) ON outbox.message FROM outbox_relay")
    yield


@situation("wrong setting")
async def wrong_setting(made: Stage) -> AsyncIterator[None]:
    """A setting that nobody can use."""
    made.settings["LANES"] = "many"
    yield


@situation("locked")
async def locked(made: Stage) -> AsyncIterator[None]:
    """A report that was begun and never ended locks the table."""
    await (await made.session("nightly-report")).execute("LOCK TABLE outbox.message")
    yield


@situation("old snapshot")
async def old_snapshot(made: Stage) -> AsyncIterator[None]:
    """A report that was begun and never ended keeps its snapshot."""
    session = await made.session("nightly-report")
    await session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    await session.execute("SELECT 1 FROM outbox.message")
    yield


@situation("failed")
async def failed(made: Stage) -> AsyncIterator[None]:
    """Three rows that no queue takes were given up, and one that is no message; the relay goes on."""
    made.settings["MAX_FAILURES"] = 1
    await made.relay()
    await made.db.insert(n=3, routing_key="nobody.ever")
    await made.db.insert(routing_key="order.paid", headers={"price": 1.5})
    await statuses(made, failed=4)
    yield


@situation("mended")
async def mended(made: Stage) -> AsyncIterator[None]:
    """Three rows that no queue took were given up; meanwhile one would."""
    made.settings["MAX_FAILURES"] = 1
    await made.db.insert(n=3, routing_key="nobody.ever")
    code, _ = await made.run("relay run --drain")
    assert code == 0
    await statuses(made, failed=3)
    await made.amqp.queue("late", "orders", "nobody.ever")
    yield


@situation("blocked keys")
async def blocked_keys(made: Stage) -> AsyncIterator[None]:
    """A refused row waits for its retry, and a row of its key behind it."""
    await asyncio.to_thread(migrate.apply, made.urls["owner"], only="ordering")
    made.settings |= {"ORDERING": "key", "RETRY_BASE_SECONDS": 3600, "RETRY_MAX_SECONDS": 3600}
    process = await made.relay()
    await made.db.insert(n=2, routing_key="nobody.ever", key="order-7")

    async def refused() -> None:
        assert await made.db.fetch("SELECT failures FROM {table} ORDER BY id") == [(1,), (0,)]

    await eventually(refused, 20)
    assert await process.stop() == 0
    yield


@situation("old rows")
async def old_rows(made: Stage) -> AsyncIterator[None]:
    """Rows that were sent long ago, and some that were not."""
    await made.db.insert(n=50)
    await made.db.fetch("UPDATE {table} SET status = 'sent', sent_at = now() - interval '40 days' WHERE id <= 40")
    await made.db.fetch("UPDATE {table} SET status = 'sent', sent_at = now() WHERE id > 40")
    yield


@situation("two logins")
async def two_logins(made: Stage) -> AsyncIterator[None]:
    """A relay at work with the login that is to go."""
    await made.relay()
    yield


@situation("rotated")
async def rotated(made: Stage) -> AsyncIterator[None]:
    """The relay was started anew with the second login."""
    await made.db.fetch("CREATE ROLE relay2 LOGIN PASSWORD 'choose-one' IN ROLE outbox_relay, pg_monitor")
    rights = {"configure": "^$", "write": r"^(orders|amq\.default)$", "read": "^$"}
    await asyncio.to_thread(lambda: made.rabbitmq.add_user("relay2", PASSWORD, vhost="shop", **rights))
    made.urls["look"], made.amqp_url = made.url("relay2"), made.rabbitmq.url("shop", "relay2", PASSWORD)
    await made.db.insert()
    await made.relay()
    await statuses(made, sent=1)
    await made.amqp.close(remove=False)
    yield


@situation("clone")
async def clone(made: Stage) -> AsyncIterator[None]:
    """A copy of the database beside it, with rows that wait, and servers of its own to publish to."""
    await made.db.insert(n=10)
    await made.db.close()
    await asyncio.to_thread(made.postgres.create_database, "clone", template="shop")
    made.db = Database(made.postgres.url("clone"), "clone")
    await made.db.fetch("CREATE ROLE staging_relay LOGIN PASSWORD 'choose-one' IN ROLE outbox_relay")
    await asyncio.to_thread(made.rabbitmq.add_vhost, "staging")
    everything: Mapping[str, str] = {"configure": ".*", "write": ".*", "read": ".*"}
    await asyncio.to_thread(lambda: made.rabbitmq.add_user("staging", PASSWORD, vhost="staging", **everything))
    staging = Amqp(made.rabbitmq.url("staging"), "staging")
    await staging.queue("all", "orders")
    await staging.close(remove=False)
    made.urls = {"owner": made.postgres.url("clone"), "look": made.url("staging_relay", database="clone")}
    made.amqp_url = made.rabbitmq.url("staging", "staging", PASSWORD)
    yield


@situation("restored")
async def restored(made: Stage) -> AsyncIterator[None]:
    """A backup was restored under the old name; the old database can still be read.

    The backup holds 4 rows that were sent, 10 that waited and one for next week. Since then 8 of the ten were sent, and
    6 new ones.
    """
    await made.db.insert(n=4)
    assert (await made.run("relay run --drain"))[0] == 0
    await made.db.insert(n=10)
    await made.db.insert()
    await made.db.fetch("UPDATE {table} SET available_at = now() + interval '7 days' WHERE id = 15")
    backup = str(made.folder / "backup.dump")
    await asyncio.to_thread(_tool, ["pg_dump", "--format=custom", f"--file={backup}", made.urls["owner"]])
    await made.db.fetch("UPDATE {table} SET available_at = now() + interval '1 hour' WHERE id IN (13, 14)")
    await made.db.insert(n=6)
    assert (await made.run("relay run --drain"))[0] == 0
    assert await made.db.statuses() == {"sent": 18, "pending": 3}
    await made.db.close()
    await asyncio.to_thread(made.postgres.admin, "ALTER DATABASE shop RENAME TO old")
    await asyncio.to_thread(made.postgres.create_database, "shop")
    await asyncio.to_thread(_tool, ["pg_restore", f"--dbname={made.urls['owner']}", "--exit-on-error", backup])
    made.more["OLD_URL"] = made.postgres.url("old")
    assert await made.db.statuses() == {"sent": 4, "pending": 11}
    yield


def _tool(argv: list[str]) -> None:
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

"""The table's health as a person meets it: `relay status`, `relay check`, and the log of a relay that cannot look."""

import asyncio
import json
import re
from collections.abc import Callable

from psycopg import sql

from relay import __version__
from services.find import OwnPostgres
from tests.builders import Amqp, Database, eventually
from tests.logins import relay_login
from tests.running import command, environment, relay


async def test_status_tells_the_tables_health_and_check_what_is_hidden_from_the_login(
    own_database: Callable[..., tuple[OwnPostgres, Database]], amqp: Amqp
) -> None:
    postgres, db = await asyncio.to_thread(own_database, settings={"autovacuum": "off"})
    await amqp.queue("all", "orders")
    await db.insert(payload={"card": "4111"}, status="failed", last_error="unroutable: nobody listens")
    holder = await db.connect(f"{db.url}{'&' if '?' in db.url else '?'}application_name=report")
    await holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    await holder.execute("SELECT count(*) FROM pg_class")
    await db.insert()
    async with relay_login(postgres, db) as login:
        env = environment(login.url, amqp.url)
        code, out, err = await command(env, "status")
        assert (code, err) == (0, "")
        # The row, and the login.
        held = f"held up   by transaction of pid {holder.info.backend_pid} (report), 2 transactions behind\n"
        for line in (
            held,
            "degraded  grant pg_monitor to see other logins' sessions",
            "replicas  none connected\n",
            ": unroutable: nobody listens\n",
        ):
            assert (line in out, "4111" in out) == (True, False), out
        code, out, _ = await command(env, "check")
        assert (code, f'GRANT pg_monitor TO "{login.plain}";' in out) == (0, True)
        await db.fetch(sql.SQL("GRANT pg_monitor TO {}").format(login.name))
        _, out, _ = await command(env, "status")
        assert "degraded" not in out
        assert re.search(r"held up +by transaction of pid \d+ \(report\), open for ", out)
        assert "✓ sessions" in (await command(env, "check"))[1]


async def test_status_counts_relays_and_no_commands(db: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    async with relay(db, amqp, NAME="relay-a", HEALTH_SAMPLE_SECONDS=1) as process:

        async def looked() -> None:
            assert (await process.status())["replicas"] == [{"name": "relay-a", "version": __version__}]

        await eventually(looked, 20)
        seen = json.loads((await command(environment(db.url, amqp.url, {"NAME": "laptop"}), "status", "--json"))[1])
        assert seen["replicas"] == [{"name": "relay-a", "version": __version__}]
        assert seen["table"]["complete"]
        assert await process.stop() == 0


async def test_a_look_at_the_table_that_fails_is_told_and_stops_no_row(db: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    async with relay(db, amqp, HEALTH_SAMPLE_SECONDS=1) as process:

        async def looked() -> str:
            page = await process.status()
            assert page["table"] is not None
            return str(page["table"]["sampled_at"])

        first = await eventually(looked, 20)
        await db.fetch("ALTER FUNCTION pg_indexes_size(regclass) RENAME TO gone")
        told = await process.says("health.sample_failed")
        assert (told["level"], told["reason"]) == ("warning", "schema")
        await db.insert(n=3)

        async def sent() -> None:
            assert await db.statuses() == {"sent": 3}

        await eventually(sent, 20)
        await db.fetch("ALTER FUNCTION gone(regclass) RENAME TO pg_indexes_size")
        await process.says("health.sample_recovered")

        async def again() -> None:
            assert await looked() > first

        await eventually(again, 20)
        assert len(process.seen("health.sample_failed")) == 1
        assert process.seen("outage.began") == []
        assert await process.stop() == 0

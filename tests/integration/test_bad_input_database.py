"""A database that is not as it should be: named with what mends it, nothing lost, and over when it is mended."""

import asyncio
import json
from typing import Any, LiteralString

import pytest

from services.postgres import PostgresServer
from tests.builders import Amqp, Database, eventually, message_ids, payloads
from tests.logins import PASSWORD, relay_login
from tests.running import RelayProcess, command, environment, relay, start


async def sent(db: Database, rows: int) -> None:
    """Wait until that many rows are sent, none ever charged, and none is left."""

    async def all_of_them() -> None:
        found = await db.fetch("SELECT status, count(*), sum(failures)::int FROM {table} GROUP BY status")
        assert found == [("sent", rows, 0)]

    await eventually(all_of_them, 40)


async def with_login(db: Database, url: str) -> Database:
    """The same database as another login sees it, for a relay."""
    return Database(url, db.name)


# -- check --------------------------------------------------------------------------------------------------------

DAMAGE: tuple[tuple[LiteralString, str], ...] = (
    ("DROP INDEX outbox.message_pending", "index.pending"),
    ("DROP INDEX outbox.message_failed", "index.failed"),
    ("ALTER TABLE outbox.message DROP COLUMN sent_at", "column.missing"),
    ("ALTER TABLE outbox.message ALTER headers DROP NOT NULL", "column.nullable"),
    ("ALTER TABLE outbox.message ALTER claims TYPE numeric", "column.type"),
    ("REVOKE SELECT ON outbox.message FROM outbox_relay", "grant.select"),
    ("REVOKE UPDATE (last_error) ON outbox.message FROM outbox_relay", "grant.update"),
    ("ALTER TABLE outbox.message ENABLE ROW LEVEL SECURITY", "table.row_security"),
    ("ALTER TABLE outbox.message ALTER id SET CACHE 50", "sequence.cache"),
)


async def findings(env: dict[str, str]) -> tuple[int, dict[str, dict[str, Any]]]:
    """Run `relay check --json`: its exit code, and what is not well by its code."""
    code, out, err = await command(env, "check", "--json")
    assert err == ""
    return code, {each["code"]: each for each in json.loads(out) if each["verdict"] != "ok"}


async def test_every_fix_that_check_prints_mends_what_it_found(
    postgres: PostgresServer, db: Database, amqp: Amqp
) -> None:
    await amqp.queue("all", "orders")
    async with relay_login(postgres, db) as login:
        env = environment(login.url, amqp.url)
        assert await findings(env) == (0, {})
        # They hold on to the columns, and a relay needs none of them.
        await db.fetch("DROP FUNCTION outbox.delete_sent, outbox.delete_failed, outbox.requeue_failed")
        for damage, _ in DAMAGE:
            await db.fetch(damage)
        code, found = await findings(env)
        assert (code, set(found)) == (3, {code for _, code in DAMAGE} | {"index.sent"})
        assert found["index.failed"]["verdict"] == found["sequence.cache"]["verdict"] == "warning"
        assert f"{login.plain} may not UPDATE last_error" in found["grant.update"]["text"]
        for _ in range(2):  # a column that is made anew lacks its grant, and its index
            for finding in found.values():
                await db.fetch(finding["fix"])
            code, found = await findings(env)
        assert (code, found) == (0, {})
        await db.fetch("REVOKE USAGE ON SCHEMA outbox FROM outbox_relay")
        code, found = await findings(env)
        assert (code, set(found)) == (3, {"schema.usage"})


async def test_check_tells_a_server_that_is_gone_from_a_wrong_word(
    postgres: PostgresServer, db: Database, amqp: Amqp
) -> None:
    gone = "127.0.0.1:1"
    wrong_login = postgres.url(db.name, "postgres", "hunter2")
    cases = (
        (environment(db.url, amqp.url), 3, "no_exchange", "declare the exchange orders"),
        (environment(f"postgresql://u:hunter2@{gone}/x", amqp.url), 4, "refused", "that the server runs"),
        (environment(wrong_login, amqp.url), 3, "auth", "check the user and the password in RELAY_DATABASE_URL"),
        (environment(postgres.url("nowhere"), amqp.url), 3, "schema", "check the name of the database"),
        (environment(db.url, amqp.url, {"SCHEMA": "nope"}), 3, "schema.missing", "relay migrate up"),
        (environment(db.url, amqp.url, {"TABLE": "nope"}), 3, "schema.missing", "relay migrate up"),
        (environment(db.url, f"amqp://u:hunter2@{gone}/"), 4, "refused", "that the broker runs"),
        (environment(db.url, amqp.url.replace("guest@", "hunter2@")), 3, "auth", "the password in RELAY_AMQP_URL"),
        (environment(db.url, amqp.url.rpartition("/")[0] + "/nowhere"), 3, "refused", "rabbitmqctl add_vhost"),
    )
    for env, wanted, code, fix in cases:
        ended, out, err = await command(env, "check", "--json")
        found = {each["code"]: each["fix"] for each in json.loads(out)}
        assert (ended, err, fix in found.get(code, "")) == (wanted, "", True), out
        assert "hunter2" not in out


# -- the daemon ---------------------------------------------------------------------------------------------------


async def unready(process: RelayProcess, *words: str) -> None:
    """Wait until the relay names those words in its log and its page, alive all the same."""

    def told() -> None:
        details = [each["detail"] for each in process.seen("schema.missing")]
        assert any(all(word in detail for word in words) for detail in details), (words, details)

    await eventually(told, 20)

    async def shown() -> None:
        status, text = await process.get("/readyz")
        assert (status, all(word in json.loads(text)["reason"] for word in words)) == (503, True), text

    await eventually(shown)
    assert (await process.get("/livez"))[0] == 200


MENDED: tuple[tuple[LiteralString, tuple[str, ...], LiteralString], ...] = (
    (
        "REVOKE UPDATE (claims) ON outbox.message FROM outbox_relay",
        ("grant.update", "may not UPDATE claims", 'GRANT UPDATE (claims) ON "outbox"."message" TO'),
        "GRANT UPDATE (claims) ON outbox.message TO outbox_relay",
    ),
    (
        "ALTER TABLE outbox.message RENAME COLUMN claim_token TO hidden",
        ("column.missing", 'ALTER TABLE "outbox"."message" ADD COLUMN claim_token uuid;'),
        "ALTER TABLE outbox.message RENAME COLUMN hidden TO claim_token",
    ),
    (
        "ALTER TABLE outbox.message ENABLE ROW LEVEL SECURITY",
        ("table.row_security", "BYPASSRLS"),
        "ALTER TABLE outbox.message DISABLE ROW LEVEL SECURITY",
    ),
    (
        "ALTER TABLE outbox.message RENAME TO elsewhere",
        ("schema.missing", 'there is no table "outbox"."message"', "relay migrate up"),
        "ALTER TABLE outbox.elsewhere RENAME TO message",
    ),
)


async def test_what_is_missing_is_named_and_once_it_is_there_the_relay_goes_on(
    postgres: PostgresServer, db: Database, amqp: Amqp
) -> None:
    await amqp.queue("all", "orders")
    await db.insert(n=2)
    await db.fetch("DROP INDEX outbox.message_pending")
    async with (
        relay_login(postgres, db) as login,
        relay(await with_login(db, login.url), amqp, RESCAN_SECONDS=0.2) as process,
    ):
        await unready(process, "index.pending", "CREATE INDEX CONCURRENTLY ON")
        assert await db.fetch("SELECT DISTINCT claims FROM {table}") == [(0,)]
        await db.fetch("CREATE INDEX ON outbox.message (id) WHERE status = 'pending'")
        await sent(db, 2)
        for rows, (damage, words, mend) in enumerate(MENDED, 3):
            await db.fetch(damage)
            await unready(process, *words)
            await db.fetch(mend)
            await db.insert()
            await sent(db, rows)
        assert len(process.seen("schema.ready")) == len(MENDED) + 1
        assert PASSWORD not in "".join(process.lines)
        assert await process.stop() == 0
    assert len(await amqp.drain("all", 2 + len(MENDED))) == 2 + len(MENDED)


async def test_a_read_only_database_is_an_outage_until_it_takes_writes(
    postgres: PostgresServer, db: Database, amqp: Amqp
) -> None:
    await amqp.queue("all", "orders")
    async with relay_login(postgres, db) as login:
        await login.set("default_transaction_read_only", "on")
        env = environment(login.url, amqp.url)
        code, found = await findings(env)
        assert (code, set(found)) == (3, {"read_only"})
        assert "point RELAY_DATABASE_URL at the primary" in found["read_only"]["fix"]
        async with relay(await with_login(db, login.url), amqp) as process:
            began = await process.says("outage.began", side="database", reason="read_only")
            assert "read-only" in began["detail"]
            await db.insert(n=3)
            await login.set("default_transaction_read_only", "off")
            await sent(db, 3)
            assert await process.stop() == 0


async def test_the_defaults_of_a_role_change_nothing(postgres: PostgresServer, db: Database, amqp: Amqp) -> None:
    """A claim that is not on disk, or a statement that is cut short, would be the harm."""
    await amqp.queue("all", "orders", routing_key="order.#")
    async with relay_login(postgres, db) as login:
        for parameter, value in {
            "DateStyle": "German, DMY",
            "TimeZone": "Asia/Kathmandu",
            "bytea_output": "escape",
            "client_encoding": "LATIN1",
            "default_transaction_deferrable": "on",
            "default_transaction_isolation": "serializable",
            "idle_in_transaction_session_timeout": "1ms",
            "lock_timeout": "1ms",
            "row_security": "off",
            "search_path": "",
            "standard_conforming_strings": "off",
            "statement_timeout": "1ms",
            "synchronous_commit": "off",
        }.items():
            await login.set(parameter, value)
        await db.insert(n=300, payload={"note": "größer ☃"})
        bad = await db.insert(n=3, routing_key="nobody listens")
        settings = {"RETRY_BASE_SECONDS": 0.05, "RETRY_MAX_SECONDS": 0.1, "RESCAN_SECONDS": 0.1, "MAX_FAILURES": 2}
        async with relay(await with_login(db, login.url), amqp, **settings) as process:

            async def settled() -> None:
                assert await db.statuses() == {"sent": 300, "failed": 3}

            await eventually(settled, 40)
            backlog = await process.says("backlog.sample_recovered") if process.seen("backlog.sample_failed") else None
            assert backlog is None or backlog["level"] == "info"
            assert await process.stop() == 0
        failed = await db.fetch("SELECT id, failures, last_error FROM {table} WHERE status = 'failed' ORDER BY id")
        assert [(row[0], row[1], row[2][:11]) for row in failed] == [(row_id, 2, "unroutable:") for row_id in bad]
    assert {body["note"] for body in payloads(await amqp.drain("all", 300))} == {"größer ☃"}


@pytest.mark.parametrize("isolation", ["serializable", "repeatable read"])
async def test_producers_of_any_isolation_lose_nothing_and_wait_for_nobody(
    db: Database, amqp: Amqp, isolation: str
) -> None:
    await amqp.queue("all", "orders")

    async def produce(number: int) -> None:
        connection = await db.connect()
        await connection.execute(f"SET default_transaction_isolation = '{isolation}'".encode())
        for turn in range(20):
            async with connection.transaction(force_rollback=turn % 4 == 3):
                await connection.execute(
                    "INSERT INTO outbox.message (routing_key, payload) VALUES ('a', %s)", (json.dumps([number, turn]),)
                )

    async with relay(db, amqp, BATCH_SIZE=10, RESCAN_SECONDS=0.1) as process:
        await process.says("relay.started")
        await asyncio.gather(*(produce(number) for number in range(4)))
        await sent(db, 60)
    arrived = payloads(await amqp.drain("all", 60))
    assert sorted(arrived) == [[number, turn] for number in range(4) for turn in range(20) if turn % 4 != 3]


async def test_relays_with_different_settings_share_a_table(db: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    one = {"BATCH_SIZE": 7, "LANES": 1, "BATCH_BYTES": 1024}
    other = {"BATCH_SIZE": 1000, "LANES": 4, "LEASE_SECONDS": 90}
    async with relay(db, amqp, **one) as small, relay(db, amqp, **other) as large:
        await small.says("relay.started")
        await large.says("relay.started")
        for _ in range(10):
            await db.insert(n=100)
        await sent(db, 1000)
    arrived = message_ids(await amqp.drain("all", 1000))
    assert len(arrived) == len(set(arrived)) == 1000


# -- size ---------------------------------------------------------------------------------------------------------


async def test_an_empty_table_is_drained_at_once(db: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    async with relay(db, amqp, "--drain") as process:
        assert await process.ended() == 0
    assert process.seen("relay.stopped")
    assert not process.seen("tick")
    code, out, _ = await command(environment(db.url, amqp.url), "status", "--json")
    assert (code, json.loads(out)["backlog"]["pending"]) == (0, 0)


async def reads(db: Database) -> tuple[int, int]:
    """How often the table was scanned whole, and how many index entries were read, so far."""
    ((scans, entries),) = await db.fetch(
        """
        SELECT t.seq_scan, (SELECT sum(i.idx_tup_read)::bigint FROM pg_stat_user_indexes AS i WHERE i.relid = t.relid)
        FROM pg_stat_user_tables AS t WHERE t.relname = 'message'
        """
    )
    return scans, entries


@pytest.mark.timeout(180)
async def test_a_million_rows_of_history_cost_nothing(db: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    await db.fetch(
        """
        INSERT INTO outbox.message (routing_key, payload, status, sent_at)
        SELECT 'order.paid', '{}', CASE WHEN n % 1000 = 0 THEN 'pending' ELSE 'sent' END, now()
        FROM generate_series(1, 1000000) AS n
        """
    )
    writer = await db.connect()  # its counters reach the views when it ends
    await writer.close()
    before = await reads(db)
    process = await start(environment(db.url, amqp.url, {"BACKLOG_SAMPLE_SECONDS": 1}), "--drain")
    try:
        assert await process.ended(60) == 0
    finally:
        await process.close()
    assert await amqp.count("all") == 1000

    async def counted() -> None:
        assert (await reads(db))[1] - before[1] >= 1000

    await eventually(counted)
    scans, entries = await reads(db)
    assert scans == before[0]
    assert entries - before[1] < 30_000

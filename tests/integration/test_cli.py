"""The commands as a person and a script meet them: real processes, exit codes, stdout for data and stderr for talk."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from tests.builders import Amqp, Database, eventually
from tests.running import command, environment, relay

HEAVY = ("psycopg", "pydantic", "aiormq", "aiohttp", "structlog", "prometheus_client", "asyncio")
BARE = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}


async def shell(env: Mapping[str, str], script: str) -> tuple[int, str, str]:
    """Run a shell script in which `$relay` is the command: its exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", script),
        env={**env, "relay": f"{sys.executable} -m relay"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def on_a_terminal(env: Mapping[str, str], *args: str, typed: str = "") -> tuple[int, str]:
    """Run a command on a terminal, with something typed at it: its exit code and all it showed."""
    ours, theirs = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "relay", *args),
        env={**env, "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = bytearray()

    def read() -> None:
        try:
            while chunk := os.read(ours, 4096):
                shown.extend(chunk)
        except OSError:  # how a terminal says that its last writer has gone
            return

    os.write(ours, typed.encode())
    await asyncio.to_thread(read)
    os.close(ours)
    return await process.wait(), shown.decode()


def test_the_colour_of_a_developers_shell_is_not_for_the_tests() -> None:
    assert not {"NO_COLOR", "FORCE_COLOR"} & BARE.keys()


async def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    script = "$relay --help && exec python -X importtime -m relay --help >/dev/null"
    code, out, err = await shell(BARE, script.replace("python", sys.executable))
    assert code == 0
    for name in (
        "run",
        "check",
        "config",
        "status",
        "migrate",
        "doorbell",
        "cleanup",
        "retry",
        "healthcheck",
        "version",
    ):
        assert f" {name} " in out
    imported = {line.rpartition("|")[2].strip() for line in err.splitlines()}
    assert "relay.cli" in imported
    assert imported.isdisjoint(HEAVY)


async def test_the_version_is_one_line_of_data() -> None:
    for args, wanted in ((("version",), "0.1.0\n"), (("--version",), "relay 0.1.0\n")):
        assert await command(BARE, *args) == (0, wanted, "")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("chekc",), "Did you mean 'check'?"),
        (("run", "--drian"), "Did you mean '--drain'?"),
        (("check", "extra"), "unexpected extra argument"),
        (("cleanup", "--older-than", "3x"), "write a number and a unit"),
        (("cleanup", "--batch", "0"), "is not in the range"),
        (("retry", "--limit", "-1"), "is not in the range"),
        (("migrate", "sideways"), "No such command 'sideways'"),
    ],
)
async def test_a_mistyped_command_ends_in_2_and_says_so_on_stderr(args: tuple[str, ...], said: str) -> None:
    code, out, err = await command(BARE, *args)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["run", "check", "config", "status", "cleanup", "retry"])
async def test_every_command_refuses_a_wrong_environment_whole(name: str) -> None:
    wrong = {
        "RELAY_DATABASE_URL": "postgresql://relay:hunter2@db:99999/shop",
        "RELAY_AMQP_URL_FILE": "/nowhere/amqp",
        "RELAY_EXCHANGE": "",
        "RELAY_LANES": "99",
        "RELAY_LEASE_SECONDS": "soon",
        "RELAY_BATHC_SIZE": "5",
    }
    code, out, err = await command(BARE | wrong, name)
    assert (code, out) == (2, "")
    for line in (
        "RELAY_DATABASE_URL: the host or the port is wrong",
        "RELAY_AMQP_URL: the file /nowhere/amqp cannot be read: No such file or directory",
        "RELAY_EXCHANGE: is empty; write amq.default for the default exchange",
        "RELAY_LANES: is too large; allowed: a whole number from 1 to 16",
        "RELAY_LEASE_SECONDS: is not a number",
        "RELAY_BATHC_SIZE: no such setting; did you mean RELAY_BATCH_SIZE?",
        "`relay config --reference` lists every setting.",
    ):
        assert line in err
    assert "hunter2" not in err


# -- config -------------------------------------------------------------------------------------------------------


async def test_config_shows_what_is_in_force_and_no_password() -> None:
    env = environment("postgresql://relay:hunter2@db/shop", "amqp://relay:hunter3@mq/%2F", {"LANES": 3})
    code, out, err = await command(env, "config")
    assert (code, err) == (0, "")
    shown = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert shown["RELAY_DATABASE_URL"] == "postgresql://relay:****@db/shop"
    assert shown["RELAY_AMQP_URL"] == "amqp://relay:****@mq/%2F"
    assert (shown["RELAY_LANES"], shown["RELAY_BATCH_SIZE"]) == ("3", "500")
    code, text, _ = await command(env, "config", "--json")
    assert (code, json.loads(text)) == (0, shown)


async def test_config_lists_every_setting_without_any_being_set() -> None:
    code, out, err = await command(BARE, "config", "--reference")
    assert (code, err) == (0, "")
    assert "RELAY_BATCH_SIZE  (default: 500)\n    Rows one claim takes at most.\n    Takes: a whole number" in out
    code, text, _ = await command(BARE, "config", "--reference", "--json")
    names = {entry["name"] for entry in json.loads(text)}
    assert {"RELAY_DATABASE_URL", "RELAY_DATABASE_URL_FILE", "RELAY_NAME"} <= names


# -- streams ------------------------------------------------------------------------------------------------------


async def test_a_reader_that_leaves_early_is_no_error_of_ours() -> None:
    env = environment("postgresql://relay:x@db/shop", "amqp://relay:x@mq/")
    code, out, err = await shell(env, "$relay config --reference | head -1; $relay config | true")
    assert (code, out, err) == (0, "RELAY_DATABASE_URL\n", "")


async def test_a_full_disk_is_told_in_one_line() -> None:
    env = environment("postgresql://relay:x@db/shop", "amqp://relay:x@mq/")
    assert await shell(env, "$relay config > /dev/full") == (1, "", "[Errno 28] No space left on device\n")


async def test_colours_are_for_terminals_whose_owner_wants_them() -> None:
    env = environment("postgresql://relay:x@127.0.0.1:1/shop", "amqp://relay:x@127.0.0.1:1/")
    code, shown = await on_a_terminal(env, "check")
    assert (code, "\x1b[31m✗" in shown) == (4, True)
    for args in (("check",), ("--help",)):
        assert "\x1b[3" not in (await on_a_terminal(env | {"NO_COLOR": "1"}, *args))[1]
        assert "\x1b" not in "".join((await command(env, *args))[1:])


async def test_the_log_for_a_person_has_colours_as_they_wish(db: Database, amqp: Amqp) -> None:
    env = environment(db.url, amqp.url, {"LOG_FORMAT": "console"})
    code, shown = await on_a_terminal(env, "run", "--drain")
    assert (code, "\x1b[" in shown, "relay.stopped" in shown) == (0, True, True)
    code, shown = await on_a_terminal(env | {"NO_COLOR": "1"}, "run", "--drain")
    assert (code, "\x1b[" in shown, "relay.stopped" in shown) == (0, False, True)


async def test_an_old_encoding_costs_signs_not_the_command() -> None:
    env = environment("postgresql://relay:x@127.0.0.1:1/shop", "amqp://relay:x@127.0.0.1:1/")
    code, out, err = await command(env | {"PYTHONIOENCODING": "latin1"}, "check")
    assert (code, err) == (4, "")
    assert "? configuration  every setting can be used" in out


# -- status and healthcheck ---------------------------------------------------------------------------------------


async def test_status_has_the_same_keys_with_any_server_down(db: Database, amqp: Amqp) -> None:
    await db.insert(n=3)
    gone_db, gone_mq = "postgresql://u:hunter2@127.0.0.1:1/x", "amqp://u:hunter2@127.0.0.1:1/"
    server = {"reachable", "latency_seconds", "reason", "detail"}
    for urls, wanted in (
        ((db.url, amqp.url), (0, True, True)),
        ((gone_db, amqp.url), (4, False, True)),
        ((db.url, gone_mq), (4, True, False)),
    ):
        code, out, err = await command(environment(*urls), "status", "--json")
        seen = json.loads(out)
        assert set(seen) == {"database", "broker", "backlog", "table", "replicas", "failures", "relay"}
        assert set(seen["database"]) == set(seen["broker"]) == server
        assert (code, seen["database"]["reachable"], seen["broker"]["reachable"]) == wanted
        assert (seen["backlog"] or {"pending": None})["pending"] == (3 if urls[0] == db.url else None)
        assert err == ""
        assert "hunter2" not in out
    code, out, _ = await command(environment(gone_db, amqp.url), "status")
    assert code == 4
    assert "database  refused: connection to server" in out
    assert "pending" not in out


async def test_status_tells_a_table_that_cannot_be_read_from_a_server_that_is_gone(db: Database, amqp: Amqp) -> None:
    code, out, _ = await command(environment(db.url, amqp.url, {"TABLE": "nope"}), "status")
    assert code == 1
    assert '; schema: 42P01 relation "outbox.nope" does not exist' in out


async def test_status_and_healthcheck_find_the_relay_of_this_host(db: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    async with relay(db, amqp) as process:
        port = await process.port()
        # A proxy that the shell names would look at a host of its own.
        settings = {"HTTP_PORT": port, "HTTP_HOST": "0.0.0.0"}
        env = environment(db.url, amqp.url, settings) | {"http_proxy": "http://127.0.0.1:1"}
        assert await command(env, "healthcheck") == (0, '{"live": true}\n', "")
        await process.says("relay.started")
        code, out, _ = await command(env, "status")
        assert code == 0
        assert "relay     test-relay 0.1.0, up " in out
        page: dict[str, Any] = json.loads((await command(env, "status", "--json"))[1])["relay"]
        assert page["name"] == "test-relay"
    code, out, err = await command(env, "healthcheck")
    assert (code, out, err) == (1, "", f"no relay answers at 127.0.0.1:{port}: Connection refused\n")


async def test_something_else_at_the_port_is_neither_healthy_nor_a_relay(db: Database, amqp: Amqp) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.0 404 Not Found\r\nContent-Type: application/json\r\n\r\n{"name": [1]}')
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        env = environment(db.url, amqp.url, {"HTTP_PORT": port})
        assert await command(env, "healthcheck") == (1, "", 'not live: 404 {"name": [1]}\n')
        code, out, _ = await command(env, "status")
        assert (code, "something else than a relay answers" in out) == (0, True)
    for port_text in ("ham", "99999999999", "-1"):
        code, _, err = await command(BARE | {"RELAY_HTTP_PORT": port_text}, "healthcheck")
        assert (code, "Traceback" in err) == (1, False)


async def test_status_watches_until_it_is_interrupted(db: Database, amqp: Amqp) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "relay", "status", "--json", "--watch"),
        env=environment(db.url, amqp.url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    first = json.loads(await process.stdout.readline())
    await db.insert(n=2)
    second = json.loads(await process.stdout.readline())
    assert (first["backlog"]["pending"], second["backlog"]["pending"]) == (0, 2)
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


# -- cleanup and retry --------------------------------------------------------------------------------------------


async def test_cleanup_deletes_what_is_old_and_nothing_else(db: Database, amqp: Amqp) -> None:
    env = environment(db.url, amqp.url)
    await db.insert(n=4)
    await db.insert(n=25)
    await db.insert(n=2)
    await db.fetch("UPDATE {table} SET status = 'sent', sent_at = now() - interval '31 days' WHERE id BETWEEN 5 AND 27")
    await db.fetch("UPDATE {table} SET status = 'sent', sent_at = now() WHERE id IN (28, 29)")
    await db.fetch("UPDATE {table} SET status = 'failed', available_at = now() - interval '2 days' WHERE id > 29")
    assert await command(env, "cleanup", "--dry-run") == (0, "would delete 23 sent rows\n", "")
    assert await db.statuses() == {"pending": 4, "sent": 25, "failed": 2}
    code, out, _ = await command(env, "cleanup", "--batch", "10", "--json")
    assert (code, json.loads(out)) == (0, {"rows": 23, "state": "sent", "dry_run": False})
    assert await command(env, "cleanup", "--failed") == (0, "deleted 0 failed rows\n", "")
    assert await command(env, "cleanup", "--failed", "--older-than", "36h") == (0, "deleted 2 failed rows\n", "")
    assert await command(env, "cleanup", "--older-than", "0s", "--batch", "1") == (0, "deleted 2 sent rows\n", "")
    assert await db.statuses() == {"pending": 4}


async def test_what_works_on_the_table_asks_for_nothing_of_the_broker(empty: Database) -> None:
    env = BARE | {"RELAY_DATABASE_URL": empty.url}
    for args in (("migrate", "up", "doorbell"), ("migrate", "status"), ("doorbell", "status"), ("doorbell", "disable")):
        code, _, err = await command(env, *args)
        assert code == 0, err
    assert await command(env, "cleanup", "--dry-run") == (0, "would delete 0 sent rows\n", "")
    assert await command(env, "retry") == (0, "requeued 0 failed rows\n", "")


async def test_retry_makes_failed_rows_pending_and_they_arrive(db: Database, amqp: Amqp) -> None:
    env = environment(db.url, amqp.url)
    await amqp.queue("all", "orders")
    await db.insert(n=5)
    await db.fetch("UPDATE {table} SET status = 'failed', failures = 10, last_error = 'unroutable: 312'")
    assert await command(env, "retry", "--dry-run", "--limit", "3") == (0, "would requeue 3 failed rows\n", "")
    assert await command(env, "retry", "--limit", "1") == (0, "requeued 1 failed row\n", "")
    assert await db.fetch("SELECT id, failures FROM {table} WHERE status = 'pending'") == [(1, 0)]
    code, out, _ = await command(env, "retry", "--batch", "2", "--json")
    assert (code, json.loads(out)) == (0, {"rows": 4, "dry_run": False})
    code, log, err = await command(env, "run", "--drain")
    assert (code, err) == (0, "")
    assert json.loads(log.splitlines()[-1])["event"] == "relay.stopped"
    assert await db.statuses() == {"sent": 5}
    assert await amqp.count("all") == 5


async def test_commands_end_in_4_when_waiting_may_help_and_in_1_when_not(db: Database, amqp: Amqp) -> None:
    wrong = db.url.replace("@", "wrong@", 1)
    for url, wanted, said in (
        ("postgresql://u:hunter2@127.0.0.1:1/x", 4, "database: refused: "),
        (wrong, 1, "database: auth: "),
        (db.url.replace(db.name, "nowhere"), 1, "database: schema: "),
    ):
        for args in (("cleanup",), ("retry",), ("migrate", "status")):
            code, out, err = await command(environment(url, amqp.url), *args)
            assert (code, out) == (wanted, ""), (args, err)
            assert err.startswith(said)
            assert "hunter2" not in err


# -- migrate ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def empty(db: Database) -> Database:
    """A database that was never migrated."""
    await db.fetch("DROP SCHEMA outbox CASCADE")
    return db


async def test_migrate_goes_up_tells_and_goes_down(empty: Database, amqp: Amqp) -> None:
    env = environment(empty.url, amqp.url)
    code, out, err = await command(env, "migrate", "up")
    assert (code, out.splitlines()[0], err) == (0, "applied 0001_message", "outbox.message is up to date\n")
    assert await command(env, "migrate", "up") == (0, "", "outbox.message is up to date\n")
    code, out, _ = await command(env, "migrate", "status", "--json")
    assert (code, {state["state"] for state in json.loads(out)}) == (0, {"applied", "optional"})
    steps = sum(state["state"] == "applied" for state in json.loads(out))
    code, out, err = await command(env, "migrate", "down", "--yes", "--steps", str(steps))
    assert (code, out.splitlines()[-1], err) == (0, "took back 0001_message", "")
    code, out, _ = await command(env, "migrate", "status")
    assert (code, out.splitlines()[0]) == (0, "0001_message: pending")
    assert await command(env, "migrate", "down") == (0, "", "nothing of outbox.message is applied\n")


async def test_down_asks_a_person_and_refuses_without_one(db: Database, amqp: Amqp) -> None:
    env = environment(db.url, amqp.url)
    code, out, err = await command(env, "migrate", "down")
    assert (code, out) == (2, "")
    assert "there is nobody to ask, so pass --yes" in err
    code, shown = await on_a_terminal(env, "migrate", "down", "--steps", "99", typed="n\n")
    assert code == 1
    assert "This drops outbox.message with every row in it. [y/N]" in shown
    assert "Aborted." in shown
    await db.insert()
    code, shown = await on_a_terminal(env, "migrate", "down", typed="y\n")
    assert (code, "took back 00" in shown) == (0, True)
    assert await db.statuses() == {"pending": 1}


async def test_the_printed_sql_makes_the_table_without_a_server_or_a_setting(empty: Database, amqp: Amqp) -> None:
    code, text, err = await command(BARE, "migrate", "sql")
    assert (code, err) == (0, "")
    connection = await empty.connect()
    await connection.execute(text.encode())
    assert (await command(environment(empty.url, amqp.url), "check"))[0] == 3  # the exchange is missing, nothing else
    code, text, _ = await command(BARE, "migrate", "sql", "--down")
    await connection.execute(text.encode())
    assert (await command(BARE, "migrate", "sql", "--schema", ""))[0] == 1


async def test_an_opt_in_comes_and_goes_by_its_name(empty: Database, amqp: Amqp) -> None:
    env = environment(empty.url, amqp.url)
    code, out, _ = await command(env, "migrate", "up", "ordering")
    assert (code, out.splitlines()[-1]) == (0, "applied 1001_ordering")
    assert "1001_ordering: applied" in (await command(env, "migrate", "status"))[1]
    code, _, err = await command(env, "migrate", "down", "ordering")
    assert (code, "this takes back 1001_ordering of outbox.message" in err) == (2, True)
    assert await command(env, "migrate", "down", "ordering", "--yes") == (0, "took back 1001_ordering\n", "")
    assert await command(env, "migrate", "down", "ordering") == (0, "", "ordering is not applied\n")
    for args in (("up", "oredring"), ("down", "oredring", "--yes"), ("sql", "oredring")):
        code, out, err = await command(env, "migrate", *args)
        assert (code, out, "no opt-in migration 'oredring'; there are: ordering, doorbell" in err) == (2, "", True)
    code, text, err = await command(BARE, "migrate", "sql", "ordering", "--table", "orders")
    assert (code, 'CREATE INDEX CONCURRENTLY IF NOT EXISTS "orders_key" ON' in text, err) == (0, True, "")


async def test_the_doorbell_is_enabled_told_and_disabled(db: Database, amqp: Amqp) -> None:
    env = environment(db.url, amqp.url)
    assert (await command(env, "doorbell", "status"))[:2] == (0, "off: there is no trigger (relay doorbell enable)\n")
    code, out, err = await command(env, "doorbell", "enable")
    assert (code, out, "outbox.message ring" in err) == (0, "applied 1002_doorbell\n", True)
    assert (await command(env, "doorbell", "enable"))[:2] == (0, "")
    code, out, _ = await command(env, "doorbell", "status", "--json")
    assert json.loads(out) == {"installed": True, "enabled": True, "holder": None, "pooled": False}
    assert "✓ doorbell       new rows ring; nobody holds it now" in (await command(env, "check"))[1]
    await db.fetch("ALTER TABLE outbox.message DISABLE TRIGGER message_doorbell")
    assert (await command(env, "doorbell", "status"))[1] == "off: the trigger is disabled\n"
    assert "! doorbell       its trigger is disabled" in (await command(env, "check"))[1]
    assert (await command(env, "doorbell", "disable"))[:2] == (0, "took back 1002_doorbell\n")
    assert "✓ doorbell       none" in (await command(env, "check"))[1]


async def test_a_relay_is_unready_until_the_table_is_made(empty: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    async with relay(empty, amqp) as process:
        told = await process.says("schema.missing")
        assert told["level"] == "error"
        assert "relay migrate up" in told["detail"]
        assert (await process.get("/readyz"))[0] == 503
        assert (await command(environment(empty.url, amqp.url), "migrate", "up"))[0] == 0
        await process.says("schema.ready")
        await empty.insert()

        async def sent() -> None:
            assert await empty.statuses() == {"sent": 1}

        await eventually(sent, 20)
        assert (await process.get("/readyz"))[0] == 200

"""A relay dies at the worst points, one by one: nothing is lost, and it is known exactly what comes twice."""

import asyncio
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from chaos.checker import Verdict, check
from chaos.drain import arrival
from chaos.history import Attempt, Fate, Fault, FinalRow, History, Run, digest, label
from chaos.keeper import ALL
from tests.builders import Amqp, Database, eventually
from tests.running import END_S, command, environment

ROOT = Path(__file__).parents[2]
ROWS = 60
PAD = 100_000
"""Bytes of a body, so that a batch is written in several parts."""
GATE = """
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  WHILE NOT pg_try_advisory_xact_lock_shared(1) LOOP PERFORM pg_sleep(0.01); END LOOP;
  RETURN NEW;
END $$
"""
"""Waits without a lock, which would have a timeout, until the test lets go of the gate."""
AT_THE_UPDATE = """
CREATE TRIGGER hold BEFORE UPDATE ON outbox.message FOR EACH ROW WHEN (NEW.status = 'sent') EXECUTE FUNCTION hold()
"""
AT_THE_COMMIT = """
CREATE CONSTRAINT TRIGGER hold AFTER UPDATE ON outbox.message DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.status = 'sent') EXECUTE FUNCTION hold()
"""


@pytest.fixture
async def env(db: Database, amqp: Amqp) -> Mapping[str, str]:
    """The settings of every relay of a test, which finds a batch to carry."""
    await amqp.queue("all", "orders")
    await db.insert(n=ROWS, payload=lambda number: {"n": number, "pad": "x" * PAD})
    return environment(db.url, amqp.url, {"LANES": 1, "BATCH_SIZE": ROWS})


async def dies(point: str, env: Mapping[str, str]) -> None:
    """Run a relay that ends itself there."""
    argv = (sys.executable, "-m", "tests.failpoints", point)
    process = await asyncio.create_subprocess_exec(*argv, cwd=ROOT, env=env, stderr=asyncio.subprocess.PIPE)
    async with asyncio.timeout(END_S):
        _, errors = await process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()


async def no_relay_is_left(db: Database) -> None:
    """Wait until the server has ended what a dead relay had begun."""

    async def gone() -> None:
        query = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'relay/%'"
        assert await db.fetch(query) == []

    await eventually(gone)


async def unsent(db: Database) -> int:
    """How many rows are not marked."""
    return (await db.statuses()).get("pending", 0)


async def taken_over(db: Database, amqp: Amqp, env: Mapping[str, str]) -> Verdict:
    """Let another relay carry what is left, and judge; it need not wait for the lease of one that is dead."""
    died = time.time()
    await db.fetch("UPDATE {table} SET claimed_until = now() WHERE status = 'pending'")
    code, _, errors = await command(env, "run", "--drain")
    assert code == 0, errors
    messages = await amqp.drain("all", count=ROWS)
    inserted = await db.fetch("SELECT message_id::text, payload::text FROM {table} ORDER BY id")
    history = History(
        Run(seed=0, began=0.0, ended=time.time(), replicas=1, in_flight_max=ROWS, emptied=time.time()),
        attempts=[
            Attempt(
                message_id, digest(body.encode()), "orders", "order.created", Fate.COMMITTED, 0.0, labels=label({}, {})
            )
            for message_id, body in inserted
        ],
        arrivals=[arrival(message, position) for position, message in enumerate(messages)],
        faults=[Fault("relay SIGKILL", "relay", died, died, repeats_max=ROWS)],
        rows=[FinalRow(*row) for row in await db.fetch(ALL)],
    )
    return check(history)


@pytest.mark.parametrize(("point", "duplicates"), [("claimed", 0), ("confirmed", ROWS)])
async def test_a_relay_that_dies_before_it_marks_repeats_exactly_what_was_confirmed(
    point: str, duplicates: int, db: Database, amqp: Amqp, env: Mapping[str, str]
) -> None:
    await dies(point, env)

    left = await unsent(db)
    verdict = await taken_over(db, amqp, env)

    assert verdict.problems == ()
    assert (left, verdict.figures["duplicated"]) == (ROWS, duplicates)


async def test_a_relay_that_dies_behind_its_first_marks_repeats_none_of_those_rows(
    db: Database, amqp: Amqp, env: Mapping[str, str]
) -> None:
    await dies("marked", env)

    left = await unsent(db)
    verdict = await taken_over(db, amqp, env)

    assert verdict.problems == ()
    assert (verdict.figures["duplicated"] or 0) <= left < ROWS


async def test_a_relay_that_dies_while_it_writes_repeats_what_it_had_written(
    db: Database, amqp: Amqp, env: Mapping[str, str]
) -> None:
    await dies("writing", env)

    verdict = await taken_over(db, amqp, env)

    assert verdict.problems == ()
    assert 0 <= (verdict.figures["duplicated"] or 0) < ROWS


@pytest.mark.parametrize("where", [AT_THE_UPDATE, AT_THE_COMMIT], ids=["update", "commit"])
async def test_a_mark_that_reached_postgres_holds_although_the_relay_died_before_the_answer(
    where: str, db: Database, amqp: Amqp, env: Mapping[str, str]
) -> None:
    gate = await db.connect()
    await gate.execute(GATE)
    await gate.execute(where.encode())
    await gate.execute("SELECT pg_advisory_lock(1)")

    await dies("marking", env)
    before = await unsent(db)
    await gate.execute("SELECT pg_advisory_unlock(1)")
    await no_relay_is_left(db)
    left = await unsent(db)
    verdict = await taken_over(db, amqp, env)

    assert verdict.problems == ()
    assert before == ROWS
    assert (verdict.figures["duplicated"] or 0) <= left < ROWS

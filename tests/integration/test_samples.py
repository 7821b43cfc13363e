"""The README's samples are executed as they stand there, and what it says of a running relay is seen."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import LiteralString, cast

import psycopg
import pytest

from relay.settings import Settings
from tests import docs
from tests.builders import Amqp, Database, eventually, payloads
from tests.running import command, environment, relay

README = docs.README.read_text()


def sample(name: str) -> str:
    """A block of code of the README."""
    [text] = re.findall(rf"<!-- sample: {name} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    return str(text)


ORDERS = "CREATE TABLE orders (id bigint PRIMARY KEY, total integer NOT NULL)"
PSYCOPG = """
with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
    place = lambda *order: place_order(connection, *order)
    {calls}
"""
SQLALCHEMY = """
from sqlalchemy import create_engine
engine = create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"))
def place(*order):
    with Session(engine) as session:
        place_order(session, *order)
{calls}
engine.dispose()
"""
DJANGO_SETUP = """
import django
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict
url = conninfo_to_dict(os.environ["DATABASE_URL"])
database = {{"ENGINE": "django.db.backends.postgresql", "NAME": url["dbname"], "USER": url.get("user", ""),
             "PASSWORD": url.get("password", ""), "HOST": url["host"], "PORT": url.get("port", "")}}
settings.configure(DATABASES={{"default": database}})
django.setup()
"""
PRODUCERS = {
    "psycopg": ("", PSYCOPG),
    "sqlalchemy": ("", SQLALCHEMY),
    "django": (DJANGO_SETUP, "place = place_order\n{calls}\n"),
}


async def run(program: str, env: dict[str, str]) -> tuple[int, str]:
    """Run a program to its end: its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        env=os.environ | env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def place(name: str, db: Database, calls: str) -> tuple[int, str]:
    """Run a sample of a producer with those calls of `place(order, total)`."""
    before, after = PRODUCERS[name]
    program = "import os\n" + before.format() + sample(name) + after.format(calls=calls)
    return await run(program, {"DATABASE_URL": db.url})


async def test_the_sql_sample_writes_an_order_and_its_message(db: Database) -> None:
    async with await psycopg.AsyncConnection.connect(db.url, autocommit=True) as connection:
        await connection.execute(ORDERS)
        await connection.execute(sample("sql").encode())
        [order] = await (await connection.execute("SELECT id, total FROM orders")).fetchall()
    [(payload,)] = await db.fetch("SELECT payload FROM {table}")
    assert payload == {"order": order[0], "total": order[1]}


@pytest.mark.parametrize("name", PRODUCERS)
async def test_the_samples_of_producers_send_what_was_committed_and_nothing_else(
    name: str, db: Database, amqp: Amqp
) -> None:
    await amqp.queue("billing", "orders")
    await db.fetch(ORDERS)
    assert await place(name, db, "place(1, 90)") == (0, "")
    code, said = await place(name, db, "place(1, 70)")
    assert (code, "orders_pkey" in said) == (1, True)  # the order is a second one of that number: all is rolled back
    assert await place(name, db, "place(2, 80)") == (0, "")
    async with relay(db, amqp, "--drain") as process:
        assert await process.ended() == 0
    arrived = await amqp.drain("billing", 2)
    assert payloads(arrived) == [{"order": 1, "total": 90}, {"order": 2, "total": 80}]
    assert {message.routing_key for message in arrived} == {"order.created"}


async def test_the_consumer_bills_a_repeated_message_once(db: Database, amqp: Amqp) -> None:
    await amqp.queue("billing", "orders")
    await db.fetch(ORDERS)
    [inbox] = re.findall(r"`(CREATE TABLE inbox .+?)`", README)
    await db.fetch(cast("LiteralString", inbox))
    await db.fetch("CREATE TABLE bills (order_id bigint NOT NULL)")

    async def billed(number: int) -> None:
        assert await db.fetch("SELECT count(*), count(DISTINCT order_id) FROM bills") == [(number, number)]

    consumer = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        sample("consumer"),
        env=os.environ | {"DATABASE_URL": db.url, "AMQP_URL": amqp.url},
    )
    try:
        async with relay(db, amqp) as process:
            assert await place("psycopg", db, "[place(number, 10) for number in range(20)]") == (0, "")
            await eventually(lambda: billed(20), 20)
            await db.fetch("UPDATE {table} SET status = 'pending' WHERE id <= 5")
            await process.says("tick", claimed=5)
            # One queue and one consumer: what comes last shows that the repeated ones were read.
            assert await place("psycopg", db, "place(20, 10)") == (0, "")
            await eventually(lambda: billed(21), 20)
            assert await process.stop() == 0
        assert consumer.returncode is None, "the consumer died"
    finally:
        if consumer.returncode is None:
            consumer.terminate()
        await consumer.wait()


def test_the_consumer_is_about_twenty_lines_long() -> None:
    assert len([line for line in sample("consumer").splitlines() if line.strip()]) <= 20


def peak_of(pid: int) -> float:
    """The most memory a process has had, in MiB."""
    [kib] = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(kib) / 1024


# -- what the README says of a running relay ----------------------------------------------------------------------


async def test_memory_stays_below_the_ceiling(db: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    size, lanes = Settings.model_fields["max_message_bytes"].default, Settings.model_fields["lanes"].default
    connection = await db.connect()
    await connection.execute(
        "ALTER TABLE outbox.message ALTER payload TYPE bytea USING convert_to(payload::text, 'UTF8')"
    )
    for _ in range(3 * lanes):
        query = "INSERT INTO outbox.message (routing_key, payload) VALUES ('a', %s)"
        await connection.execute(query, (os.urandom(size),))
    async with relay(db, amqp) as process:

        async def all_sent() -> None:
            assert await db.statuses() == {"sent": 3 * lanes}

        await eventually(all_sent, 40)
        peak_mib = peak_of(process.pid)
        assert await process.stop() == 0
    assert peak_mib < 90 + lanes * 5 * size / 2**20


async def test_the_tls_urls_are_taken_by_the_settings() -> None:
    fences = re.findall(r"```text\n((?:postgresql|amqps)://.*?)```", README, re.DOTALL)
    urls = [line for fence in fences for line in fence.splitlines()]
    assert len(urls) == 3
    for url in urls:
        name = "AMQP_URL" if url.startswith("amqps") else "DATABASE_URL"
        env = environment("postgresql://a@b/c", "amqp://a@b/") | {f"RELAY_{name}": url}
        code, out, err = await command(env, "config", "--json")
        assert code == 0, err
        assert json.loads(out)[f"RELAY_{name}"].startswith(url.partition("://")[0])

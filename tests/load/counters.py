"""What the store costs the database, in counters that no busy machine moves; run as a program it accepts what it finds.

Each scenario has a database of its own on a private server without autovacuum and full-page images, and goes through
the real store. Messages to the server (`round_trips`) and commits are read from its log of statements.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import psycopg

from relay import migrate
from relay.model import Claim, Refusal, Retry, Sent
from relay.store import PostgresStore, pool, postgres
from services.postgres import Postgres
from tests.builders import eventually
from tests.stores import a_store

BASELINE = Path(__file__).with_name("baseline.json")
ACCEPT = ".venv/bin/python -m tests.load.counters"
ROWS = 4000
BATCH = 500
POLLS = 50
SETTINGS = {
    "autovacuum": "off",
    "full_page_writes": "off",
    "checkpoint_timeout": "1h",
    "max_wal_size": "4GB",
    "log_statement": "all",
}
INSERT = (
    "INSERT INTO outbox.message (routing_key, payload) "
    "SELECT 'order.created', jsonb_build_object('n', n, 'text', repeat('x', 400)) FROM generate_series(1, %s) AS n"
)
TABLE = "SELECT n_tup_upd, n_tup_hot_upd, n_dead_tup FROM pg_stat_user_tables WHERE relname = 'message'"
HERE = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'outbox-relay'"
TOLD = re.compile(r"^\S+ \S+ UTC \[\d+\] outbox-relay LOG:  (?:statement|execute)(.*(?:\n\t.*)*)", re.MULTILINE)

TOLERANCE = {"wal_bytes": 0.03, "hot_updates": 0.02, "dead_tuples": 0.02}
"""How far a counter may move, up or down, as a part of the baseline; the others may not."""
LITTLE_WAL = 500.0
"""Bytes: the server itself writes some now and then."""
OF_A_VERSION = {"wal_bytes", "hot_updates", "dead_tuples"}
"""Counters that the major version of Postgres has a say in."""

Counters = dict[str, float]
Work = Callable[[PostgresStore], Awaitable[object]]


class Table:
    """An outbox in a database of its own, and what the server tells of it."""

    def __init__(self, server: Postgres, name: str) -> None:
        self._log = server.folder / "postgres.log"
        self._name = name
        self.url = server.url(name)
        server.create_database(name)
        migrate.apply(self.url)

    def ask(self, query: str, *params: object) -> list[float]:
        """Run a statement; the numbers of its first row."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(query.encode(), params)
            return [float(number) for number in cursor.fetchall()[0]] if cursor.description else []

    def told(self) -> list[str]:
        """Every message that a store sent to the server so far, as the server logged it."""
        return TOLD.findall(self._log.read_text(encoding="utf-8", errors="replace"))

    def wal_bytes(self) -> float:
        """Bytes of the write-ahead log so far."""
        return self.ask("SELECT pg_current_wal_insert_lsn() - '0/0'")[0]

    async def left(self) -> None:
        """Wait until every session of the store is gone, and has told the statistics."""

        async def gone() -> bool:
            return (await asyncio.to_thread(self.ask, HERE))[0] == 0

        await eventually(gone)


async def counted(table: Table, units: float, work: Work) -> Counters:
    """Let a store do the work; what that cost, for each of so many units of it."""
    updates, hot, dead = table.ask(TABLE)
    async with a_store(table.url) as store:
        await store.ready()
        await store.ping()  # the pool's first connection
        told, wal_bytes = len(table.told()), table.wal_bytes()
        await work(store)
        wal_bytes, messages = table.wal_bytes() - wal_bytes, table.told()[told:]
    await table.left()
    after = table.ask(TABLE)
    costs = {
        "round_trips": len(messages),
        "commits": sum(len(re.findall(r"\bCOMMIT\b", message)) for message in messages),
        "wal_bytes": wal_bytes,
        "updates": after[0] - updates,
        "hot_updates": after[1] - hot,
        "dead_tuples": after[2] - dead,
    }
    return {name: round(cost / units, 2) for name, cost in costs.items()}


async def batches(store: PostgresStore, settle: Callable[[Claim], Awaitable[object]]) -> None:
    """Claim all rows there are, batch by batch from the low-water mark, and settle each."""
    low, more = 0, True
    while more:
        claim = await store.claim(limit=BATCH, low=low)
        if claim.rows:
            await settle(claim)
            low = claim.rows[-1].id + 1
        more = claim.more


async def carried(table: Table) -> Counters:
    """Rows on their normal way, per 1,000."""
    table.ask(INSERT, ROWS)

    async def work(store: PostgresStore) -> None:
        await batches(store, lambda claim: store.settle(claim.token, [Sent(r.id, r.message_id) for r in claim.rows]))

    return await counted(table, ROWS / 1000, work)


async def refused(table: Table) -> Counters:
    """Rows that are claimed and wait for a retry, per 1,000."""
    table.ask(INSERT, ROWS)

    async def work(store: PostgresStore) -> None:
        def marks(claim: Claim) -> list[Retry]:
            return [Retry(row.id, Refusal.REJECTED, 3600.0, "rejected: no") for row in claim.rows]

        await batches(store, lambda claim: store.settle(claim.token, marks(claim)))

    return await counted(table, ROWS / 1000, work)


async def renewed(table: Table) -> Counters:
    """Rows whose lease is lengthened once, per 1,000; their claim is not counted."""
    table.ask(INSERT, ROWS)
    async with a_store(table.url) as store:
        claims = [await store.claim(limit=BATCH, low=0) for _ in range(ROWS // BATCH)]
    await table.left()

    async def work(store: PostgresStore) -> None:
        for claim in claims:
            await store.renew(claim.token, [row.id for row in claim.rows])

    return await counted(table, ROWS / 1000, work)


async def polled(table: Table) -> Counters:
    """An idle relay, per poll: how many there are a second is RELAY_POLL_MAX_SECONDS' to say."""
    table.ask(INSERT, ROWS)
    table.ask("UPDATE outbox.message SET status = 'sent', sent_at = now()")

    async def work(store: PostgresStore) -> None:
        for _ in range(POLLS):
            await store.ready()
            await store.claim(limit=BATCH, low=ROWS + 1)

    return await counted(table, POLLS, work)


SCENARIOS = {"carried": carried, "refused": refused, "renewed": renewed, "polled": polled}


@contextmanager
def a_server() -> Iterator[Postgres]:
    """A server on which nothing but the work is counted. Raises ServerFailed when the machine has no Postgres."""
    server = Postgres(durable=True, settings=SETTINGS)
    try:
        yield server
    finally:
        server.close()


@patch.object(pool, "FRESH_S", 600.0)  # no pause of a busy machine makes the store ask whether the server is there
@patch.object(postgres, "PROOF_S", 600.0)
async def found(server: Postgres) -> dict[str, Counters]:
    """Every counter of every scenario."""
    return {name: await scenario(Table(server, name)) for name, scenario in SCENARIOS.items()}


def moved(before: Counters, after: Counters, *, same_version: bool) -> list[str]:
    """What moved further than it may, in words."""
    compared = [name for name in before if same_version or name not in OF_A_VERSION]
    slack = {name: before[name] * TOLERANCE.get(name, 0.0) + LITTLE_WAL * (name == "wal_bytes") for name in compared}
    return [
        f"{name}: {before[name]:g} -> {after[name]:g} (may move by {slack[name]:g})"
        for name in compared
        if abs(after[name] - before[name]) > slack[name]
    ]


def version(server: Postgres) -> int:
    """The major version of the server."""
    ((number,),) = server.admin("SELECT current_setting('server_version_num')::integer / 10000")
    return int(number)


def accept() -> None:
    """Write down what is found now as what it is to be."""
    with a_server() as server:
        baseline = {"postgres": version(server), "counters": asyncio.run(found(server))}
    BASELINE.write_text(json.dumps(baseline, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    accept()

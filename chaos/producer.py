"""The producers: every transaction writes orders and their outbox rows, through whatever happens to Postgres.

Run as a process of its own: `python -m chaos.producer`. It ends in order at SIGTERM.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from chaos import keys
from chaos.drafts import EXCHANGE, POISON_SHARE, Draft, draw
from chaos.history import Attempt, Fate, Log, digest, label

URL_VARIABLE = "CHAOS_DATABASE_URL"
LAZY = "lazy.txt"
"""Message ids whose COMMIT did not wait for the disk: a crash may erase them."""
ROLLED_BACK_SHARE = 0.1
LAZY_SHARE = 0.3
BATCHES = ((1, 60), (3, 30), (25, 10))
"""Rows of a transaction, and how often in a hundred."""
CONNECT_S = 3
ANSWER_S = 1.5
RECONNECT_S = 0.2
IDLE_S = 5
"""Postgres then ends a transaction whose producer is cut off from it; others may wait for its turn."""
BEHIND_S = 0.5
"""After a pause producers go on at their pace and do not catch up."""
ORDERS = "INSERT INTO shop.orders (message_id) SELECT unnest(%s::uuid[])"
OUTBOX = """
INSERT INTO outbox.message (message_id, exchange, routing_key, key, payload, headers, properties)
SELECT m::uuid, e, r, k, p::jsonb, h::jsonb, q::jsonb
FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
  AS t(m, e, r, k, p, h, q)
RETURNING message_id::text, id, payload::text
"""


@dataclass(slots=True)
class Producer:
    """One connection's worth of transactions."""

    number: int
    url: str
    chance: random.Random
    log: Log
    lazy: int
    rate: float
    poison_until: float
    over: asyncio.Event
    ordered: bool = False
    """Keys are shared, and written in turns."""
    late: str | None = None
    """The key of a transaction that dawdled, for the next one."""

    async def run(self) -> None:
        """Write until it is over; a broken connection is opened again."""
        while not self.over.is_set():
            with contextlib.suppress(psycopg.Error, TimeoutError):
                await self._connected()
            await asyncio.sleep(RECONNECT_S)

    async def _connected(self) -> None:
        connection = await psycopg.AsyncConnection.connect(
            self.url,
            autocommit=True,
            connect_timeout=CONNECT_S,
            application_name="chaos producer",
            options=f"-c idle_in_transaction_session_timeout={IDLE_S}s",
        )
        try:
            next_at = time.monotonic()
            while not self.over.is_set():
                sizes, weights = zip(*BATCHES, strict=True)
                rows = self.chance.choices(sizes, weights)[0]
                await self._transact(connection, rows)
                next_at = max(next_at + rows / self.rate, time.monotonic() - BEHIND_S)
                await asyncio.sleep(max(0.0, next_at - time.monotonic()))
        finally:
            with contextlib.suppress(psycopg.Error, OSError):
                await connection.close()

    async def _transact(self, connection: psycopg.AsyncConnection[Any], rows: int) -> None:
        """Write some rows and end the transaction. Only an answer to COMMIT says that it committed."""
        dawdles = self.ordered and self.late is None and self.chance.random() < keys.DAWDLE_SHARE
        key, self.late = self.late, keys.own(self.chance, self.number) if dawdles else None
        drafts = {self._message_id(): self._draft(key or self.late) for _ in range(rows)}
        rolls_back = self.chance.random() < ROLLED_BACK_SHARE
        lazy = self.chance.random() < LAZY_SHARE
        at = time.time()
        async with asyncio.timeout(ANSWER_S):
            written = await self._write(connection, drafts, lazy=lazy)
        if dawdles:
            await asyncio.sleep(self.chance.uniform(*keys.DAWDLE_S))
        fate = Fate.UNKNOWN
        try:
            async with asyncio.timeout(ANSWER_S):
                await connection.execute("ROLLBACK" if rolls_back else "COMMIT")
            fate = Fate.ROLLED_BACK if rolls_back else Fate.COMMITTED
        finally:
            if lazy and not rolls_back:
                os.write(self.lazy, "".join(f"{message_id}\n" for message_id in drafts).encode())
            # A ROLLBACK needs no answer: a transaction that is never committed is no more.
            end = Fate.ROLLED_BACK if rolls_back else fate
            self.log.add(*(self._attempt(drafts[each[0]], each, end, at) for each in written))

    async def _write(
        self, connection: psycopg.AsyncConnection[Any], drafts: dict[str, Draft], *, lazy: bool
    ) -> Sequence[tuple[str, int, str]]:
        await connection.execute("BEGIN")
        try:
            if lazy:
                await connection.execute("SET LOCAL synchronous_commit = off")
            if self.ordered:
                await connection.execute(keys.TAKE_TURNS, ([draft.key for draft in drafts.values()],))
            await connection.execute(ORDERS, (list(drafts),))
            return await (await connection.execute(OUTBOX, _columns(drafts))).fetchall()
        except psycopg.errors.ReadOnlySqlTransaction:
            await connection.execute("ROLLBACK")
            raise

    def _draft(self, key: str | None) -> Draft:
        """Draw a row, of that key if there is one: who dawdles keeps nobody else waiting."""
        share = keys.POISON_SHARE if self.ordered else POISON_SHARE
        drawn = draw(self.chance, self.number, poison=share if time.monotonic() < self.poison_until else 0.0)
        if not self.ordered:
            return drawn
        return replace(drawn, key=key) if key else keys.keyed(drawn, self.chance, self.number)

    def _message_id(self) -> str:
        return str(UUID(int=self.chance.getrandbits(128), version=4))

    def _attempt(self, draft: Draft, written: tuple[str, int, str], fate: Fate, at: float) -> Attempt:
        message_id, row_id, payload = written
        return Attempt(
            message_id,
            digest(payload.encode()),
            draft.exchange or EXCHANGE,
            draft.routing_key,
            fate,
            at,
            key=draft.key,
            sequence=row_id,
            labels=label(draft.headers, draft.properties),
            row_id=row_id,
            refusal=draft.refusal,
        )


def _columns(drafts: dict[str, Draft]) -> tuple[list[Any], ...]:
    rows = list(drafts.values())
    return (
        list(drafts),
        [row.exchange for row in rows],
        [row.routing_key for row in rows],
        [row.key for row in rows],
        [row.payload for row in rows],
        [json.dumps(row.headers) for row in rows],
        [json.dumps(row.properties) for row in rows],
    )


async def produce(url: str, folder: Path, given: argparse.Namespace) -> None:
    """Write `rate` rows a second over that many connections until SIGTERM; poison only for the first seconds."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    lazy = os.open(folder / LAZY, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    log, until = Log(folder), time.monotonic() + given.poison_seconds
    async with asyncio.TaskGroup() as everybody:
        for number in range(given.producers):
            chance = random.Random(f"{given.seed} {number}")
            one = Producer(
                number, url, chance, log, lazy, given.rate / given.producers, until, over, ordered=given.ordered
            )
            everybody.create_task(one.run(), name=f"producer {number}")


def main() -> None:
    """Read the arguments and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument("--rate", required=True, type=float)
    parser.add_argument("--producers", required=True, type=int)
    parser.add_argument("--poison-seconds", required=True, type=float)
    parser.add_argument("--ordered", action="store_true", help="write each key in turns")
    given = parser.parse_args()
    asyncio.run(produce(os.environ[URL_VARIABLE], given.folder, given))


if __name__ == "__main__":
    main()

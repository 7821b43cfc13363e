"""A short history of a real relay, made step by step by a test and judged as a run of chaos is."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from chaos.checker import check
from chaos.drain import arrival
from chaos.history import Attempt, Fate, Fault, FinalRow, History, Run, digest, label
from chaos.keeper import ALL
from tests.builders import Amqp, Database, eventually

QUEUE, EXCHANGE, ROUTING_KEY = "all", "orders", "order.created"
IN_FLIGHT_MAX = 1000
"""Lanes times batch size, as they are when nobody sets them."""
SETTLED_S = 45.0


async def settled(db: Database) -> None:
    """Wait until no row is pending."""

    async def none_pending() -> None:
        statuses = await db.statuses()
        assert "pending" not in statuses, statuses

    await eventually(none_pending, SETTLED_S)


class Witness:
    """What was committed, what was done to it and what came of it."""

    def __init__(self, *, ordered: bool = False) -> None:
        """`ordered`: all rows are of one key, whose order must hold."""
        self._ordered = ordered
        self._began = time.time()
        self._attempts: list[Attempt] = []
        self._faults: list[Fault] = []

    async def commit(self, db: Database, n: int, *, exchange: str = EXCHANGE, refusal: str = "") -> list[int]:
        """Commit rows; `refusal` is what they deserve. Returns their ids."""
        at = time.time()
        given = await db.insert(n=n, exchange=exchange, routing_key=ROUTING_KEY)
        rows = await db.fetch(
            "SELECT id, message_id::text, payload::text FROM {table} WHERE id = ANY(%s) ORDER BY id", (given,)
        )
        self.saw(rows, at, exchange=exchange, refusal=refusal)
        return given

    def saw(self, rows: Sequence[tuple[Any, ...]], at: float, *, exchange: str = EXCHANGE, refusal: str = "") -> None:
        """Take rows (id, message id, payload as text) that a producer committed."""
        self._attempts += [
            Attempt(
                message_id,
                digest(payload.encode()),
                exchange,
                ROUTING_KEY,
                Fate.COMMITTED,
                at,
                key="one" if self._ordered else None,
                sequence=row_id,
                labels=label({}, {}),
                row_id=row_id,
                refusal=refusal,
            )
            for row_id, message_id, payload in rows
        ]

    @asynccontextmanager
    async def fault(self, name: str, *, repeats_max: int = 0, refusals: Sequence[str] = ()) -> AsyncIterator[None]:
        """Note what is done in this block, and what may be put down to it."""
        began = time.time()
        yield
        self._faults.append(
            Fault(name, "", began, time.time(), repeats_max=repeats_max, refusals=refusals, stalls=True)
        )

    async def problems(self, db: Database, amqp: Amqp) -> tuple[str, ...]:
        """Wait until nothing is pending, drain the queue and judge; a sentence for everything that was broken."""
        await settled(db)
        emptied = time.time()
        rows = [FinalRow(*row) for row in await db.fetch(ALL)]
        # What is there is taken: a message that a mutant loses would be waited for in vain.
        arrivals = [arrival(message, position) for position, message in enumerate(await amqp.drain(QUEUE))]
        run = Run(0, self._began, time.time(), 1, IN_FLIGHT_MAX, ordered=self._ordered, emptied=emptied)
        return check(History(run, self._attempts, arrivals, self._faults, rows=rows)).problems

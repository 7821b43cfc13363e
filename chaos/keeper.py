"""Keeps the table small, as its users would, and the last state of every row for the history."""

import asyncio
from typing import Any

import psycopg

from chaos.history import FinalRow
from chaos.stage import Stage

EVERY_S = 10.0
OLDER_THAN_S = 60
ROWS_MAX = 5_000
ANSWER_S = 20.0
FETCH_ROWS = 2_000
DOOMED = """
SELECT id, message_id::text, status, failures, claims, last_error, extract(epoch FROM sent_at)::float8
FROM outbox.message
WHERE status = 'sent' AND sent_at < now() - make_interval(secs => %(age)s)
ORDER BY sent_at FETCH FIRST %(rows)s ROWS WITH TIES FOR UPDATE
"""
DELETE = "SELECT outbox.delete_sent(make_interval(secs => %(age)s), %(rows)s)"
ALL = """
SELECT id, message_id::text, status, failures, claims, last_error, extract(epoch FROM sent_at)::float8,
  CASE WHEN status = 'failed' THEN extract(epoch FROM available_at)::float8 END
FROM outbox.message ORDER BY id
"""
BOUNDS = {"age": OLDER_THAN_S, "rows": ROWS_MAX}

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


class Keeper:
    """Cleans up in bounded calls. What is deleted is written down before, in the same transaction.

    A row that is written down and not deleted (its COMMIT was lost, or it is as old as the last one) comes again: then
    the last word counts.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.deleted = 0

    async def run(self) -> None:
        """Clean up again and again until cancelled; a server that is gone is tried later."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                async with asyncio.timeout(ANSWER_S), await self._connect() as connection:
                    while await self._delete(connection) == ROWS_MAX:
                        continue
            except (psycopg.Error, TimeoutError):
                continue

    async def _connect(self) -> Connection:
        return await psycopg.AsyncConnection.connect(self._stage.url, autocommit=True, connect_timeout=5)

    async def _delete(self, connection: Connection) -> int:
        await connection.execute("BEGIN")
        rows = await (await connection.execute(DOOMED, BOUNDS)).fetchall()
        self._stage.log.add(*(FinalRow(*row) for row in rows))
        answer = await (await connection.execute(DELETE, BOUNDS)).fetchone()
        assert answer is not None
        await connection.execute("COMMIT")
        self.deleted += answer[0]
        return int(answer[0])

    async def write_down(self) -> None:
        """Write down every row that is left."""
        async with (
            await self._connect() as connection,
            connection.transaction(),
            connection.cursor("rows") as cursor,
        ):
            await cursor.execute(ALL)
            while rows := await cursor.fetchmany(FETCH_ROWS):
                self._stage.log.add(*(FinalRow(*row) for row in rows))

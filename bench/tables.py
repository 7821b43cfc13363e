"""Tables that are large, each in its own way, for as long as they are looked at."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg

from bench import table
from bench.scenario import Sizes
from bench.stage import Stage

Connection = psycopg.Connection[Any]
Large = Callable[[Stage, str], AbstractContextManager[Connection]]
"""Fills the table of a database, keeps up what goes with it, and lends a connection."""


def tables(sizes: Sizes) -> Mapping[str, Large]:
    """Return them by what is large about them."""

    @contextmanager
    def history(stage: Stage, database: str) -> Iterator[Connection]:
        with filled(stage, database, lambda connection: table.add(connection, table.HISTORY, sizes.history)) as made:
            yield made

    @contextmanager
    def backlog(stage: Stage, database: str) -> Iterator[Connection]:
        with filled(stage, database, lambda connection: table.add(connection, table.FILL, sizes.backlog)) as made:
            yield made

    @contextmanager
    def retrying(stage: Stage, database: str) -> Iterator[Connection]:
        with filled(stage, database, lambda connection: table.add(connection, table.RETRYING, sizes.retrying)) as made:
            yield made

    @contextmanager
    def dead(stage: Stage, database: str) -> Iterator[Connection]:
        with (
            old_snapshot(stage, database),
            filled(stage, database, lambda connection: _send(connection, sizes.dead)) as made,
        ):
            yield made

    return {
        f"{sizes.history:,} sent rows": history,
        f"{sizes.backlog:,} pending rows": backlog,
        f"{sizes.dead:,} dead tuples under an old snapshot": dead,
        f"{sizes.retrying:,} retrying rows at the head": retrying,
    }


def _send(connection: Connection, rows: int) -> None:
    table.add(connection, table.FILL, rows)
    table.send(connection, rows)


@contextmanager
def filled(stage: Stage, database: str, fill: Callable[[Connection], None]) -> Iterator[Connection]:
    """Fill without waiting for the disk, and have everything there before anybody measures."""
    with stage.connected(database) as connection:
        _fsync(connection, on=False)
        try:
            fill(connection)
            connection.execute("VACUUM (FREEZE, ANALYZE) outbox.message")
        finally:
            _fsync(connection, on=True)
        connection.execute("CHECKPOINT")
        os.sync()
        yield connection


def _fsync(connection: Connection, *, on: bool) -> None:
    for name in ("fsync", "full_page_writes"):
        connection.execute(f"ALTER SYSTEM {f'RESET {name}' if on else f'SET {name} = off'}".encode())
    connection.execute("SELECT pg_reload_conf()")


@contextmanager
def old_snapshot(stage: Stage, database: str) -> Iterator[None]:
    """Hold a snapshot, as a forgotten report or a backup does: nothing that dies from now on can be removed."""
    with psycopg.connect(stage.postgres.url(database)) as old:
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        old.execute("SELECT count(*) FROM outbox.message WHERE id = 0")
        yield

"""Harm to Postgres and to the sessions in it."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import LiteralString

import psycopg

from chaos.harms.persist import in_thread, persist
from chaos.stage import LOGIN, Stage
from services.process import ServerFailed


@asynccontextmanager
async def backends_terminated(stage: Stage, _: str) -> AsyncIterator[None]:
    """Every session of the relays is ended by an administrator."""
    await persist(
        lambda: stage.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %(login)s", {"login": LOGIN}
        )
    )
    yield


@asynccontextmanager
async def postgres_crash(stage: Stage, _: str) -> AsyncIterator[None]:
    """A crash that the server itself commits, and its recovery."""
    with contextlib.suppress(ServerFailed):  # it did not end in time and was killed: that will do
        await stage.in_thread(lambda: stage.postgres.stop("immediate"))
    try:
        yield
    finally:
        await in_thread(stage, stage.postgres.start)


@asynccontextmanager
async def postgres_read_only(stage: Stage, _: str) -> AsyncIterator[None]:
    """A failover from outside: new connections find a server that does not write, and so do the open ones."""
    try:
        await _read_only(stage, "ALTER SYSTEM SET default_transaction_read_only = on")
        yield
    finally:
        await _read_only(stage, "ALTER SYSTEM RESET default_transaction_read_only")


async def _read_only(stage: Stage, query: LiteralString) -> None:
    await persist(lambda: stage.ask(query))
    await persist(lambda: stage.ask("SELECT pg_reload_conf()"))


@asynccontextmanager
async def old_snapshot(stage: Stage, _: str) -> AsyncIterator[None]:
    """A transaction that is left open: no row that is dead since then can be cleaned up."""
    connection: psycopg.AsyncConnection[tuple[object, ...]] | None = None
    with contextlib.suppress(psycopg.OperationalError):  # another fault has the server
        connection = await psycopg.AsyncConnection.connect(stage.url, autocommit=True, connect_timeout=5)
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await connection.execute("SELECT count(*) FROM outbox.message")
    try:
        yield
    finally:
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                await connection.close()

"""A login as a team would make one for the relay: a member of the product's role, and no more."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from secrets import token_hex

from psycopg import sql

from services.postgres import PostgresServer
from tests.builders import Database

PASSWORD = "made-for-a-test"


class Login:
    """One login; `url` is its own, `name` is quoted for SQL."""

    def __init__(self, server: PostgresServer, db: Database, name: str) -> None:
        self.plain = name
        self.name = sql.Identifier(name)
        self.url = server.url(db.name, name, PASSWORD)
        self._db = db

    async def set(self, parameter: str, value: str) -> None:
        """Give the role a default of a server parameter."""
        query = sql.SQL("ALTER ROLE {} SET {} = {}")
        await self._db.fetch(query.format(self.name, sql.Identifier(parameter), sql.Literal(value)))

    async def end_sessions(self) -> None:
        """End its connections, so that the next ones have the role's defaults of now."""
        await self._db.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (self.plain,))


@asynccontextmanager
async def relay_login(server: PostgresServer, db: Database) -> AsyncIterator[Login]:
    """Make a login of the role outbox_relay, and drop it at the end."""
    login = Login(server, db, f"relay_{token_hex(4)}")
    make = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE outbox_relay").format(login.name, PASSWORD)
    await db.fetch(make)
    try:
        yield login
    finally:
        await login.end_sessions()
        await db.fetch(sql.SQL("DROP OWNED BY {} CASCADE; DROP ROLE {}").format(login.name, login.name))

"""One connection: how it is asked for, how long it may take, how it is cut when it takes longer."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, LiteralString

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from relay.model import Fault
from relay.ports import StoreUnavailable
from relay.store.faults import never_connected

Connection = psycopg.AsyncConnection[Any]

CONNECT_TIMEOUT_S = 5
CHECK_TIMEOUT_S = 2.0
_OWN: LiteralString = "SELECT pg_backend_pid()"
_DEFAULTS: dict[str, str | int] = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "gssencmode": "disable",
    "keepalives_count": 3,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "target_session_attrs": "read-write",
    "tcp_user_timeout": 15_000,
}
"""A host that vanished is noticed in 10 + 3 * 5 s; whatever the URL says wins."""


def complete(url: str, application_name: str) -> str:
    """Complete a connection string with our defaults. Raises psycopg.ProgrammingError when it is none."""
    given = {name: value for name, value in conninfo_to_dict(url).items() if value is not None}
    # Queries and rows are UTF-8 on our side of the wire, whatever the database or the URL prefer.
    forced = {"client_encoding": "UTF8"}
    return make_conninfo("", **({"application_name": application_name} | _DEFAULTS | given | forced))


async def connect(url: Callable[[], str], application_name: str) -> Connection:
    """Open a connection in autocommit mode that keeps no plans, or raise StoreUnavailable."""
    try:
        text = url()
    except (OSError, ValueError) as error:  # a secret's file that is gone or garbled now; no text of it is in the error
        raise StoreUnavailable(Fault.OTHER, f"the database URL cannot be used: {error}") from None
    try:
        info = complete(text, application_name)
        # psycopg applies connect_timeout to each address, and not to the resolution of names.
        async with asyncio.timeout(2 * CONNECT_TIMEOUT_S + 5):
            return await psycopg.AsyncConnection.connect(info, autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        raise never_connected(error) from None
    except TimeoutError:
        raise StoreUnavailable(Fault.TIMEOUT, "connecting took too long") from None


@contextlib.asynccontextmanager
async def bounded(conn: Connection, seconds: float) -> AsyncIterator[None]:
    """Cut the connection when the block takes longer than that, and then raise StoreUnavailable.

    asyncio.timeout would not do: psycopg answers a cancellation by asking the server to cancel the statement, which
    takes up to ten more seconds when the server is gone. A socket that was shut down ends the wait at once.
    """
    cut = False

    def cut_it() -> None:
        nonlocal cut
        cut = True
        shut_down(conn)

    timer = asyncio.get_running_loop().call_later(seconds, cut_it)
    try:
        yield
    except psycopg.Error:
        if cut:
            raise StoreUnavailable(Fault.TIMEOUT, f"no answer from the database in {seconds:g} s") from None
        raise
    finally:
        timer.cancel()


def shut_down(conn: Connection) -> None:
    """Shut the socket down below libpq, which then reports a lost connection."""
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(conn.fileno())) as twin:
        twin.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def replicated(conn: Connection) -> Iterator[None]:
    """Commit in the block, or raise StoreUnavailable when the wait for a synchronous standby was cancelled.

    Postgres calls that a success, and only warns.
    """
    files: list[str | None] = []

    def note(warning: psycopg.errors.Diagnostic) -> None:
        files.append(warning.source_file)  # its text is in the server's language

    conn.add_notice_handler(note)
    try:
        yield
    finally:
        conn.remove_notice_handler(note)
    if "syncrep.c" in files:
        raise StoreUnavailable(Fault.TIMEOUT, "the wait for the synchronous standby was cancelled")


async def behind_pooler(conn: Connection) -> bool:
    """Compare process ids: a pooler tells its clients another one than the server's."""
    ((pid,),) = await (await conn.execute(_OWN)).fetchall()
    return bool(pid != conn.info.backend_pid)

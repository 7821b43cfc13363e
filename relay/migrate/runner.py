"""Applies migrations, one transaction each, and writes down which.

Two runners at once are harmless: each transaction first takes an advisory lock, then looks again at what is applied.
The lock belongs to the transaction, so that a transaction pooler may stand between. A file that cannot run in a
transaction runs on a second connection meanwhile: the first holds no snapshot, so that nothing waits for it.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import psycopg
from psycopg import sql

from relay.migrate import outside, versions
from relay.migrate.files import (
    DEFAULT_SCHEMA,
    DEFAULT_TABLE,
    Migration,
    MigrationError,
    Names,
    migrations,
    opt_in,
    opt_ins,
    render,
)
from relay.migrate.versions import Applied, Connection
from relay.model import Fault
from relay.store.connect import complete
from relay.store.faults import never_connected, unavailable

LOCK_KEY = 8026370613350427
"""Of the advisory lock, one for all outboxes of a database; any number nobody else takes."""
WAIT_S = 60
"""How long a runner waits for another one."""
ASK_AGAIN_S = 0.05
_OURS = {Fault.SCHEMA, Fault.PERMISSION, Fault.TIMEOUT}
"""Faults that tell of the migration; the others tell of the server."""


@dataclass(frozen=True, slots=True)
class State:
    """One migration, as `relay migrate status` shows it."""

    version: int
    name: str
    state: str
    """applied · pending · optional · edited · unknown"""
    applied_at: str | None

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.version:04}_{self.name}: {self.state}" + (f" {self.applied_at}" if self.applied_at else "")


def up(
    url: str, *, schema: str = DEFAULT_SCHEMA, table: str = DEFAULT_TABLE, only: str | None = None
) -> tuple[str, ...]:
    """Apply what is missing, then the opt-in that `only` names, and return the names of what was applied.

    Raises MigrationError: the migration it names is not applied, and nothing of it is, unless it runs outside a
    transaction: then the next try makes it whole; StoreUnavailable: no connection.
    """
    names = Names(schema, table)
    wanted = migrations() if only is None else (*migrations(), opt_in(only))
    done: list[str] = []
    with _connected(url) as conn:
        for migration in wanted:
            with _transaction(conn, str(migration)):
                versions.make(conn, names)
                applied = versions.read(conn, names)
                _compare(applied, names)
                if all(row.version != migration.version for row in applied):
                    _run(conn, url, migration.up, names)
                    versions.add(conn, names, migration)
                    done.append(str(migration))
    return tuple(done)


apply = up


def down(
    url: str,
    *,
    schema: str = DEFAULT_SCHEMA,
    table: str = DEFAULT_TABLE,
    steps: int | None = 1,
    to: int | None = None,
    only: str | None = None,
) -> tuple[str, ...]:
    """Take back the newest migrations, so many, or all above version `to`, or the opt-in that `only` names.

    Opt-ins count as newer than all others. Returns the names. Raises MigrationError, StoreUnavailable: as `up`.
    """
    names = Names(schema, table)
    wanted = (*migrations(), *opt_ins()) if only is None else (opt_in(only),)
    done: list[str] = []
    with _connected(url) as conn:
        for migration in reversed(wanted):
            if len(done) == steps if to is None else migration.version <= to:
                break
            with _transaction(conn, str(migration)):
                applied = versions.read(conn, names)
                _compare(applied, names)
                if any(row.version == migration.version for row in applied):
                    _run(conn, url, migration.down, names)
                    versions.remove(conn, names, migration)
                    done.append(str(migration))
    return tuple(done)


def status(url: str, *, schema: str = DEFAULT_SCHEMA, table: str = DEFAULT_TABLE) -> tuple[State, ...]:
    """Return every migration, known here or written down there, with its state. Raises StoreUnavailable."""
    names = Names(schema, table)
    with _connected(url) as conn, _transaction(conn, "status"):
        applied = {row.version: row for row in versions.read(conn, names)}
    known = _known()
    states = [_state(row, known.get(version)) for version, row in applied.items()]
    states += [
        State(each.version, each.name, "optional" if each.optional else "pending", None)
        for each in known.values()
        if each.version not in applied
    ]
    return tuple(sorted(states, key=lambda state: state.version))


def _known() -> dict[int, Migration]:
    return {migration.version: migration for migration in (*migrations(), *opt_ins())}


def _state(row: Applied, known: Migration | None) -> State:
    word = "unknown" if known is None else "applied" if known.checksum == row.checksum else "edited"
    return State(row.version, row.name, word, row.applied_at.isoformat(timespec="seconds"))


def _compare(applied: Sequence[Applied], names: Names) -> None:
    """Refuse to go on from a state that these files did not make."""
    known = _known()
    for row in applied:
        step = f"{row.version:04}_{row.name}"
        if row.table != names.table:
            raise MigrationError(
                f"schema {names.schema} holds the outbox table {row.table}, not {names.table}: "
                "set RELAY_TABLE to it, or RELAY_SCHEMA to a schema of its own for a second outbox"
            )
        if row.version not in known:
            raise MigrationError(f"{step} is applied but unknown here: a newer relay made it; run that version")
        if row.checksum != known[row.version].checksum:
            raise MigrationError(
                f"{step} was edited after it was applied: a released migration never changes. "
                "Install the released files again and make the change in a migration of your own"
            )


def _run(conn: Connection, url: str, text: str, names: Names) -> None:
    """Run a file in the transaction of `conn`, or beside it while it holds the lock."""
    if not outside.is_marked(text):
        conn.execute(render(text, names).encode())
        return
    # It may take hours, in which this transaction is idle. The last statement has no parameters, as in _lock.
    conn.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    with _connected(url) as beside:
        outside.run(beside, text, names)


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    try:
        info = complete(url, "outbox-relay migrate")
        conn = psycopg.connect(info, autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        raise never_connected(error) from None
    # Named, because a role may have other defaults: a repeatable read would not see what another runner just did.
    conn.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    conn.read_only = False
    with conn:
        yield conn


@contextmanager
def _transaction(conn: Connection, step: str) -> Iterator[None]:
    """Hold the runners' lock for one transaction, and say what went wrong in it in an operator's words."""
    try:
        with conn.transaction():
            _lock(conn)
            yield
    except psycopg.Error as error:
        known = unavailable(error)
        if known is not None and known.fault not in _OURS:
            raise known from None
        raise MigrationError(_sentence(step, error)) from None


def _lock(conn: Connection) -> None:
    # Asked again and again: a statement that waits holds a snapshot, and CREATE INDEX CONCURRENTLY would wait for it.
    # Without parameters: of a statement with some, the portal keeps the snapshot until the next statement.
    ask = sql.SQL("SELECT pg_try_advisory_xact_lock({})").format(sql.Literal(LOCK_KEY))
    deadline = time.monotonic() + WAIT_S
    while conn.execute(ask).fetchone() != (True,):
        if time.monotonic() > deadline:
            raise MigrationError(f"another `relay migrate` has been at work for {WAIT_S} s; try again when it is done")
        time.sleep(ASK_AGAIN_S)
    conn.execute("SET LOCAL lock_timeout = '5s'")


def _sentence(step: str, error: psycopg.Error) -> str:
    said = f"{step} was not applied: {error.sqlstate} {error.diag.message_primary}"
    match error:
        case psycopg.errors.LockNotAvailable():
            return f"{said}. A long transaction uses the table; try again when it is over"
        case psycopg.errors.DuplicateTable() | psycopg.errors.DuplicateObject() | psycopg.errors.DuplicateFunction():
            return f"{said}. It was made by other means than this runner; go on with those (`relay migrate sql`)"
        case psycopg.errors.QueryCanceled():
            return f"{said}. This login has a statement_timeout: put options=-c%20statement_timeout%3D0 into its URL"
        case psycopg.errors.InsufficientPrivilege():
            return f"{said}. Let a login do it that may, or hand it the output of `relay migrate sql`"
        case _:
            return said

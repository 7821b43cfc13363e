"""Applies migrations, one transaction each, and writes down which.

Two runners at once are harmless: each transaction first takes an advisory lock, then looks again at what is applied.
The lock belongs to the transaction, so that a transaction pooler may stand between.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import psycopg
from psycopg import sql

from relay.migrate import versions
from relay.migrate.files import DEFAULT_SCHEMA, DEFAULT_TABLE, Migration, MigrationError, Names, migrations, render
from relay.migrate.versions import Applied, Connection
from relay.model import Fault
from relay.store.connect import complete
from relay.store.faults import never_connected, unavailable

LOCK_KEY = 8026370613350427
"""Of the advisory lock, one for all outboxes of a database; any number nobody else takes."""
WAIT_S = 60
"""How long a runner waits for another one."""
_OURS = {Fault.SCHEMA, Fault.PERMISSION, Fault.TIMEOUT}
"""Faults that tell of the migration; the others tell of the server."""


@dataclass(frozen=True, slots=True)
class State:
    """One migration, as `relay migrate status` shows it."""

    version: int
    name: str
    state: str
    """applied · pending · edited · unknown"""
    applied_at: str | None

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.version:04}_{self.name}: {self.state}" + (f" {self.applied_at}" if self.applied_at else "")


def up(url: str, *, schema: str = DEFAULT_SCHEMA, table: str = DEFAULT_TABLE) -> tuple[str, ...]:
    """Apply what is missing and return the names of what was applied.

    Raises MigrationError: nothing of the migration it names is applied; StoreUnavailable: no connection.
    """
    names = Names(schema, table)
    done: list[str] = []
    with _connected(url) as conn:
        for migration in migrations():
            with _transaction(conn, str(migration)):
                versions.make(conn, names)
                applied = versions.read(conn, names)
                _compare(applied, names)
                if all(row.version != migration.version for row in applied):
                    conn.execute(render(migration.up, names).encode())
                    versions.add(conn, names, migration)
                    done.append(str(migration))
    return tuple(done)


apply = up


def down(
    url: str, *, schema: str = DEFAULT_SCHEMA, table: str = DEFAULT_TABLE, steps: int | None = 1, to: int | None = None
) -> tuple[str, ...]:
    """Take back the newest migrations, so many, or all above version `to`; return their names.

    Raises MigrationError, StoreUnavailable: as `up`.
    """
    names = Names(schema, table)
    done: list[str] = []
    with _connected(url) as conn:
        for migration in reversed(migrations()):
            if len(done) == steps if to is None else migration.version <= to:
                break
            with _transaction(conn, str(migration)):
                applied = versions.read(conn, names)
                _compare(applied, names)
                if any(row.version == migration.version for row in applied):
                    conn.execute(render(migration.down, names).encode())
                    versions.remove(conn, names, migration)
                    done.append(str(migration))
    return tuple(done)


def status(url: str, *, schema: str = DEFAULT_SCHEMA, table: str = DEFAULT_TABLE) -> tuple[State, ...]:
    """Return every migration, known here or written down there, with its state. Raises StoreUnavailable."""
    names = Names(schema, table)
    with _connected(url) as conn, _transaction(conn, "status"):
        applied = {row.version: row for row in versions.read(conn, names)}
    known = {migration.version: migration for migration in migrations()}
    states = [_state(row, known.get(version)) for version, row in applied.items()]
    states += [State(each.version, each.name, "pending", None) for each in migrations() if each.version not in applied]
    return tuple(sorted(states, key=lambda state: state.version))


def _state(row: Applied, known: Migration | None) -> State:
    word = "unknown" if known is None else "applied" if known.checksum == row.checksum else "edited"
    return State(row.version, row.name, word, row.applied_at.isoformat(timespec="seconds"))


def _compare(applied: Sequence[Applied], names: Names) -> None:
    """Refuse to go on from a state that these files did not make."""
    known = {migration.version: migration for migration in migrations()}
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
    conn.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(WAIT_S * 1000)))
    try:
        conn.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_KEY,))
    except psycopg.errors.LockNotAvailable:
        raise MigrationError(
            f"another `relay migrate` has been at work for {WAIT_S} s; try again when it is done"
        ) from None
    conn.execute("SET LOCAL lock_timeout = '5s'")


def _sentence(step: str, error: psycopg.Error) -> str:
    said = f"{step} was not applied: {error.sqlstate} {error.diag.message_primary}"
    match error:
        case psycopg.errors.LockNotAvailable():
            return f"{said}. A long transaction uses the table; try again when it is over"
        case psycopg.errors.DuplicateTable() | psycopg.errors.DuplicateObject() | psycopg.errors.DuplicateFunction():
            return f"{said}. It was made by other means than this runner; go on with those (`relay migrate sql`)"
        case psycopg.errors.InsufficientPrivilege():
            return f"{said}. Let a login do it that may, or hand it the output of `relay migrate sql`"
        case _:
            return said

"""The table in which the runner writes down what it applied."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from relay.migrate.files import VERSIONS, Migration, Names
from relay.store.queries import identifier

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Applied:
    """What the runner wrote down about one migration."""

    version: int
    name: str
    checksum: str
    table: str
    applied_at: datetime


def make(conn: Connection, names: Names) -> None:
    """Make the table, and the schema, where they are missing; asks first, as CREATE demands rights even when not."""
    if not conn.execute("SELECT FROM pg_namespace WHERE nspname = %s", (names.schema,)).rowcount:
        _run(conn, "CREATE SCHEMA {schema}", names)
    if not _exists(conn, names):
        _run(
            conn,
            """
            CREATE TABLE {versions} (
              version integer PRIMARY KEY,
              name text NOT NULL,
              checksum text NOT NULL,
              table_name text NOT NULL,
              applied_at timestamptz NOT NULL DEFAULT now()
            )""",
            names,
        )
        _run(conn, "COMMENT ON TABLE {versions} IS 'What `relay migrate up` applied in this schema.'", names)


def read(conn: Connection, names: Names) -> list[Applied]:
    """Return what is applied, in order; nothing when there is no table."""
    if not _exists(conn, names):
        return []
    query = "SELECT version, name, checksum, table_name, applied_at FROM {versions} ORDER BY version"
    return [Applied(*row) for row in _run(conn, query, names).fetchall()]


def add(conn: Connection, names: Names, migration: Migration) -> None:
    """Write a migration down."""
    query = "INSERT INTO {versions} (version, name, checksum, table_name) VALUES (%s, %s, %s, %s)"
    _run(conn, query, names, (migration.version, migration.name, migration.checksum, names.table))


def remove(conn: Connection, names: Names, migration: Migration) -> None:
    """Strike a migration out, and with the last one the table."""
    _run(conn, "DELETE FROM {versions} WHERE version = %s", names, (migration.version,))
    if not read(conn, names):
        _run(conn, "DROP TABLE {versions}", names)


def _exists(conn: Connection, names: Names) -> bool:
    query = """
        SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = %s AND c.relname = %s"""
    return conn.execute(query, (names.schema, VERSIONS)).rowcount > 0


def _run(
    conn: Connection, query: LiteralString, names: Names, params: tuple[object, ...] = ()
) -> psycopg.Cursor[tuple[Any, ...]]:
    """Run a statement about the table; parameters, be they none, make psycopg read a doubled percent sign as one."""
    schema = identifier(names.schema)
    versions = sql.SQL("{}.{}").format(schema, identifier(VERSIONS))
    return conn.execute(sql.SQL(query).format(schema=schema, versions=versions), params)

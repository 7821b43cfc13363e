"""Files that cannot run in a transaction: one statement after the other, each safe to run again.

CREATE INDEX CONCURRENTLY stops nobody from writing, and that is all there is to gain. When it is cut short it leaves an
index that every INSERT pays for and no query uses, and that IF NOT EXISTS takes for the real one.
"""

import re

from psycopg import sql

from relay.migrate.files import DEFAULT_TABLE, Names, render
from relay.migrate.versions import Connection

_MARK = re.compile(r"-- opt-in, outside a transaction: ")
_END = re.compile(r"(?<=;)\n")
_MADE = re.compile(rf'^CREATE INDEX CONCURRENTLY IF NOT EXISTS "{DEFAULT_TABLE}(?P<suffix>_[a-z_]+)"', re.MULTILINE)


def is_marked(text: str) -> bool:
    """Tell whether a file says that it runs outside a transaction."""
    return _MARK.match(text) is not None


def statements(text: str) -> list[str]:
    """Cut a file at the semicolons that end a line; before names are put in, as one may hold such an end."""
    return [part.strip() for part in _END.split(text) if part.strip()]


def run(conn: Connection, text: str, names: Names) -> None:
    """Run a file, each statement a transaction of its own; what an earlier try left half made is made anew."""
    for statement in statements(text):
        made = _MADE.search(statement)
        if made is not None:
            _drop_when_invalid(conn, names.schema, names.derived(made["suffix"]))
        conn.execute(render(statement, names).encode())


def _drop_when_invalid(conn: Connection, schema: str, index: str) -> None:
    query = """
        SELECT FROM pg_index AS i
        JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = %s AND c.relname = %s AND NOT i.indisvalid"""
    if conn.execute(query, (schema, index)).rowcount:
        conn.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(schema, index)))

"""What is wrong with the table, and the statement that mends it: facts → problems; pure."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from relay.model import Fault
from relay.ports import StoreUnavailable
from relay.store.facts import Facts, Index
from relay.store.queries import PAYLOAD_TYPES, quoted

VERSION_MIN = 140000
"""The oldest Postgres whose catalog functions and SQL the relay uses."""
_KINDS = {
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "S": "a sequence",
    "c": "a type",
    "i": "an index",
}
_WHOLE = ("bigint", "integer", "smallint")
_TEXT = ("text", "character varying")
_JSON = ("jsonb", "json", *_TEXT)
_TIME = ("timestamp with time zone",)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as the relay needs it."""

    code: str
    text: str
    fix: str
    """SQL to run, or a command."""
    blocking: bool = True
    """The relay does not begin with it; otherwise it is a warning."""
    fault: Fault = Fault.SCHEMA


@dataclass(frozen=True, slots=True)
class _Want:
    """A column the relay needs."""

    name: str
    types: tuple[str, ...]
    default: str = ""
    """Of ADD COLUMN, when it must hold a value."""
    written: bool = False

    @property
    def definition(self) -> str:
        return f"{self.types[0]} {self.default}".strip()

    @property
    def filled(self) -> bool:
        return "NOT NULL" in self.default


_WANTED = (
    _Want("id", _WHOLE, "GENERATED ALWAYS AS IDENTITY NOT NULL"),
    _Want("message_id", ("uuid",), "NOT NULL DEFAULT gen_random_uuid()"),
    _Want("exchange", _TEXT),
    _Want("routing_key", _TEXT, "NOT NULL"),
    _Want("key", _TEXT),
    _Want("payload", ("jsonb", *PAYLOAD_TYPES), "NOT NULL"),
    _Want("content_type", _TEXT, "NOT NULL DEFAULT 'application/json'"),
    _Want("headers", _JSON, "NOT NULL DEFAULT '{}'"),
    _Want("properties", _JSON, "NOT NULL DEFAULT '{}'"),
    _Want("status", _TEXT, "NOT NULL DEFAULT 'pending'", written=True),
    _Want("available_at", _TIME, "NOT NULL DEFAULT now()", written=True),
    _Want("claimed_until", _TIME, written=True),
    _Want("claim_token", ("uuid",), written=True),
    _Want("claims", ("integer", *_WHOLE), "NOT NULL DEFAULT 0", written=True),
    _Want("failures", ("integer", *_WHOLE), "NOT NULL DEFAULT 0", written=True),
    _Want("last_error", _TEXT, written=True),
    _Want("created_at", _TIME, "NOT NULL DEFAULT now()"),
    _Want("sent_at", _TIME, written=True),
)


@dataclass(frozen=True, slots=True)
class _WantedIndex:
    name: str
    key: str
    predicate: str
    why: str
    blocking: bool = False
    opt_in: str = ""
    """The migration that makes it; the name of the index follows the table's."""

    @property
    def columns(self) -> str:
        return f"({self.key}) WHERE {self.predicate}" if self.predicate else f"({self.key})"


_PENDING = "status = 'pending'"
_INDEXES = (
    _WantedIndex("id", "id", "", "without it each mark reads the whole table", blocking=True),
    _WantedIndex("pending", "id", _PENDING, "without it each claim reads the whole table", blocking=True),
    _WantedIndex("retrying", "id", f"{_PENDING} AND failures > 0", "without it the backlog sample is slow"),
    _WantedIndex("failed", "id", "status = 'failed'", "without it the backlog sample and requeues are slow"),
    _WantedIndex("sent", "sent_at", "status = 'sent'", "without it the cleanup is slow"),
)


_KEYS = _WantedIndex(
    "key",
    'key COLLATE "C", id',
    _PENDING,
    "RELAY_ORDERING=key finds the next row of each key by it",
    blocking=True,
    opt_in="ordering",
)
_FAILED_KEYS = _WantedIndex(
    "failed_key",
    'key COLLATE "C"',
    "status = 'failed' AND key IS NOT NULL",
    "RELAY_FAILED_BLOCKS_KEY=true asks it for each key",
    blocking=True,
    opt_in="ordering",
)


def find_problems(
    facts: Facts, schema: str, table: str, *, ordered: bool = False, failed_blocks_key: bool = False
) -> tuple[Problem, ...]:
    """Return everything that is wrong, the gravest first."""
    wanted = (*_INDEXES, *([_KEYS] if ordered else []), *([_FAILED_KEYS] if failed_blocks_key else []))
    return (
        tuple(_server(facts))
        or tuple(_absent(facts, schema, table))
        or (
            *_columns(facts, schema, table),
            *_rights(facts, schema, table),
            *_indexes(facts, schema, table, wanted),
            *_habits(facts, schema, table),
        )
    )


def unavailable_for(problems: Iterable[Problem]) -> StoreUnavailable | None:
    """Return the port's error for problems with which the relay must not begin."""
    blocking = [problem for problem in problems if problem.blocking]
    if not blocking:
        return None
    return StoreUnavailable(blocking[0].fault, "; ".join(f"{each.code}: {each.text} ({each.fix})" for each in blocking))


def _server(facts: Facts) -> Iterator[Problem]:
    if facts.version < VERSION_MIN:
        text = f"the server is Postgres {facts.version // 10000}; the relay needs {VERSION_MIN // 10000} or newer"
        yield Problem("server.old", text, "upgrade the server")
    if facts.recovering:
        text = "the server is a standby and takes no writes"
        yield Problem("server.read_only", text, "point RELAY_DATABASE_URL at the primary", fault=Fault.READ_ONLY)


def _absent(facts: Facts, schema: str, table: str) -> Iterator[Problem]:
    where = f"{quoted(schema)}.{quoted(table)}"
    make = "relay migrate up, or set RELAY_SCHEMA and RELAY_TABLE"
    if not facts.schema_exists:
        yield Problem("schema.missing", f"there is no schema {quoted(schema)} in this database", make)
    elif not facts.schema_usage:
        fix = f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {quoted(facts.login)};"
        yield Problem("schema.usage", f"no USAGE on schema {quoted(schema)}", fix, fault=Fault.PERMISSION)
    if facts.schema_exists and facts.kind is None:
        yield Problem("schema.missing", f"there is no table {where}", make)
    elif facts.kind is not None and facts.kind not in "rp":
        text = f"{where} is {_KINDS.get(facts.kind, 'no table')}, not a table"
        yield Problem("table.kind", text, "set RELAY_SCHEMA and RELAY_TABLE to the outbox table")


def _columns(facts: Facts, schema: str, table: str) -> Iterator[Problem]:
    alter = f"ALTER TABLE {quoted(schema)}.{quoted(table)}"
    found = {column.name: column for column in facts.columns}
    for want in _WANTED:
        column = found.get(want.name)
        if column is None:
            fix = f"{alter} ADD COLUMN {want.name} {want.definition};"
            yield Problem("column.missing", f"column {want.name} is missing", fix)
        elif column.type not in want.types:
            text = f"column {want.name} is of type {column.type}, not {_either(want.types)}"
            to = want.types[0]
            yield Problem("column.type", text, f"{alter} ALTER COLUMN {want.name} TYPE {to} USING {want.name}::{to};")
        elif want.filled and not column.not_null:
            fix = f"{alter} ALTER COLUMN {want.name} SET NOT NULL;"
            yield Problem("column.nullable", f"column {want.name} may hold NULL, which no message can", fix)


def _rights(facts: Facts, schema: str, table: str) -> Iterator[Problem]:
    to = f"ON {quoted(schema)}.{quoted(table)} TO {quoted(facts.login)};"
    found = {column.name: column for column in facts.columns}
    present = [(want, found[want.name]) for want in _WANTED if want.name in found]
    unread = [want.name for want, column in present if not column.may_select]
    unwritten = [want.name for want, column in present if want.written and not column.may_update]
    for verb, names in (("SELECT", unread), ("UPDATE", unwritten)):
        if names:
            listed = ", ".join(names)
            text = f"{facts.login} may not {verb} {listed}"
            yield Problem(f"grant.{verb.lower()}", text, f"GRANT {verb} ({listed}) {to}", fault=Fault.PERMISSION)
    if facts.row_security:
        text = f"row-level security would hide rows of the table from {facts.login}"
        yield Problem(
            "table.row_security", text, f"ALTER ROLE {quoted(facts.login)} BYPASSRLS;", fault=Fault.PERMISSION
        )


def _indexes(facts: Facts, schema: str, table: str, wanted: Iterable[_WantedIndex]) -> Iterator[Problem]:
    for want in wanted:
        fitting = [index for index in facts.indexes if _fits(index, want)]
        if any(index.valid for index in fitting):
            continue
        text = f"no index on {want.columns}: {want.why}"
        fix = f"CREATE INDEX CONCURRENTLY ON {quoted(schema)}.{quoted(table)} {want.columns};"
        if want.opt_in:
            fix = f"relay migrate up {want.opt_in}"
        for index in fitting:
            text = f"index {index.name} is not valid: {want.why}"
            fix = f"REINDEX INDEX CONCURRENTLY {quoted(schema)}.{quoted(index.name)};"
        yield Problem(f"index.{want.name}", text, fix, blocking=want.blocking)


def _fits(index: Index, want: _WantedIndex) -> bool:
    """Compare by definition, so that a team's own name for the index will do."""
    if not index.ordered or index.descending:
        return False
    keys = want.key.split(", ")
    return list(index.keys[: len(keys)]) == keys and _plain(index.predicate or "") == want.predicate


def _plain(predicate: str) -> str:
    """Take the parentheses and casts away that Postgres adds."""
    return re.sub(r"[()]|::(text|character varying)", "", predicate)


def _habits(facts: Facts, schema: str, table: str) -> Iterator[Problem]:
    sequence = facts.sequence
    if sequence is not None and sequence.cache > 1:
        text = f"ids come from a sequence with CACHE {sequence.cache}: their order is not that of the inserts"
        fix = f"ALTER SEQUENCE {quoted(sequence.schema)}.{quoted(sequence.name)} CACHE 1;"
        yield Problem("sequence.cache", text, fix, blocking=False)
    for trigger in facts.triggers:
        text = f"trigger {trigger} fires on the relay's own updates, several times a message"
        fix = f"DROP TRIGGER {quoted(trigger)} ON {quoted(schema)}.{quoted(table)}; or limit it to INSERT"
        yield Problem("table.trigger", text, fix, blocking=False)


def _either(types: tuple[str, ...]) -> str:
    return " or ".join(dict.fromkeys(types))

"""The statements of `relay/queries`, composed once with quoted names; pure but for reading the package's own files."""

from dataclasses import dataclass, fields
from importlib.resources import files
from typing import LiteralString

from psycopg import sql

from relay.decide import SUSPECT_CLAIMS

_GUESS: LiteralString = (
    "pg_column_size(payload)::bigint * CASE WHEN pg_column_compression(payload) IS NULL THEN 1 ELSE 10 END"
)
_EXACT: LiteralString = "octet_length(payload)::bigint"
_WEIGHTS: dict[str, LiteralString] = {
    "bytea": _EXACT,
    "character varying": _EXACT,
    "json": _GUESS,
    "jsonb": _GUESS,
    "text": _EXACT,
}
"""By the type of the payload: the size, or a guess of it, that reads nothing out of TOAST."""
PAYLOAD_TYPES = tuple(_WEIGHTS)
_FROM_LOW: LiteralString = "id >= %(low)s::bigint AND id < %(high)s::bigint"
_CHOSEN: LiteralString = "id = ANY (%(ids)s::bigint[])"
"""The rows that a claim may take: any of a window from where it begins, or those whose turn it is."""
_STOPPED: LiteralString = "EXISTS (SELECT FROM {table} AS f WHERE f.status = 'failed' AND f.key COLLATE \"C\" = v.key)"
_STOPPING: LiteralString = "EXISTS (SELECT FROM {table} WHERE status = 'failed' AND key IS NOT NULL)"
"""Whether a failed row blocks a key, or any; both ride on the index message_failed_key."""
UTF8 = "UTF8"
SQL_ASCII = "SQL_ASCII"
"""The encoding of a database that has none: its bytes were never promised to be UTF-8 and are sent as they are."""


@dataclass(frozen=True, slots=True)
class Queries:
    """Every statement that depends on the names alone, ready for psycopg with parameters; a file each."""

    inspect: bytes
    first_due: bytes
    beyond: bytes
    claim_unread: bytes
    renew: bytes
    mark_sent: bytes
    mark_sent_late: bytes
    mark_retry: bytes
    mark_failed: bytes
    release: bytes
    settled: bytes
    give_back: bytes
    turns: bytes
    writers: bytes
    backlog: bytes
    health: bytes
    failures: bytes
    oldest_sent: bytes
    cleanup_sent: bytes
    cleanup_failed: bytes
    count_sent: bytes
    count_failed: bytes
    requeue: bytes
    doorbell: bytes


def compose(schema: str, table: str, *, ordered: bool = False, failed_blocks_key: bool = False) -> Queries:
    """Compose them for that table; `ordered`: for claims of chosen rows, by turns."""
    names = _names(schema, table, ordered=ordered)
    names |= {
        "ordered": _truth(ordered),
        "failed_blocks": _truth(failed_blocks_key),
        "stopped": sql.SQL(_STOPPED if failed_blocks_key else "FALSE").format(table=names["table"]),
        "stopping": sql.SQL(_STOPPING if failed_blocks_key else "FALSE").format(table=names["table"]),
    }
    return Queries(**{field.name: _composed(field.name, names) for field in fields(Queries)})


def compose_claim(
    schema: str, table: str, *, payload_type: str, payload_type_id: int, encoding: str, ordered: bool = False
) -> bytes:
    """Compose the claim. `encoding` is the database's, `payload_type` one of PAYLOAD_TYPES or what a domain is over."""
    names = _names(schema, table, ordered=ordered) | {
        "body": _body(payload_type, encoding),
        "weight": sql.SQL(_WEIGHTS[payload_type]),
        "payload_type_id": sql.Literal(payload_type_id),
        "suspect_claims": sql.Literal(SUSPECT_CLAIMS),
    }
    return _composed("claim", names)


def identifier(name: str) -> sql.SQL:
    """Quote a name for a statement with parameters, where psycopg would take a percent sign for a placeholder."""
    return sql.SQL(quoted(name).replace("%", "%%"))


def quoted(name: str) -> str:
    """Quote a name for a person to copy."""
    return sql.Identifier(name).as_string(None)


def _names(schema: str, table: str, *, ordered: bool) -> dict[str, sql.Composable]:
    quoted_schema = identifier(schema)
    return {
        "schema": quoted_schema,
        "table": sql.SQL("{}.{}").format(quoted_schema, identifier(table)),
        "table_name": sql.SQL(sql.Literal(f"{quoted(schema)}.{quoted(table)}").as_string(None).replace("%", "%%")),
        "those": sql.SQL(_CHOSEN if ordered else _FROM_LOW),
    }


def _truth(holds: bool) -> sql.SQL:  # noqa: FBT001 - the word itself
    return sql.SQL("TRUE" if holds else "FALSE")


def _composed(name: str, names: dict[str, sql.Composable]) -> bytes:
    """Compose a file without its comments: what is longer than 4,096 bytes psycopg takes apart anew at every use."""
    text = files("relay").joinpath("queries", f"{name}.sql").read_text(encoding="utf-8")
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return sql.SQL(code).format(**names).as_bytes(None)


def _body(payload_type: str, encoding: str) -> sql.Composable:
    if payload_type == "bytea":
        return sql.SQL("payload")
    return sql.SQL("convert_to(payload::text, {})").format(sql.Literal(encoding if encoding == SQL_ASCII else UTF8))

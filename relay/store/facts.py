"""What the relay's login finds in the database: the answer of inspect.sql as data; pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table, and what this login may do with it."""

    name: str
    type: str
    """As format_type spells it, without a modifier; of a domain the type below it."""
    type_id: int
    """The type's oid; of a domain its own."""
    not_null: bool
    may_select: bool
    may_update: bool


@dataclass(frozen=True, slots=True)
class Index:
    """An index of the table."""

    name: str
    valid: bool
    ordered: bool
    """A btree, which can be walked in order."""
    keys: tuple[str, ...]
    """Columns or expressions; one in the order of bytes, whatever the database prefers, with COLLATE "C"."""
    descending: bool
    predicate: str | None


@dataclass(frozen=True, slots=True)
class Sequence:
    """Where ids come from."""

    schema: str
    name: str
    cache: int


@dataclass(frozen=True, slots=True)
class Facts:
    """All of it."""

    version: int
    """Such as 150018."""
    encoding: str
    recovering: bool
    login: str
    schema_exists: bool
    schema_usage: bool
    kind: str | None
    """pg_class.relkind; None: there is nothing of that name."""
    row_security: bool
    """Policies would hide rows from this login."""
    columns: tuple[Column, ...]
    indexes: tuple[Index, ...]
    sequence: Sequence | None
    triggers: tuple[str, ...]
    """Names of enabled triggers that fire on UPDATE."""
    sees_sessions: bool = True
    """This login sees what the sessions of others do."""


def facts_of(answer: Mapping[str, Any]) -> Facts:
    """Read the answer of inspect.sql."""
    sequence = answer["sequence"]
    return Facts(
        **{
            **answer,
            "columns": tuple(Column(**column) for column in answer["columns"]),
            "indexes": tuple(Index(**{**index, "keys": tuple(index["keys"])}) for index in answer["indexes"]),
            "sequence": None if sequence is None else Sequence(**sequence),
            "triggers": tuple(answer["triggers"]),
        }
    )

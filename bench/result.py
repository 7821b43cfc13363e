"""Everything a run found, to JSON and back. Pure."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bench.bars import Bar
from bench.scenario import Found, Table


@dataclass(frozen=True, slots=True)
class Result:
    """What a run found."""

    facts: Mapping[str, str]
    found: Mapping[str, Found]
    """By scenario."""


def as_json(result: Result) -> str:
    """Return it as text."""
    found = {name: asdict(each) for name, each in result.found.items()}
    return json.dumps({"facts": dict(result.facts), "found": found}, indent=1, ensure_ascii=False) + "\n"


def of_json(text: str) -> Result:
    """Read it again."""
    read: dict[str, Any] = json.loads(text)
    return Result(read["facts"], {name: _found(each) for name, each in read["found"].items()})


def _found(read: Mapping[str, Any]) -> Found:
    tables = (
        Table(each["title"], tuple(each["head"]), tuple(tuple(row) for row in each["rows"])) for each in read["tables"]
    )
    return Found(tuple(tables), tuple(Bar(**bar) for bar in read["bars"]), read["data"])

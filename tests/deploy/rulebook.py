"""The rules and the dashboard as they are in the chart, and which metrics an expression names."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml  # type: ignore[import-untyped]  # its stubs are not in the lock

from tests.deploy.tools import CHART

RULES = CHART / "files" / "rules.yaml"
DASHBOARD = CHART / "files" / "dashboard.json"
RUNBOOK = "https://github.com/outbox-relay/outbox-relay/blob/main/docs/runbook.md"
_NAME = re.compile(r"\b(?:namespace_job:\w+:\w+|(?:relay|process|python)_[a-z0-9_]+|up(?=[\s{)]))(?![\w:])")
_LITERAL = re.compile(r'"(?:\\.|[^"\\])*"')

Rule = Mapping[str, Any]


def groups() -> list[dict[str, Any]]:
    """The groups of rules."""
    document: dict[str, list[dict[str, Any]]] = yaml.safe_load(RULES.read_text())
    return document["groups"]


def rules() -> list[Rule]:
    """Every rule, in the order in which they are evaluated."""
    return [rule for group in groups() for rule in group["rules"]]


def alerts() -> dict[str, Rule]:
    """The rules that are alerts, by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def records() -> dict[str, Rule]:
    """The rules that record, by the name of what they record."""
    return {rule["record"]: rule for rule in rules() if "record" in rule}


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    document: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return document


def panels() -> Iterator[dict[str, Any]]:
    """Every panel but the rows, those within rows too."""
    for panel in dashboard()["panels"]:
        yield from panel["panels"] if panel["type"] == "row" else [panel]


def metrics(expression: str) -> set[str]:
    """The metrics that an expression asks for, recorded ones too."""
    return set(_NAME.findall(_LITERAL.sub('""', expression)))


def hastened(factor: int) -> str:
    """The rules as they are, but for the times an alert waits or goes on: those pass `factor` times faster."""
    document = yaml.safe_load(RULES.read_text())
    for group in document["groups"]:
        for rule in group["rules"]:
            for wait in ("for", "keep_firing_for"):
                if wait in rule:
                    rule[wait] = f"{round(1000 * seconds(rule[wait]) / factor)}ms"
    return json.dumps(document)  # YAML is a superset


def seconds(duration: str) -> int:
    """A duration of Prometheus with one unit, in seconds."""
    number, unit = duration[:-1], duration[-1]
    return int(number) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit]

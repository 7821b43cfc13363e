"""The chart's files that are made from the settings, and its values: nothing is missing, and nothing is said twice."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types

import relay
from helm import reference
from relay import settings

VALUES = yaml.safe_load((reference.CHART / "values.yaml").read_text())
SCHEMA = json.loads((reference.CHART / "values.schema.json").read_text())
OPEN = {
    "affinity", "authenticationRef", "behavior", "dnsConfig", "limits", "liveness", "podSecurityContext", "readiness",
    "requests", "securityContext", "startup",
}  # fmt: skip
"""Kubernetes' own parts, which are passed on as they are."""


@pytest.mark.parametrize("name", reference.MADE)
def test_what_is_made_is_as_it_would_be_made_now(name: str) -> None:
    text = (reference.CHART / name).read_text()
    assert reference.MADE[name](text) == text, "`python -m helm.reference` writes it"


def test_every_setting_but_the_two_urls_has_a_value() -> None:
    names = {entry.name for entry in settings.reference()} - {each.name for each in reference.settings().values()}
    assert names == {f"RELAY_{server}_URL{kind}" for server in ("DATABASE", "AMQP") for kind in ("", "_FILE")}
    assert reference.settings().keys() == VALUES["settings"].keys()


def _leaves(values: Any, schema: Any, path: str = "") -> Iterator[str]:
    """Give what values.yaml and its schema do not agree on."""
    known = schema.get("properties")
    if known is None:
        name = path.rpartition(".")[2]
        if (
            schema.get("type") == "object"
            and name not in OPEN
            and not isinstance(schema.get("additionalProperties"), dict)
        ):
            yield f"{path}: takes anything"
        return
    if schema.get("additionalProperties") is not False:
        yield f"{path}: takes unknown values"
    if isinstance(values, dict):
        yield from (f"{path}.{name}: in one of the two" for name in values.keys() ^ known.keys())
        for name in values.keys() & known.keys():
            yield from _leaves(values[name], known[name], f"{path}.{name}")


def test_the_schema_knows_the_values_and_nothing_else() -> None:
    found = {each for each in _leaves(VALUES, SCHEMA) if not each.endswith(".resources.claims: in one of the two")}
    assert found == {".global: in one of the two", ".enabled: in one of the two"}


def test_every_value_has_a_comment() -> None:
    said = {value.name for value in reference.values()}
    groups = {name for name in said for name in [name.rpartition(".")[0]]}

    def unsaid(values: Any, path: str) -> Iterator[str]:
        for name, value in values.items():
            here = f"{path}.{name}" if path else name
            if here in said and not (isinstance(value, dict) and here in groups):
                continue
            if isinstance(value, dict) and value:
                yield from unsaid(value, here)
            else:
                yield here

    assert list(unsaid({name: value for name, value in VALUES.items() if name != "settings"}, "")) == []


def test_the_chart_is_of_the_relays_version() -> None:
    chart = yaml.safe_load((reference.CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == relay.__version__

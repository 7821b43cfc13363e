"""The dashboard as it lies there: what Grafana's own linter asks for, Grafana's own types, and a tidy file."""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from relay.observe import METRICS
from tests.deploy import tools
from tests.deploy.rulebook import DASHBOARD, RUNBOOK, alerts, dashboard, metrics, panels

PANELS = {f"{panel['id']}-{panel['title']}": panel for panel in panels()}
EVERY_PANEL = pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNITS = {"none", "short", "s", "bytes", "cps", "ops", "percentunit", "bool_yes_no"}
"""Words of Grafana's list of units; an unknown one is shown as it stands."""
TABLE_WIDE = {name for name, text in METRICS.items() if "use max, never sum" in text}
COMPOSABLE = {
    "stat": "stat/panelcfg/x/StatPanelCfg_types.gen",
    "timeseries": "timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen",
    "state-timeline": "statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen",
    "heatmap": "heatmap/panelcfg/x/HeatmapPanelCfg_types.gen",
}
"""The types of a panel's options, which the dashboard's own leave open."""


def variables() -> dict[str, dict[str, Any]]:
    return {variable["name"]: variable for variable in dashboard()["templating"]["list"]}


def expressions() -> Iterator[str]:
    for panel in panels():
        yield from (target["expr"] for target in panel["targets"])
    yield from (note["target"]["expr"] for note in dashboard()["annotations"]["list"])


def test_the_file_is_tidy() -> None:
    assert DASHBOARD.read_text() == json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


def test_the_dashboard_cannot_be_edited_in_place_and_is_of_the_present_schema() -> None:
    script = "import { defaultDashboard } from '@grafana/schema'; console.log(defaultDashboard.schemaVersion)"
    assert dashboard()["editable"] is False
    assert dashboard()["uid"] == "outbox-relay"
    assert "id" not in dashboard()
    assert dashboard()["schemaVersion"] == int(tools.node(script))


def test_the_source_of_the_data_can_be_chosen() -> None:
    source = variables()["datasource"]
    assert (source["type"], source["query"], source["label"]) == ("datasource", "prometheus", "Data source")


@pytest.mark.parametrize("name", ["namespace", "job", "pod"])
def test_what_is_shown_can_be_chosen(name: str) -> None:
    variable = variables()[name]
    assert variable["datasource"] == SOURCE
    assert (variable["type"], variable["label"]) == ("query", name.capitalize())
    assert variable["multi"]
    assert variable["includeAll"]
    assert variable["refresh"] == 2, "asked anew when the range of time changes"
    # Outside of Kubernetes there is no namespace and no pod; .* matches what is not there, .+ does not.
    assert variable["allValue"] == (".+" if name == "job" else ".*")


@EVERY_PANEL
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert re.fullmatch(r"[A-Z`].{20,}[.:]", panel["description"])
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"] == SOURCE
    assert panel["targets"]
    assert {target["legendFormat"] != "" for target in panel["targets"]} == {True}
    assert {json.dumps(target["datasource"]) for target in panel["targets"]} == {json.dumps(SOURCE)}
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_a_query_asks_for_what_was_chosen_and_aggregates_as_it_should(expression: str) -> None:
    selectors = re.findall(r"\b(?:relay_|process_|up)\w*\{([^}]*)\}", expression)
    assert len(selectors) == len(re.findall(r"\b(?:relay_|process_)\w+|\bup\b", re.sub(r'"[^"]*"', "", expression)))
    for selector in selectors:
        assert selector.startswith('namespace=~"$namespace", job=~"$job", pod=~"$pod"')
    assert set(re.findall(r"\brate\([^\[]+\[([^\]]+)\]", expression)) <= {"$__rate_interval"}
    assert set(re.findall(r"\bincrease\([^\[]+\[([^\]]+)\]", expression)) <= {"$__rate_interval", "$__range"}
    for name in re.findall(r"\b(?:sum|avg|min|count) by [^)]*\) \((?:rate\(|increase\()?(\w+)", expression):
        assert name not in TABLE_WIDE, "every relay tells the same of the table: max"
    for name in metrics(expression):
        if name.endswith("_total"):
            assert re.search(rf"(rate|increase)\({name}\{{", expression), "a counter is of use as a rate only"


def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    words = {"$__rate_interval": "1m", "$__range": "1h"}
    queries = [re.sub(r"\$__\w+", lambda match: words[match[0]], each) for each in expressions()]
    recorded = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": [{"name": "queries", "rules": recorded}]}))
    assert f"{len(queries)} rules found" in tools.run(["promtool", "check", "rules", tmp_path / "rules.yaml"])


def test_ids_and_titles_are_unique_and_no_panel_covers_another() -> None:
    everything = dashboard()["panels"]
    assert [panel for panel in everything if panel.get("panels")] == [], "rows are open, their panels beside them"
    for name in ("id", "title"):
        assert len({panel[name] for panel in everything}) == len(everything)
    for one, other in combinations(everything, 2):
        a, b = one["gridPos"], other["gridPos"]
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"], (one["title"], other["title"])
        assert a["x"] + a["w"] <= 24


def test_the_rows_are_those_a_person_on_call_goes_through() -> None:
    titles = [panel["title"] for panel in dashboard()["panels"] if panel["type"] == "row"]
    assert titles == ["Now", "Backlog", "Delivery", "Failures", "Database", "Table", "Processes"]


def test_every_alert_is_linked_from_a_panel_and_every_link_leads_to_one() -> None:
    links = {link["url"] for panel in panels() for link in panel.get("links", [])}
    assert links == {f"{RUNBOOK}#{name.lower()}" for name in alerts()}
    assert RUNBOOK in {link["url"] for link in dashboard()["links"]}


def test_grafana_knows_the_types() -> None:
    """An unknown key and a wrong type are errors for the compiler, as they stand in the file and at their place."""
    assert tools.tsc(typed()) == ""


def typed() -> str:
    """A program that says of the dashboard, and of each panel's options, of which type they are."""
    head = Path(__file__).with_name("checkers").joinpath("dashboard.ts").read_text()
    lines = [head, f"export const dashboard: Plain<Whole> = {json.dumps(dashboard())};"]
    for number, (kind, module) in enumerate(sorted(COMPOSABLE.items())):
        lines.append(f"import type * as kind{number} from '@grafana/schema/dist/esm/raw/composable/{module}';")
        for panel in panels():
            if panel["type"] == kind:
                custom = panel["fieldConfig"]["defaults"].get("custom", {})
                options = f"Plain<kind{number}.Options>"
                lines.append(f"export const options{panel['id']}: {options} = {json.dumps(panel['options'])};")
                if kind != "stat":
                    fields = f"Plain<kind{number}.FieldConfig>"
                    lines.append(f"export const fields{panel['id']}: {fields} = {json.dumps(custom)};")
    assert {panel["type"] for panel in panels()} <= COMPOSABLE.keys()
    return "\n".join(lines)

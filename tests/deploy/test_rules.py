"""The alerts: sound, explained, and each of them tried to fire and to keep silent. promtool judges."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are not in the lock

from relay.observe import METRICS
from relay.observe.metrics import _DELAY_BOUNDS, Metrics
from relay.settings import reference
from tests.deploy import fleet, tools
from tests.deploy.rulebook import RULES, RUNBOOK, alerts, groups, metrics, records, rules

TRIALS = sorted(Path(__file__).with_name("rules").glob("*.yaml"))
AGREED = {
    *("OutboxBacklogTooOld", "OutboxBacklogAgeing", "OutboxBacklogGrowing", "OutboxDeliveryBudgetBurnFast"),
    *("OutboxDeliveryBudgetBurnSlow", "OutboxDeliveryBudgetBurnTrickle", "OutboxPublishFailing"),
    *("OutboxMessagesUnroutable", "OutboxBrokerOutage", "OutboxDatabaseOutage", "OutboxRowsFailed"),
    *("OutboxKeysBlocked", "OutboxRelayDown", "OutboxRelayReplicasLow", "OutboxRelayStalled", "OutboxLeasesLost"),
    *("OutboxMetricsStale", "OutboxCleanupStale", "OutboxTableBloat", "OutboxSnapshotHeld"),
}
WAKE = {"OutboxBacklogTooOld", "OutboxDeliveryBudgetBurnFast", "OutboxRelayDown", "OutboxRelayStalled"}
TABLE_WIDE = {name for name, text in METRICS.items() if "use max, never sum" in text}


def exposed(name: str) -> bool:
    """Whether the relay has that metric, or Prometheus makes it for every target."""
    settings = {each.name.removeprefix("RELAY_").lower() for each in reference()}
    family = re.sub(r"_(bucket|count|sum)$", "", name)
    return {name, family} & METRICS.keys() != set() or name == "up" or name.removeprefix("relay_config_") in settings


def tried(path: Path) -> list[dict[str, Any]]:
    """What a file of trials asks about alerts."""
    document = yaml.safe_load(path.read_text())
    return [each for trial in document["tests"] for each in trial.get("alert_rule_test", [])]


def test_prometheus_takes_the_rules_as_they_are() -> None:
    assert f"{len(rules())} rules found" in tools.run(["promtool", "check", "rules", RULES])


def test_prometheus_finds_nothing_wrong_with_the_metrics_themselves() -> None:
    """Names, units, help: promtool's own lint, which ends with 3 when it has something to say."""
    lasted = {"broker": 0.0, "database": 0.0}
    exposed_now, _ = Metrics(version="0", config={"batch_size": 500}, outage_seconds=lambda: lasted).exposed("")
    assert tools.run(["promtool", "check", "metrics"], text=exposed_now.decode()) == ""


def test_prometheus_takes_what_compose_tells_it(tmp_path: Path) -> None:
    for path in (tools.ROOT / "watch" / "prometheus.yml", RULES):  # as compose.yaml mounts them, side by side
        shutil.copy(path, tmp_path)
    assert f"{len(rules())} rules found" in tools.run(["promtool", "check", "config", tmp_path / "prometheus.yml"])


def test_the_alerts_are_those_that_were_agreed() -> None:
    assert {name for name, rule in alerts().items() if rule["labels"] == {"severity": "critical"}} == WAKE
    assert {name for name, rule in alerts().items() if rule["labels"] == {"severity": "warning"}} == AGREED - WAKE


def test_the_readme_lists_every_alert_with_its_severity() -> None:
    table = re.findall(r"^\| `(Outbox\w+)` \| (\w+) \|", (tools.ROOT / "README.md").read_text(), re.MULTILINE)
    assert table == [(name, rule["labels"]["severity"]) for name, rule in alerts().items()]


def test_names_are_unique() -> None:
    names = [rule.get("alert") or rule.get("record") for rule in rules()]
    assert len(set(names)) == len(names)
    assert len({group["name"] for group in groups()}) == len(groups())


@pytest.mark.parametrize("name", sorted(AGREED))
def test_an_alert_says_what_is_wrong_and_where_to_read_on(name: str) -> None:
    notes = alerts()[name]["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url", "dashboard_url"}
    assert notes["runbook_url"] == f"{RUNBOOK}#{name.lower()}"
    assert re.search(r"/d/outbox-relay\?", notes["dashboard_url"])
    assert re.fullmatch(r"[A-Z][^.{}]{10,60}", notes["summary"])
    assert len(notes["description"]) > 80


@pytest.mark.parametrize("name", sorted({*alerts(), *records()}))
def test_an_expression_asks_for_metrics_there_are_and_takes_tables_with_max(name: str) -> None:
    expression = (alerts() | records())[name]["expr"]
    assert metrics(expression)
    assert [each for each in metrics(expression) if not exposed(each) and each not in records()] == []
    for clause in re.findall(r"\b(sum|avg|count|min) by \([^)]*\) \(([^()]*)", expression):
        assert TABLE_WIDE.isdisjoint(metrics(clause[1])), clause
    assert re.findall(r"by \((?!namespace, job\b)[^)]*\)", expression) == []


def test_every_recorded_series_is_used() -> None:
    used = {each for rule in rules() for each in metrics(rule["expr"])}
    assert set(records()) - used == set()


def test_the_objective_is_counted_at_a_bound_of_the_histogram() -> None:
    bounds = {bound for rule in rules() for bound in re.findall(r'le="([^"]+)"', rule["expr"])}
    assert bounds == {"30.0"}
    assert 30 in _DELAY_BOUNDS


@pytest.mark.parametrize("path", TRIALS, ids=lambda path: path.stem)
def test_the_alerts_fire_and_keep_silent_as_tried(path: Path) -> None:
    assert "SUCCESS" in tools.run(["promtool", "test", "rules", path])


@pytest.mark.parametrize("name", sorted(AGREED))
def test_every_alert_is_tried_both_ways(name: str) -> None:
    asked = [each for path in TRIALS for each in tried(path) if each["alertname"] == name]
    assert any(each["exp_alerts"] for each in asked), "no trial in which it fires"
    assert any(not each["exp_alerts"] for each in asked), "no trial in which it is silent"


@pytest.mark.parametrize("scenario", fleet.SCENARIOS)
def test_nobody_is_woken_by(scenario: str, tmp_path: Path) -> None:
    series = [each for part in fleet.SCENARIOS[scenario] for each in part.series()]
    moments = [{"expr": 'ALERTS{alertstate="firing"}', "eval_time": f"{minute}m"} for minute in range(1, 195, 3)]
    trial = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": moments}],
    }
    (tmp_path / "trial.yaml").write_text(json.dumps(trial))
    tools.run(["promtool", "test", "rules", tmp_path / "trial.yaml"])


def test_the_fleet_that_wakes_nobody_has_every_metric_that_could() -> None:
    asked = {each for rule in alerts().values() for each in metrics(rule["expr"])} - set(records())
    asked |= {each for rule in records().values() for each in metrics(rule["expr"])} - set(records())
    assert asked <= fleet.NAMES

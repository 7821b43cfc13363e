"""A real Prometheus reads real relays through real outages: every query finds data, and the alerts fire."""

import math
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from relay.observe import METRICS
from tests.deploy.rulebook import alerts, dashboard, metrics, panels, records, rules
from tests.deploy.watched import PODS, Watched, played

pytestmark = pytest.mark.timeout(240)  # the story, a minute or two, is told before the first test

EVERYTHING = {"$namespace": ".*", "$job": ".+", "$pod": ".*"}
"""What Grafana puts in for All: the variable's own allValue."""
ONE_POD = {"$namespace": "shop", "$job": "relay", "$pod": "a"}
MOMENTS = {"$__rate_interval": "5s", "$__range": "1h", "$__interval": "1s"}
UNCALLED_FOR = {
    *("OutboxRelayDown", "OutboxRelayReplicasLow", "OutboxRelayStalled", "OutboxMetricsStale", "OutboxLeasesLost"),
    *("OutboxKeysBlocked", "OutboxCleanupStale", "OutboxTableBloat", "OutboxSnapshotHeld", "OutboxBacklogTooOld"),
}
"""What an outage of some seconds must not set off. The others may have had a cause, on a slow machine."""
PANELS = {f"{panel['id']}-{panel['title']}": panel for panel in panels()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    async with played(tmp_path_factory.mktemp("watched")) as story:
        yield story


def filled(expression: str, choice: dict[str, str]) -> str:
    """The expression with its variables filled in."""
    for name, value in (choice | MOMENTS).items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def values(watched: Watched, expression: str, *, instant: bool = False) -> list[float]:
    """Every value that an expression gave while the relays ran, whichever the series."""
    if instant:
        found = watched.prometheus.now(expression, at=watched.end)
    else:
        found = watched.prometheus.over(expression, begin=watched.begin, end=watched.end)
    return [value for _, series in found for _, value in series]


def during(watched: Watched, expression: str) -> list[float]:
    """Every value that it gave while the broker was away."""
    found = watched.prometheus.over(expression, begin=watched.outage[0], end=watched.outage[1])
    return [value for _, series in found for _, value in series]


def query(title: str, legend: str = "{{job}}") -> str:
    """The query of a panel with that legend, for all relays."""
    [expression] = {
        target["expr"]
        for panel in panels()
        if panel["title"] == title
        for target in panel["targets"]
        if target["legendFormat"] == legend
    } or pytest.fail(f"no query {legend} in {title}")
    return filled(expression, EVERYTHING)


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_every_query_of_a_panel_finds_data(panel: dict[str, Any], watched: Watched) -> None:
    for target in panel["targets"]:
        for choice in (EVERYTHING, ONE_POD):
            expression = filled(target["expr"], choice)
            found = values(watched, expression, instant=target.get("instant", False))
            assert [value for value in found if math.isfinite(value)], expression


@pytest.mark.parametrize("note", dashboard()["annotations"]["list"], ids=lambda note: note["name"])
def test_every_annotation_finds_data(note: dict[str, Any], watched: Watched) -> None:
    assert values(watched, filled(note["target"]["expr"], EVERYTHING))


def choices() -> Iterator[tuple[str, str, str]]:
    """Give every variable that asks Prometheus for its values: its name, the metric, the label."""
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
            assert match, variable["query"]
            yield variable["name"], match[1], match[2]


@pytest.mark.parametrize(("name", "metric", "label"), list(choices()))
def test_every_variable_offers_what_there_is(name: str, metric: str, label: str, watched: Watched) -> None:
    expression = f"group by ({label}) ({filled(metric, EVERYTHING)})"
    offered = {labels[label] for labels, _ in watched.prometheus.now(expression, at=watched.end)}
    assert offered == {"namespace": {"shop"}, "job": {"relay"}, "pod": set(PODS)}[name]


def test_every_rule_can_be_evaluated(watched: Watched) -> None:
    told = watched.prometheus.rules()
    assert len(told) == len(rules())
    assert [(each["name"], each.get("lastError")) for each in told if each["health"] != "ok"] == []


def test_every_metric_that_rules_and_panels_name_was_scraped(watched: Watched) -> None:
    asked = {each for rule in rules() for each in metrics(rule["expr"])}
    asked |= {each for panel in panels() for target in panel["targets"] for each in metrics(target["expr"])}
    assert [each for each in sorted(asked) if not values(watched, f"count({each})")] == []


def test_every_metric_of_the_relay_is_on_the_dashboard_or_in_an_alert(watched: Watched) -> None:
    asked = {each for rule in alerts().values() for each in metrics(rule["expr"])}
    asked |= {each for panel in panels() for target in panel["targets"] for each in metrics(target["expr"])}
    families = {re.sub(r"_(bucket|count|sum)$", "", each) for each in asked} | asked
    assert METRICS.keys() - families == set()
    assert values(watched, "count(relay_build_info)")


def test_every_recorded_series_was_recorded(watched: Watched) -> None:
    assert [name for name in records() if not values(watched, name)] == []


def test_the_alerts_fired_for_real_and_said_why(watched: Watched) -> None:
    told = {name: alert["annotations"]["description"] for name, alert in watched.fired.items()}
    assert "Reason: refused." in told["OutboxBrokerOutage"]
    assert re.search(r"Reason: (refused|unreachable|lost)\.", told["OutboxDatabaseOutage"])
    assert "4 rows are failed" in told["OutboxRowsFailed"]
    assert "refused as unroutable" in told["OutboxMessagesUnroutable"]
    assert "no relay of relay" in told["OutboxRelayDown"]
    assert {alert["labels"]["namespace"] for alert in watched.fired.values()} == {"shop"}


def test_nothing_fired_that_had_no_cause(watched: Watched) -> None:
    names = 'group by (alertname) (ALERTS{alertstate="firing"})'
    found = watched.prometheus.over(names, begin=watched.begin, end=watched.end)
    assert {labels["alertname"] for labels, _ in found} & UNCALLED_FOR == set()


def test_the_dashboard_tells_the_outage(watched: Watched) -> None:
    assert set(during(watched, query("State of each relay", "{{pod}}"))) == {1.0}
    assert set(during(watched, query("Why", "{{side}}: {{reason}}"))) == {1.0}
    assert max(during(watched, query("Age of the oldest message"))) > 3
    assert math.inf in during(watched, query("Time to empty"))
    assert min(during(watched, query("Out"))) == 0


def test_the_dashboard_tells_the_flow(watched: Watched) -> None:
    assert max(values(watched, query("In"))) > 100
    assert max(values(watched, query("Out"))) > 100
    assert set(values(watched, query("State"))) == {0.0, 1.0, 2.0}
    assert max(values(watched, query("Given up"))) == 4
    assert max(values(watched, query("Relays", "connected"))) == len(PODS)
    assert 0 < max(values(watched, query("Within 30 s"), instant=True)) <= 1

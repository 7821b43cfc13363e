"""Monitors, alerts, dashboard: what Prometheus and Grafana are given."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types

from tests.deploy import charts, tools
from tests.deploy.charts import CASES, Object, Refused, least, one


def rules_file() -> Any:
    """The plain rules, from which the chart makes its own."""
    return yaml.safe_load((tools.CHART / "files" / "rules.yaml").read_text())


def alerts(groups: list[Object]) -> dict[str, Object]:
    """The alerts of groups, by name."""
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def test_without_a_word_the_alerts_are_those_of_the_plain_file() -> None:
    made = one(charts.render(least(prometheusRule={"enabled": True})), "PrometheusRule")["spec"]["groups"]
    plain = rules_file()["groups"]
    for rule in alerts(plain).values():
        del rule["annotations"]["dashboard_url"]
    assert made == plain


def test_alerts_take_what_is_said_of_them() -> None:
    made = one(charts.render(charts.named("monitoring")), "PrometheusRule")["spec"]["groups"]
    found, plain = alerts(made), alerts(rules_file()["groups"])
    assert plain.keys() - found.keys() == {"OutboxCleanupStale"}
    assert found.keys() - plain.keys() == {"OrdersStopped"}
    ageing = found["OutboxBacklogAgeing"]
    assert (ageing["for"], ageing["keep_firing_for"]) == ("15m", "1m")
    assert ageing["labels"] == {"severity": "info", "team": "orders", "channel": "orders"}
    assert found["OutboxRowsFailed"]["expr"].endswith("> 10")
    notes = found["OutboxBacklogTooOld"]["annotations"]
    assert notes["runbook_url"] == "https://runbooks.example.com/outbox#outboxbacklogtooold"
    assert notes["dashboard_url"].startswith("https://grafana.example.com/d/outbox-relay?var-")
    assert "{{ $labels.namespace }}" in notes["dashboard_url"]
    assert found["OutboxBacklogTooOld"]["labels"] == {"severity": "critical", "team": "orders"}


def test_prometheus_reads_the_rules_of_the_chart(tmp_path: Path) -> None:
    for number, values in enumerate((least(prometheusRule={"enabled": True}), charts.case(CASES[0]))):
        made = [each for each in charts.render(values) if each["kind"] == "PrometheusRule"]
        file = tmp_path / f"{number}.yaml"
        file.write_text(yaml.safe_dump(made[0]["spec"] if made else {"groups": []}))
        tools.run(["promtool", "check", "rules", file])


def test_the_dashboard_comes_as_it_is_in_the_file() -> None:
    made = one(charts.render(charts.named("monitoring")), "ConfigMap", "-dashboard")
    assert json.loads(made["data"]["outbox-relay.json"]) == json.loads(
        (tools.CHART / "files/dashboard.json").read_text()
    )
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert made["metadata"]["annotations"] == {"grafana_folder": "Messaging"}
    assert made["metadata"]["namespace"] == "monitoring"


@pytest.mark.parametrize(
    ("kind", "endpoints"), [("PodMonitor", "podMetricsEndpoints"), ("ServiceMonitor", "endpoints")]
)
def test_prometheus_is_led_to_the_relays(kind: str, endpoints: str) -> None:
    made = charts.render(charts.named("monitoring" if kind == "PodMonitor" else "service-monitor"))
    spec = one(made, kind)["spec"]
    assert spec["namespaceSelector"] == {"matchNames": ["shop"]}
    assert spec["jobLabel"] == "app.kubernetes.io/instance"
    assert (spec[endpoints][0]["port"], spec[endpoints][0]["path"]) == ("http", "/metrics")
    assert one(made, kind)["metadata"]["labels"]["release"] == "kube-prometheus-stack"


def test_kinds_that_a_cluster_does_not_have_are_rendered_left_out_or_refused() -> None:
    def kinds(mode: str, *options: str) -> set[str]:
        values = least(podMonitor={"enabled": True}, monitoring={"renderMode": mode})
        return {each["kind"] for each in charts.render_3(values, *options)}

    there = ("--api-versions", "monitoring.coreos.com/v1/PodMonitor")
    assert "PodMonitor" in kinds("alwaysRender")
    assert "PodMonitor" not in kinds("skipIfMissing")
    assert "PodMonitor" in kinds("skipIfMissing", *there) & kinds("failIfMissing", *there)
    with pytest.raises(Refused, match=r"this cluster has no monitoring\.coreos\.com/v1/PodMonitor"):
        kinds("failIfMissing")

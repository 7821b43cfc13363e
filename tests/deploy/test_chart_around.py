"""Network policies, scaling, and what a user puts beside."""

from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types

from tests.deploy import charts, tools
from tests.deploy.charts import least, one


def test_a_migration_has_its_way_to_the_database_before_the_release() -> None:
    made = charts.render(charts.named("network-policy"))
    (policy,) = (each for each in charts.hooks(made, "pre-install") if each["kind"] == "NetworkPolicy")
    (job,) = (each for each in charts.hooks(made, "pre-install") if each["kind"] == "Job")
    weight = "helm.sh/hook-weight"
    assert int(policy["metadata"]["annotations"][weight]) < int(job["metadata"]["annotations"][weight])
    selected = policy["spec"]["podSelector"]["matchLabels"]
    assert job["spec"]["template"]["metadata"]["labels"].items() >= selected.items()
    assert {port["port"] for rule in policy["spec"]["egress"] for port in rule.get("ports", ())} == {53, 5432}


def test_a_policy_lets_scrapes_in_and_dns_and_both_servers_out() -> None:
    made = charts.render(charts.named("network-policy"))
    spec = one(made, "NetworkPolicy", "outbox-relay")["spec"]
    assert [port["port"] for port in spec["ingress"][0]["ports"]] == [9464]
    assert [[port["port"] for port in rule.get("ports", ())] for rule in spec["egress"]] == [
        [53, 53],
        [5432],
        [5671],
        [],
    ]
    for each, _ in charts.pods(made):
        template = each["spec"].get("jobTemplate", each)["spec"].get("template", each)
        assert template["metadata"]["labels"].items() >= spec["podSelector"]["matchLabels"].items()


@pytest.mark.parametrize(("outage", "backlog"), [(0, 9000), (1, 0)])
def test_the_scaler_sees_the_backlog_and_rests_in_an_outage(outage: int, backlog: int, tmp_path: Path) -> None:
    """Prometheus itself evaluates the query, with a relay of another release and one of two in an outage."""
    query = one(charts.render(charts.named("keda")), "ScaledObject")["spec"]["triggers"][0]["metadata"]["query"]
    (tmp_path / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "g", "rules": [{"record": "q", "expr": query}]}]})
    )
    series = {
        'relay_outbox_rows{state="pending",namespace="shop",job="orders",pod="a"}': 9000,
        'relay_outbox_rows{state="pending",namespace="shop",job="orders",pod="b"}': 8990,
        'relay_outbox_rows{state="failed",namespace="shop",job="orders",pod="a"}': 10_000,
        'relay_outbox_rows{state="pending",namespace="shop",job="payments",pod="c"}': 99_999,
        'relay_outage{namespace="shop",job="orders",pod="a"}': 0,
        'relay_outage{namespace="shop",job="orders",pod="b"}': outage,
        'relay_outage{namespace="shop",job="payments",pod="c"}': 1,
    }
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": f"{value}x5"} for name, value in series.items()],
        "promql_expr_test": [{"expr": "q", "eval_time": "3m", "exp_samples": [{"labels": "q", "value": backlog}]}],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}))
    tools.run(["promtool", "test", "rules", file])


def test_without_a_relay_the_scaler_is_told_nothing_rather_than_nothing_waits() -> None:
    spec = one(charts.render(charts.named("keda")), "ScaledObject")["spec"]
    assert spec["triggers"][0]["metadata"]["ignoreNullValues"] == "false"
    assert spec["fallback"]["replicas"] == spec["minReplicaCount"] >= 1
    assert [trigger["type"] for trigger in spec["triggers"]] == ["prometheus", "cron"]


def test_objects_of_ones_own_are_rendered_as_templates() -> None:
    made = charts.render(charts.named("extras"))
    assert one(made, "ConfigMap", "orders-topology")["data"] == {"exchange": "shop.events"}
    assert one(made, "ConfigMap", "-certs")["data"] == {}


def test_the_last_words_name_the_secrets_and_what_is_not_there_yet() -> None:
    notes = charts.rendered(least())["outbox-relay/templates/NOTES.txt"]
    for said in (
        "get secret db mq",
        "relay check",
        "helm test orders",
        "cleanup.enabled=true",
        "podMonitor.enabled=true",
    ):
        assert said in notes
    assert "logs job/orders-outbox-relay-migrate" in notes
    by_hand = charts.rendered(least(migrations={"mode": "none", "optIns": ["ordering"]}))
    assert "`relay migrate sql ordering`" in by_hand["outbox-relay/templates/NOTES.txt"]

"""The Deployment: what the relay is told and given, and how it is watched over."""

import re
from pathlib import Path
from typing import Any

import pytest

from helm import reference
from relay.settings import reference as settings_reference
from tests.deploy import charts, tools
from tests.deploy.charts import least, one

DEFAULTS = {entry.name: entry.default for entry in settings_reference()}


@pytest.mark.parametrize(
    ("grace", "given", "seconds"), [(None, None, 35), (40.5, None, 51), (25, 30, 30), (10, 15, 15)]
)
def test_kubernetes_waits_longer_than_the_relay_needs_to_stop(grace: Any, given: Any, seconds: int) -> None:
    values = least(settings={"shutdownGraceSeconds": grace}, terminationGracePeriodSeconds=given)
    spec = charts.pod(charts.render(values), "Deployment")
    assert spec["terminationGracePeriodSeconds"] == seconds


def test_probes_ask_what_each_is_for() -> None:
    relay = charts.relay_of(charts.render(least(settings={"httpPort": 8080})))
    paths = {name: relay[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: where["path"] for name, where in paths.items()} == {
        "startup": "/livez",
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    assert {where["port"] for where in paths.values()} == {"http"}
    assert relay["ports"] == [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]


@pytest.mark.parametrize("changes", [{}, {"lanes": 4, "batchBytes": 100_000_000}, {"batchSize": 10_000}])
def test_memory_is_limited_to_the_ceiling_that_the_readme_reckons(changes: dict[str, int]) -> None:
    formula = re.search(r"^90 MiB \+ RELAY_LANES.*$", (tools.ROOT / "README.md").read_text(), re.MULTILINE)
    assert formula
    sum_ = formula[0].replace("90 MiB", f"{90 * 2**20}").replace("2 KiB", "2048").replace("×", "*")  # noqa: RUF001
    chosen = DEFAULTS | {reference.settings()[name].name: str(value) for name, value in changes.items()}
    sum_ = re.sub(r"RELAY_\w+", lambda name: chosen[name[0]], sum_)
    assert not re.search(r"[^0-9+*(), max]", sum_)
    ceiling = eval(sum_) / 2**20
    limit = charts.relay_of(charts.render(least(settings=changes)))["resources"]["limits"]["memory"]
    assert limit.endswith("Mi")
    assert 1.05 * ceiling < int(limit.removesuffix("Mi")) < 1.1 * ceiling + 2


def test_a_limit_of_ones_own_stays_beside_the_others() -> None:
    limits = {"memory": "1Gi", "cpu": "2"}
    assert charts.relay_of(charts.render(least(resources={"limits": limits})))["resources"]["limits"] == limits
    made = charts.relay_of(charts.render(least(resources={"limits": {"cpu": "2"}})))["resources"]["limits"]
    assert made.keys() == {"cpu", "memory"}


def test_a_secret_is_mounted_whole_so_that_a_rotation_is_seen() -> None:
    """A mount of one file by subPath is never changed by Kubernetes."""
    made = charts.render(charts.named("tls"))
    relay, spec = charts.relay_of(made), charts.pod_of(one(made, "Deployment"))
    assert spec
    files = {mount["mountPath"]: mount for mount in relay["volumeMounts"]}
    for variable in relay["env"]:
        if (value := str(variable.get("value"))).startswith("/"):
            assert str(Path(value).parent) in files, variable
    assert not any("subPath" in mount for mount in files.values())
    secrets = {volume["name"]: volume["secret"] for volume in spec["volumes"] if "secret" in volume}
    assert secrets["database"]["items"] == [{"key": "uri", "path": "url"}]
    assert secrets["amqp"]["items"] == [{"key": "connection_string", "path": "url"}]
    assert secrets["database-client"]["defaultMode"] == 0o440
    assert [v["value"] for v in relay["env"] if v["name"] == "PGSSLMODE"] == ["verify-full"]


def test_a_url_is_put_together_of_a_secrets_keys_by_kubernetes() -> None:
    rds = {"user": "relay", "pass": "p@ss/w:rd", "endpoint": "db.example", "port": "6432", "dbname": "orders"}
    mq = {"username": "relay", "password": "pw", "host": "mq.example", "port": "5673"}
    secrets = {("rds", key): value for key, value in rds.items()} | {("mq", key): value for key, value in mq.items()}
    env = charts.environment(charts.relay_of(charts.render(charts.named("part-keys"))), secrets)
    assert env["RELAY_DATABASE_URL"] == "postgresql://db.example:6432/orders"
    assert (env["PGUSER"], env["PGPASSWORD"]) == ("relay", "p@ss/w:rd")
    assert env["RELAY_AMQP_URL"] == "amqp://relay:pw@mq.example:5673/%2F"


def test_a_virtual_host_and_hosts_with_ports_are_written_as_a_url_wants_them() -> None:
    parts = {"host": "a:5671,b:5671", "scheme": "amqps", "vhost": "shop orders/eu"}
    relay = charts.relay_of(charts.render(least(amqp={"urlKey": "", "parts": parts})))
    env = charts.environment(relay, {("mq", "username"): "u", ("mq", "password"): "p"})
    assert env["RELAY_AMQP_URL"] == "amqps://u:p@a:5671,b:5671/shop%20orders%2Feu"


def test_names_leave_room_for_what_is_put_behind_them() -> None:
    made = charts.render(charts.named("extras"))
    assert all(len(each["metadata"]["name"]) <= 52 for each in made)
    assert one(made, "Deployment")["metadata"]["name"] == "a-name-that-is-much-longer-than-any-cronjob"


def test_a_release_of_the_charts_own_name_has_the_names_that_the_runbook_uses() -> None:
    made = charts.render(least(cleanup={"enabled": True}), "outbox-relay")
    assert one(made, "Deployment")["metadata"]["name"] == "outbox-relay"
    assert charts.relay_of(made)["name"] == "relay"
    labelled = [each for each in made if each["kind"] in {"Deployment", "CronJob", "Job"}]
    assert {each["metadata"]["labels"]["app.kubernetes.io/name"] for each in labelled} == {"outbox-relay"}


def test_two_releases_side_by_side_share_nothing() -> None:
    def named(release: str) -> set[tuple[str, str]]:
        made = charts.render(least(cleanup={"enabled": True}), release)
        return {(each["kind"], each["metadata"]["name"]) for each in made}

    assert not named("orders") & named("payments")


def test_somebody_else_may_scale() -> None:
    assert one(charts.render(least()), "Deployment")["spec"]["replicas"] == 2
    for values in (least(replicaCount=None), charts.named("keda")):
        assert "replicas" not in one(charts.render(values), "Deployment")["spec"]

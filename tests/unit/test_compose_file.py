"""What compose.yaml and .env.example promise, read from the files themselves."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import yaml  # type: ignore[import-untyped]  # its stubs are not in the lock; compose() gives the one value a type

from relay.settings import reference
from tests.dockerfile import ROOT, last


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return document


def ours() -> dict[str, dict[str, Any]]:
    """Return the services that run the relay's image."""
    services: dict[str, dict[str, Any]] = compose()["services"]
    return {name: service for name, service in services.items() if service["image"].startswith("outbox-relay:")}


def example() -> dict[str, str]:
    """Read .env.example as compose does."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def interpolated() -> Iterator[tuple[str, str, str]]:
    """Give every ${NAME:-default} and ${NAME:?message} of compose.yaml as name, sign and text."""
    text = (ROOT / "compose.yaml").read_text()
    for match in re.finditer(r"(?<!\$)\$\{?([A-Za-z_]\w*)(?:(:?[-?+])([^}]*))?\}?", _without_comments(text)):
        yield match[1], match[2] or "", match[3] or ""


def _without_comments(text: str) -> str:
    return re.sub(r"(?m)(^|\s)#.*$", "", text)


def seconds(duration: str) -> float:
    match = re.fullmatch(r"(\d+)s", duration)
    assert match is not None, duration
    return float(match[1])


def test_every_setting_in_compose_is_one_the_relay_knows() -> None:
    known = {entry.name for entry in reference()}
    named = {name for service in ours().values() for name in service["environment"]}
    asked = {name for name, _, _ in interpolated()} | example().keys()

    assert set() == named - known
    assert set() == {name for name in asked if name.startswith("RELAY_")} - known


def test_every_required_setting_is_given_to_every_service_of_the_image() -> None:
    required = {"RELAY_DATABASE_URL", "RELAY_AMQP_URL", "RELAY_EXCHANGE"}

    assert {"migrate", "topology", "relay"} == ours().keys()
    assert [name for name, service in ours().items() if required - service["environment"].keys()] == []


def test_a_value_that_must_be_given_stops_compose_with_a_message_and_the_rest_has_a_default() -> None:
    required = {name for name, sign, text in interpolated() if sign == ":?" and text}
    optional = {name for name, sign, text in interpolated() if sign == ":-" and text}

    assert {"POSTGRES_PASSWORD", "RABBITMQ_PASSWORD", "RELAY_EXCHANGE"} == required
    assert {name for name, _, _ in interpolated()} == required | optional
    assert example().keys() == required | optional


def test_the_defaults_in_compose_are_the_relays_own() -> None:
    defaults = {entry.name: entry.default for entry in reference()}
    given = {name: text for name, sign, text in interpolated() if sign == ":-" and name in defaults}

    assert {name: defaults[name] for name in given} == given


def test_every_variable_of_the_example_is_explained_and_no_password_is_given() -> None:
    blocks = (ROOT / ".env.example").read_text().strip().split("\n\n")[1:]

    assert [block for block in blocks if not re.fullmatch(r"(# .*\n)+[A-Z_]+=.*", block)] == []
    assert len(example()) == len(blocks)
    assert {name: value for name, value in example().items() if "PASSWORD" in name} == {
        "POSTGRES_PASSWORD": "",
        "RABBITMQ_PASSWORD": "",
    }


def test_the_services_of_the_image_may_write_nowhere_and_gain_nothing() -> None:
    for name, service in ours().items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["tmpfs"] == ["/tmp"], name


def test_compose_waits_longer_than_the_relay_needs_to_stop() -> None:
    [grace] = [entry.default for entry in reference() if entry.name == "RELAY_SHUTDOWN_GRACE_SECONDS"]

    assert seconds(compose()["services"]["relay"]["stop_grace_period"]) > float(grace)


def test_the_pages_can_be_seen_from_this_machine_only() -> None:
    [port] = [entry.default for entry in reference() if entry.name == "RELAY_HTTP_PORT"]

    assert [f"127.0.0.1:${{METRICS_PORT:-{port}}}:{port}"] == compose()["services"]["relay"]["ports"]


def test_compose_starts_in_the_order_in_which_things_are_needed() -> None:
    services = compose()["services"]
    waits = {
        name: {other: how["condition"] for other, how in service.get("depends_on", {}).items()}
        for name, service in services.items()
    }

    assert waits["migrate"] == {"postgres": "service_healthy"}
    assert waits["topology"] == {"rabbitmq": "service_healthy"}
    assert dict.fromkeys(["migrate", "topology"], "service_completed_successfully") == waits["relay"]
    assert [name for name in ("postgres", "rabbitmq", "relay") if not services[name]["healthcheck"]["test"]] == []


def test_compose_asks_the_relays_health_as_the_image_does() -> None:
    options, _, command = last("HEALTHCHECK").partition("CMD ")
    image = {name.replace("-", "_"): value for name, value in re.findall(r"--([a-z-]+)=(\S+)", options)}
    health = compose()["services"]["relay"]["healthcheck"]

    assert ["CMD", *json.loads(command)] == health.pop("test")
    assert image == {name: str(value) for name, value in health.items()}


def test_the_made_topology_is_a_program_that_declares_the_exchange_of_the_setting() -> None:
    topology = ours()["topology"]
    [program] = topology["command"]
    calls = {node.attr for node in ast.walk(ast.parse(program)) if isinstance(node, ast.Attribute)}

    assert topology["entrypoint"] == ["python3", "-c"]
    assert {"exchange_declare", "queue_declare", "queue_bind"} <= calls
    assert 'os.environ["RELAY_EXCHANGE"]' in program


def test_every_image_in_compose_has_a_version() -> None:
    for name, service in compose()["services"].items():
        assert re.search(r":(v?\d|dev)", PurePosixPath(service["image"]).name), name


def mounted(service: str) -> dict[str, str]:
    """Return what a service has from this repository: where it finds it, and where it lies here."""
    mounts = (mount.split(":") for mount in compose()["services"][service]["volumes"] if mount.startswith("."))
    return {there: here for here, there, *_ in mounts}


def provisioned(service: str, at: str) -> dict[str, Any]:
    """Return what a service is told by a file at that place."""
    document: dict[str, Any] = yaml.safe_load((ROOT / mounted(service)[at]).read_text())
    return document


def test_who_only_wants_the_relay_gets_no_more() -> None:
    services = compose()["services"]

    assert {name for name, service in services.items() if service.get("profiles")} == {"prometheus", "grafana"}
    assert services["prometheus"]["profiles"] == services["grafana"]["profiles"] == ["watch"]


def test_prometheus_and_grafana_can_be_seen_from_this_machine_only_and_gain_nothing() -> None:
    for name, port in (("prometheus", 9090), ("grafana", 3000)):
        service = compose()["services"][name]
        assert service["ports"] == [f"127.0.0.1:${{{name.upper()}_PORT:-{port}}}:{port}"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_what_is_mounted_is_there_and_cannot_be_written_to() -> None:
    for name in ("prometheus", "grafana"):
        sources = [mount for mount in compose()["services"][name]["volumes"] if mount.startswith(".")]
        assert sources
        assert [mount for mount in sources if not (ROOT / mount.split(":")[0]).is_file()] == []
        assert [mount for mount in sources if not mount.endswith(":ro")] == []


def test_prometheus_reads_every_relay_on_its_port_and_the_rules_of_the_chart() -> None:
    [port] = [entry.default for entry in reference() if entry.name == "RELAY_HTTP_PORT"]
    told = provisioned("prometheus", "/etc/prometheus/prometheus.yml")
    [job] = told["scrape_configs"]
    [found] = job["dns_sd_configs"]

    assert found["names"] == ["relay"]
    assert str(found["port"]) == port
    assert {label["target_label"] for label in job["relabel_configs"]} == {"namespace", "pod"}
    assert told["rule_files"] == ["rules.yaml"]
    assert mounted("prometheus")["/etc/prometheus/rules.yaml"] == "./helm/outbox-relay/files/rules.yaml"


def test_grafana_shows_the_dashboard_of_the_chart_at_once_to_anybody_and_lets_nobody_change_it() -> None:
    [source] = provisioned("grafana", "/etc/grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    [provider] = provisioned("grafana", "/etc/grafana/provisioning/dashboards/outbox-relay.yaml")["providers"]
    environment = compose()["services"]["grafana"]["environment"]
    home = PurePosixPath(environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    dashboard = json.loads((ROOT / mounted("grafana")[str(home)]).read_text())
    [chosen] = [variable for variable in dashboard["templating"]["list"] if variable["name"] == "datasource"]

    assert source["url"] == "http://prometheus:9090"
    assert (source["uid"], source["type"], source["isDefault"]) == (chosen["current"]["value"], chosen["query"], True)
    assert provider["options"]["path"] == str(home.parent)
    assert not provider["allowUiUpdates"]
    assert (environment["GF_AUTH_ANONYMOUS_ENABLED"], environment["GF_AUTH_ANONYMOUS_ORG_ROLE"]) == ("true", "Viewer")
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


def test_grafana_reads_as_often_as_prometheus_does() -> None:
    [source] = provisioned("grafana", "/etc/grafana/provisioning/datasources/prometheus.yaml")["datasources"]

    assert (
        source["jsonData"]["timeInterval"]
        == provisioned("prometheus", "/etc/prometheus/prometheus.yml")["global"]["scrape_interval"]
    )

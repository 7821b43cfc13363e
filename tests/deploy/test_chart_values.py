"""What can be set, that it reaches the relay, and that what cannot be is refused in words."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helm import reference
from relay.settings import SettingsError, effective, load
from tests.deploy import charts, tools
from tests.deploy.charts import CASES, Refused, least

KNOWN = reference.settings()
URLS = {"uri": "postgresql://relay:a-password@db:5432/orders", "connection_string": "amqp://relay:a-password@mq:5672/"}
SECRETS = {("db", "uri"): URLS["uri"], ("mq", "connection_string"): URLS["connection_string"]}
AS_VARIABLES: Mapping[str, Any] = {"database": {"asFile": False}, "amqp": {"asFile": False}}


def told(values: Mapping[str, Any]) -> dict[str, str]:
    """The environment of the relay's container; the chart is asked for variables instead of files."""
    return charts.environment(charts.relay_of(charts.render(values)), SECRETS)


def another(name: str) -> Any:
    """A value that the setting takes and that is not its default."""
    schema, default = reference.schema(KNOWN[name].name), KNOWN[name].default
    if "enum" in schema:
        return next(word for word in schema["enum"] if word not in {default, None})
    match schema["type"][0]:
        case "integer":
            return int(default) + 1
        case "number":
            return float(default) * 1.01
        case "boolean":
            return default != "true"
        case _:
            return "another-one"


@pytest.mark.parametrize("name", KNOWN)
def test_each_setting_can_be_set_and_reaches_the_relay(name: str) -> None:
    value = another(name)
    around = {"ordering": "key"} if name == "failedBlocksKey" else {}
    env = told(least(**AS_VARIABLES, settings={**around, name: value}, migrations={"mode": "none"}))
    assert env.keys() <= {"RELAY_DATABASE_URL", "RELAY_AMQP_URL", "RELAY_EXCHANGE", "RELAY_ORDERING", KNOWN[name].name}
    shown = effective(load(env))[KNOWN[name].name]
    assert shown == env[KNOWN[name].name]
    assert shown != KNOWN[name].default


def test_a_setting_that_is_left_out_is_left_to_the_relay() -> None:
    assert told(least(**AS_VARIABLES)).keys() == {"RELAY_DATABASE_URL", "RELAY_AMQP_URL", "RELAY_EXCHANGE"}


def test_large_numbers_are_written_out() -> None:
    env = told(least(**AS_VARIABLES, settings={"batchBytes": 1_073_741_824, "pollMinSeconds": 0.001}))
    assert (env["RELAY_BATCH_BYTES"], env["RELAY_POLL_MIN_SECONDS"]) == ("1073741824", "0.001")


def _numbers(name: str) -> st.SearchStrategy[Any]:
    schema = reference.schema(KNOWN[name].name)
    if "minimum" not in schema:
        return st.sampled_from(schema["enum"]) if "enum" in schema else st.booleans()
    low, high = schema["minimum"], schema["maximum"]
    near = st.sampled_from([low, high, low - 1, high + 1, float(KNOWN[name].default)])
    if schema["type"][0] == "integer":
        return near.map(int) | st.integers(low, high)
    return near | st.floats(low, min(high, 100), allow_subnormal=False).map(lambda value: round(value, 3))


JUDGED = {name for name in KNOWN if "minimum" in reference.schema(KNOWN[name].name)} | {"ordering", "failedBlocksKey"}


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(JUDGED)), st.none(), max_size=4).flatmap(
    lambda names: st.fixed_dictionaries({name: _numbers(name) for name in names})
))  # fmt: skip
@example({"leaseSeconds": 50, "confirmTimeoutSeconds": 30})
@example({"leaseSeconds": 49.9, "confirmTimeoutSeconds": 30})
@example({"shutdownGraceSeconds": 60})
@example({"pollMinSeconds": 0.6})
@example({"retryMaxSeconds": 0.5})
@example({"failedBlocksKey": True})
def test_the_chart_refuses_what_the_relay_would_refuse_and_nothing_else(chosen: dict[str, Any]) -> None:
    env = {KNOWN[name].name: str(value).lower() for name, value in chosen.items() if value is not None}
    needed = {"RELAY_DATABASE_URL": URLS["uri"], "RELAY_AMQP_URL": URLS["connection_string"], "RELAY_EXCHANGE": "e"}
    try:
        load(needed | env)
    except SettingsError as error:
        wrong: str | None = str(error)
    else:
        wrong = "a port of chance" if chosen.get("httpPort") == 0 else None
    try:
        charts.rendered(least(settings=chosen, migrations={"mode": "none"}))
        said = None
    except Refused as error:
        said = str(error)
    assert (said is None) == (wrong is None), f"the relay says {wrong}, the chart says {said}"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a mistyped setting": ({"settings": {"batchSzie": 5}}, "batchSzie"),
    "a mistyped value": ({"replicas": 3}, "replicas"),
    "a mistyped value below": ({"cleanup": {"retention": "30d"}}, "retention"),
    "a setting of the wrong type": ({"settings": {"batchSize": "many"}}, "settings/batchSize"),
    "a setting out of bounds": ({"settings": {"lanes": 17}}, "settings/lanes"),
    "a secret among the settings": ({"settings": {"databaseUrl": "postgresql://"}}, "databaseUrl"),
    "no database": ({"database": {"secretName": ""}}, "database.secretName is required: the Secret with the URL"),
    "no broker": ({"amqp": {"secretName": ""}}, "<cluster>-default-user"),
    "no exchange": ({"settings": {"exchange": ""}}, "settings.exchange is required"),
    "parts without a host": ({"database": {"urlKey": ""}}, "database.parts.host is required"),
    "parts without a database": (
        {"database": {"urlKey": "", "parts": {"host": "db"}}},
        "database.parts.name is required",
    ),
    "AMQP parts without a host": ({"amqp": {"urlKey": ""}}, "amqp.parts.host is required"),
    "a stop that is cut short": ({"terminationGracePeriodSeconds": 29}, "settings.shutdownGraceSeconds is 25"),
    "order without its migration": ({"settings": {"ordering": "key"}}, "migrations.optIns to hold ordering"),
    "an unknown opt-in": ({"migrations": {"optIns": ["odering"]}}, "migrations/optIns/0"),
    "an unknown mode": ({"migrations": {"mode": "job"}}, "migrations/mode"),
    "pages for the pod alone": ({"settings": {"httpHost": "127.0.0.1"}}, "probes and Prometheus come from outside"),
    "a port of chance": ({"settings": {"httpPort": 0}}, "no probe would know"),
    "a variable set twice": ({"extraEnv": [{"name": "RELAY_EXCHANGE", "value": "x"}]}, "RELAY_EXCHANGE is set by"),
    "an age without a unit": ({"cleanup": {"olderThan": "30"}}, "cleanup/olderThan"),
    "two authorities": ({"amqp": {"tls": {"ca": {"secretName": "a", "configMapName": "b"}}}}, "not both"),
    "an unknown alert": ({"prometheusRule": {"enabled": True, "rules": {"OutboxSlow": {}}}}, "there is no such alert"),
    "a severity as a number": ({"prometheusRule": {"rules": {"OutboxRowsFailed": {"severity": 1}}}}, "severity"),
    "no Prometheus to ask": (
        {"autoscaling": {"keda": {"enabled": True}}},
        "autoscaling.keda.serverAddress is required",
    ),
    "more relays than the count can call for": (
        {"autoscaling": {"keda": {"enabled": True, "maxReplicaCount": 5}}},
        "above settings.backlogCountCap (10000)",
    ),
    "fewest above most": (
        {"autoscaling": {"keda": {"enabled": True, "minReplicaCount": 3, "maxReplicaCount": 2}}},
        "must not be above autoscaling.keda.maxReplicaCount",
    ),
    "scaling to nothing": ({"autoscaling": {"keda": {"minReplicaCount": 0}}}, "minReplicaCount"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_and_the_words_say_what(name: str) -> None:
    changes, said = REFUSED[name]
    charts.rendered(least())
    with pytest.raises(Refused) as refused:
        charts.rendered(least(**changes))
    assert said in str(refused.value).replace("settings.batchSize", "settings/batchSize")


SWITCHED_ON: Mapping[str, Any] = {
    "cleanup": {"enabled": True},
    "podMonitor": {"enabled": True},
    "serviceMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "dashboard": {"enabled": True},
    "networkPolicy": {"enabled": True},
    "podDisruptionBudget": {"enabled": True},
    "autoscaling": {"keda": {"enabled": True, "serverAddress": "http://prometheus:9090"}},
}


def _paths(part: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in part.items():
        yield (*path, name)
        if isinstance(value, Mapping):
            yield from _paths(value, (*path, name))


@pytest.mark.timeout(180)
def test_a_value_left_empty_is_taken_or_refused_by_its_name() -> None:
    """A key with nothing behind it deletes the default, and templates like to stumble over that."""
    for path in _paths(charts.chart().values):
        switched_on = least(**{path[0]: SWITCHED_ON.get(path[0], {})})
        in_pod = least(migrations={"mode": "initContainer"})
        for values in (switched_on, in_pod) if path[0] == "migrations" else (switched_on,):
            try:
                charts.render(charts.with_value(values, path, None))
            except Refused as error:
                said = str(error)
                assert not re.search("nil pointer|reflect|wrong type|YAML", said), (path, said)
                assert path[-1] in said or "is required" in said, (path, said)


def test_helm_3_refuses_too() -> None:
    for name in ("a mistyped setting", "no exchange", "a setting out of bounds"):
        with pytest.raises(Refused, match="settings"):
            charts.render_3(least(**REFUSED[name][0]))


def test_a_parent_chart_may_put_its_own_values_beside() -> None:
    assert charts.render(least(**{"global": {"region": "eu"}, "enabled": True})) == charts.render(least())


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name)
def test_the_relay_takes_the_environment_that_is_rendered(path: Path, tmp_path: Path) -> None:
    """Files in place of the Secrets' volumes, made-up values in place of their keys."""
    database, amqp = tmp_path / "database", tmp_path / "amqp"
    database.write_text(URLS["uri"])
    amqp.write_text(URLS["connection_string"])
    files = {"/etc/outbox-relay/database/url": str(database), "/etc/outbox-relay/amqp/url": str(amqp)}
    files |= {f"/mnt/secrets/{name}-url": str(database) for name in ("database", "owner")}
    files |= {"/mnt/secrets/amqp-url": str(amqp)}
    for each, spec in charts.pods(charts.render(charts.case(path))):
        for container in charts.ours(spec):
            env = charts.environment(container, _Anything())
            env = {name: files.get(value, value) for name, value in env.items()}
            settings = load(env, table_only="migrate" in container["args"] or "cleanup" in container["args"])
            assert settings.database_url().startswith("postgresql://"), each["kind"]


class _Anything(dict[tuple[str, str], str]):
    """A Secret for every name, with something fitting for every key."""

    def __missing__(self, item: tuple[str, str]) -> str:
        name, key = item
        if "url" in key or key in URLS:
            return URLS["connection_string" if "amqp" in key or "mq" in name else "uri"]
        return "5432" if "port" in key else re.sub(r"\W", "-", key)


def test_no_secret_passes_through_the_chart() -> None:
    """There is no value to put one into, no Secret is made, and a URL has but references where a login stands."""
    for path in CASES:
        made = charts.render(charts.case(path))
        assert not [each for each in made if each["kind"] == "Secret"]
        for _, spec in charts.pods(made):
            for container in charts.ours(spec):
                for variable in container["env"]:
                    login, at, _ = variable.get("value", "").partition("@")
                    assert not at or re.fullmatch(r"amqps?://\$\(AMQP_USERNAME\):\$\(AMQP_PASSWORD\)", login), variable
    text = (tools.CHART / "values.yaml").read_text()
    words = re.findall(r"^ *(\w*(?:[Pp]assword|[Tt]oken|[Uu]rl)\w*):", text, re.MULTILINE)
    assert set(words) == {"passwordKey", "urlKey", "runbookUrl", "dashboardUrl"}

"""The jobs: what each runs, as whom, and what must exist before it."""

from pathlib import Path
from typing import Any

import click
import pytest

from relay.cli import cli
from tests.deploy import charts
from tests.deploy.charts import CASES, least


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name)
def test_what_runs_before_the_release_needs_nothing_of_it(path: Path) -> None:
    made = charts.render(charts.case(path))
    early = charts.hooks(made, "pre-install")
    later = {(each["kind"], each["metadata"]["name"]) for each in made if each not in early}
    for each in early:
        assert each["metadata"]["annotations"]["helm.sh/hook-delete-policy"].startswith("before-hook-creation")
        if (spec := charts.pod_of(each)) is None:
            continue
        needs = {("ServiceAccount", spec["serviceAccountName"])}
        needs |= {(kind, name) for kind, name in _references(spec)}
        assert not needs & later
        assert not {"ConfigMap", "Secret"} & {each["kind"] for each in early}


def _references(part: Any) -> list[tuple[str, str]]:
    """Every ConfigMap and Secret that is named anywhere in a pod."""
    kinds = {
        "secretKeyRef": "Secret",
        "configMapKeyRef": "ConfigMap",
        "secretRef": "Secret",
        "configMapRef": "ConfigMap",
    }
    found = []
    if isinstance(part, list):
        return [each for item in part for each in _references(item)]
    if isinstance(part, dict):
        for key, value in part.items():
            if key in kinds or key == "configMap":
                found.append((kinds.get(key, "ConfigMap"), value["name"]))
            if key == "secret":
                found.append(("Secret", value["secretName"]))
            found += _references(value)
    return found


def test_a_hook_that_needed_the_releases_own_objects_would_be_seen() -> None:
    made = charts.render(least())
    (job,) = charts.hooks(made, "pre-install")
    assert _references(job) == [("Secret", "db")]
    assert charts.pod([job], "Job")["serviceAccountName"] == "default"


@pytest.mark.parametrize(
    ("opt_ins", "args"),
    [
        ([], [["migrate", "up"]]),
        (["ordering"], [["migrate", "up", "ordering"]]),
        (["doorbell", "ordering"], [["migrate", "up", "doorbell"], ["migrate", "up", "ordering"]]),
    ],
)
@pytest.mark.parametrize("mode", ["hook", "initContainer"])
def test_opt_ins_are_applied_one_after_the_other(mode: str, opt_ins: list[str], args: list[list[str]]) -> None:
    made = charts.render(least(migrations={"mode": mode, "optIns": opt_ins}))
    spec = charts.pod(made, "Job" if mode == "hook" else "Deployment")
    found = [each["args"] for each in charts.containers(spec)]
    assert found == (args if mode == "hook" else [*args, ["run"]])


def test_none_means_no_migration() -> None:
    made = charts.render(charts.named("no-migrations"))
    assert not [each for each in made if each["kind"] == "Job"]
    assert [each["args"] for _, spec in charts.pods(made) for each in charts.ours(spec)] == [["run"]]


@pytest.mark.parametrize(("job", "values"), [("Job", "migrations"), ("CronJob", "cleanup")])
def test_jobs_have_a_login_of_their_own_and_nothing_of_the_broker(job: str, values: str) -> None:
    login = {"secretName": "owner", "urlKey": "owner-url"}
    changes: dict[str, Any] = {"cleanup": {"enabled": True}}
    changes[values] = changes.get(values, {}) | {"database": login}
    made = charts.render(least(**changes, settings={"schema": "messaging", "table": "sent", "batchSize": 7}))
    spec = charts.pod(made, job)
    assert _references(spec) == [("Secret", "owner")]
    assert spec["volumes"][0]["secret"]["items"] == [{"key": "owner-url", "path": "url"}]
    env = charts.environment(spec["containers"][0], {})
    names = {"RELAY_SCHEMA": "messaging", "RELAY_TABLE": "sent"}
    assert env == {"RELAY_DATABASE_URL_FILE": "/etc/outbox-relay/database/url"} | names


def test_an_init_container_migrates_with_its_own_login_in_the_relays_pod() -> None:
    made = charts.render(charts.named("ordering"))
    spec = charts.pod(made, "Deployment")
    volumes = {volume["name"]: volume.get("secret", {}).get("secretName") for volume in spec["volumes"]}
    for container, secret in (
        *((each, "orders-db-owner") for each in spec["initContainers"]),
        (spec["containers"][0], "orders-db-app"),
    ):
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert volumes[mounts["/etc/outbox-relay/database"]] == secret
    assert len(spec["volumes"]) == len(volumes)


def test_a_file_is_read_where_somebody_else_has_put_it_and_no_secret_is_named() -> None:
    made = charts.render(charts.named("files"))
    assert [_references(spec) for _, spec in charts.pods(made)] == [[], [], []]
    of = {each["kind"]: charts.environment(spec["containers"][0], {}) for each, spec in charts.pods(made)}
    assert of["Deployment"]["RELAY_DATABASE_URL_FILE"] == "/mnt/secrets/database-url"
    assert of["Job"] == {"RELAY_DATABASE_URL_FILE": "/mnt/secrets/owner-url"}
    own = charts.render(least(database={"file": "/file"}, migrations={"database": {"secretName": "owner"}}))
    assert _references(charts.pod(own, "Job")) == [("Secret", "owner")]


def test_a_sidecar_comes_before_what_needs_it() -> None:
    made = charts.render(charts.named("proxy"))
    for each, spec in charts.pods(made):
        assert spec["initContainers"][0]["name"] == "proxy", each["kind"]
        assert spec["initContainers"][0]["args"][1] == "project:region:orders"


@pytest.mark.parametrize("name", ["proxy", "files"])
def test_what_relay_and_migration_both_ask_for_is_in_their_common_pod_once(name: str) -> None:
    values = dict(charts.named(name))
    values["migrations"] = values["migrations"] | {"mode": "initContainer"}
    spec = charts.pod(charts.render(values), "Deployment")
    for names in ([each["name"] for each in charts.containers(spec)], [each["name"] for each in spec["volumes"]]):
        assert len(names) == len(set(names)), names
    assert [each["name"] for each in charts.containers(spec)][-2:] == ["migrate", "relay"]


def test_failed_rows_are_deleted_only_when_their_age_is_named() -> None:
    spec = charts.pod(charts.render(least(cleanup={"enabled": True})), "CronJob")
    assert [each["args"] for each in charts.containers(spec)] == [["cleanup", "--older-than", "30d", "--batch", "5000"]]
    spec = charts.pod(charts.render(charts.named("cleanup")), "CronJob")
    assert [each["args"] for each in charts.containers(spec)] == [
        ["cleanup", "--older-than", "14d", "--batch", "1000"],
        ["cleanup", "--failed", "--older-than", "90d", "--batch", "1000"],
    ]


def test_nothing_is_deleted_unless_asked_for() -> None:
    assert not [each for each in charts.render(least()) if each["kind"] == "CronJob"]


def test_the_relay_knows_each_command_that_a_pod_runs() -> None:
    made = [each for path in CASES for each in charts.render(charts.case(path))]
    commands = {tuple(each["args"]) for _, spec in charts.pods(made) for each in charts.ours(spec)}
    assert {args[0] for args in commands} == {"run", "migrate", "cleanup", "check"}
    for args in commands:
        command, rest = cli.commands[args[0]], list(args[1:])
        while isinstance(command, click.Group):
            command = command.commands[rest.pop(0)]
        command.make_context(command.name, rest)  # raises for an option or a value that it does not take

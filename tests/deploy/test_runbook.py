"""The pages for whoever is on call are whole: alerts, events, metrics, and commands that somebody runs."""

import logging
import re
import shlex
from functools import cache
from itertools import pairwise
from typing import Any

import helm_python
import pytest
import yaml  # type: ignore[import-untyped]  # it has no types

from relay.observe import EVENTS, METRICS, events
from tests import docs
from tests.deploy import tools
from tests.deploy.runbook import PAGES, RULES, agrees, blocks, path, sections, steps
from tests.deploy.situations import SITUATIONS
from tests.test_docs import CODE, anchor

TEXT = {page: path(page).read_text() for page in PAGES}
PARTS = ("Meaning", "Impact", "Diagnosis", "Mitigation")
RELEASE = "outbox-relay"
FILTERS = {"grep", "tail"}
VERBS = {
    "kubectl": {
        *("create", "describe", "exec", "get", "logs", "patch", "port-forward", "rollout", "scale", "top"),
    },
    "helm": {"install", "upgrade"},
}
SHORT = {"deploy": "Deployment", "cronjob": "CronJob"}


def alerts() -> dict[str, dict[str, Any]]:
    """Every alert of the rules, by name."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def told() -> dict[str, str]:
    """Every section of the runbook that is about an alert."""
    return {name: text for name, text in sections("runbook").items() if re.fullmatch(r"Outbox[A-Za-z]+", name)}


# -- alerts, metrics, events ------------------------------------------------------------------------------------------


def test_every_alert_has_a_section_and_every_section_an_alert() -> None:
    assert set(told()) == set(alerts())


def test_every_alert_leads_to_its_section() -> None:
    for name, rule in alerts().items():
        page, _, fragment = rule["annotations"]["runbook_url"].partition("#")
        assert (docs.ROOT / page.partition("/blob/main/")[2]).samefile(path("runbook")), name
        assert fragment == anchor(name)


@pytest.mark.parametrize("name", alerts())
def test_a_section_says_what_it_means_what_it_costs_and_what_to_do_in_this_order(name: str) -> None:
    text = told()[name]
    parts = re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE)
    assert parts == list(PARTS)
    diagnosis = text[text.index("**Diagnosis.**") :]
    assert "```" in diagnosis or re.search(r"\]\(#\w+\)", diagnosis), f"{name} gives nobody a command"


@pytest.mark.parametrize("name", alerts())
def test_a_section_names_a_metric_that_its_alert_looks_at(name: str) -> None:
    looked_at = set(re.findall(r"\brelay_[a-z_]+", alerts()[name]["expr"])) & set(METRICS)
    if "namespace_job:relay_messages_late" in alerts()[name]["expr"]:
        looked_at = {"relay_delivery_delay_seconds"}
    assert looked_at & set(re.findall(r"\brelay_[a-z_]+", told()[name]))


def test_every_metric_on_the_pages_is_one() -> None:
    named = set(re.findall(r"\brelay_[a-z_]+[a-z]", "\n".join(TEXT.values())))
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in named if name not in METRICS} <= set(METRICS)


def test_every_metric_is_documented() -> None:
    readme = docs.README.read_text()
    assert [name for name in METRICS if f"`{name}`" not in readme] == []


def test_every_warning_and_error_says_what_to_do() -> None:
    levels = {name: level for name, (level, _) in events._TABLE.items()}
    loud = {name: logging.getLevelName(level).lower() for name, level in levels.items() if level >= logging.WARNING}
    table = re.findall(
        r"^\| `([a-z_.]+)` \| (\w+) \| (.+) \|$", sections("runbook")["The log: what to do"], re.MULTILINE
    )
    assert {event: level for event, level, _ in table} == loud
    assert all(len(what) > 10 for _, _, what in table)
    assert set(loud) <= set(EVENTS)


def test_the_tree_in_words_asks_what_the_picture_asks() -> None:
    text = sections("runbook")["The backlog grows"]
    [picture] = re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)
    drawn = re.findall(r'\{"([A-Z])\. (.+?)"\}', picture)
    assert re.findall(r"^\*\*([A-Z])\. (.+?)\*\*", text, re.MULTILINE) == drawn
    assert set(re.findall(r'\["(Outbox\w+)"\]', picture)) <= set(told())


def test_the_checklist_is_short() -> None:
    points = re.findall(r"^- \[ \] ", sections("operations")["Checklist"], re.MULTILINE)
    assert 5 < len(points) <= 12


# -- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_commands_is_run_or_read(page: str) -> None:
    for block in blocks(page):
        assert block.language in {"console", "sql", "sh"}, block
        assert (block.language == "sh") == (block.mark == "parse"), block
        if block.mark != "parse":
            assert block.situation in SITUATIONS, f"{block}: {block.mark}"
            assert (block.role is None) == (block.language == "console"), block
        if block.language == "sql":
            assert block.output, f"{block} does not say what it prints"
        if block.language == "console":
            assert list(steps(block)), block


def test_every_situation_is_on_a_page() -> None:
    assert {block.situation for page in PAGES for block in blocks(page)} - {None} == set(SITUATIONS)


def cluster_lines() -> list[tuple[str, str]]:
    """Every line for a cluster, and where it stands."""
    lines = []
    for page in PAGES:
        for block in (each for each in blocks(page) if each.mark == "parse"):
            for line in block.text.replace("\\\n", " ").splitlines():
                lines.append((str(block), line))  # noqa: PERF401 -- three loops in one line are none to read
    return lines


@cache
def installed() -> list[dict[str, Any]]:
    """What `helm install` makes with the values of the page."""
    [line] = [line for _, line in cluster_lines() if line.startswith("helm install")]
    words = shlex.split(line)
    assert words[2] == RELEASE
    assert words[3].rpartition("/")[2] == tools.CHART.name
    values: dict[str, Any] = {}
    for word, value in pairwise(words):
        if word == "--set":
            path, _, given = value.partition("=")
            *folders, last = path.split(".")
            below = values
            for folder in folders:
                below = below.setdefault(folder, {})
            below[last] = yaml.safe_load(given)
    rendered = helm_python.Chart.load(tools.CHART).render(values, name=RELEASE, namespace="shop")
    texts = "\n---\n".join(text for name, text in rendered.items() if not name.endswith("NOTES.txt"))
    return [each for each in yaml.safe_load_all(texts) if each]


def pods() -> list[dict[str, Any]]:
    """The templates of the relays' pods."""
    return [each["spec"]["template"] for each in installed() if each["kind"] == "Deployment"]


@pytest.mark.parametrize(("place", "line"), cluster_lines())
def test_a_line_for_a_cluster_names_what_the_chart_makes(place: str, line: str) -> None:
    inner = re.fullmatch(r"relay\(\) \{ (.+?); \}", line)
    parts = [inner[1]] if inner else re.split(r" [|&>](?: |$)", line)
    first, *rest = (shlex.split(part) for part in parts if part)
    assert first[1] in VERBS[first[0]], f"{place}: {first[1]}"
    assert all(each[0] in FILTERS or each == ["relay.log"] for each in rest), place
    there = {(each["kind"], each["metadata"]["name"]) for each in installed()}
    for kind, name in re.findall(r"\b(deploy|cronjob)[/ ]([\w-]+)", line):
        assert (SHORT[kind], name) in there, f"{place}: {kind} {name}"
    [pod] = pods()
    for label, value in re.findall(r"-l ([\w./]+)=(\S+)", line):
        assert pod["metadata"]["labels"][label] == value, place
    for container in re.findall(r"exec \S+ -c (\S+) --", line):
        assert container in {each["name"] for each in pod["spec"]["containers"]}, place


def test_the_secret_of_the_page_is_the_one_that_the_chart_reads() -> None:
    [made] = [line for _, line in cluster_lines() if line.startswith("kubectl create secret")]
    name = shlex.split(made)[4]
    given = {key: value for key, value in re.findall(r"--from-literal=(\w+)='([^']+)'", made)}  # noqa: C416 -- dict() loses the types
    assert [value.partition(":")[0] for value in given.values()] == ["postgresql", "amqp"]
    [pod] = pods()
    read = {each["secret"]["secretName"]: each["secret"] for each in pod["spec"]["volumes"] if "secret" in each}
    assert set(read) == {name}
    spelled = str([each for each in pod["spec"]["volumes"] if "secret" in each])
    assert all(f"'key': '{key}'" in spelled for key in given)


def test_a_command_in_the_prose_is_one_that_is_there() -> None:
    for page, text in TEXT.items():
        for span in CODE.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
            if span.startswith("kubectl "):
                assert span.split()[1] in VERBS["kubectl"], f"{page}: {span}"


# -- the comparison itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("pending   25, the oldest due for 1.2 s\n", "pending   25, the oldest due for 3 min 20 s\n", True),
        ("pending   25\n", "pending   26\n", False),
        ("answers in 0.6 ms\n", "answers in 12 ms\n", True),
        ("answers in 0.6 ms\n", "refused\n", False),
        (" a | b\n----+--\n 1 |\n", "   a    |   b\n--------+------\n      1 |\n\n", True),
        ("refused: …\n", "refused: nobody is there\n", True),
        ("refused: …\n", "unreachable: nobody is there\n", False),
        ("first\n…\nlast\n", "first\nmore\nand more\nlast\n", True),
        ("first\n…\n", "first\n", True),
        ("first\n", "first\nmore\n", False),
        ("", "", True),
        ("", "an error\n", False),
    ],
)
def test_what_was_printed_is_held_to_what_the_page_says(expected: str, printed: str, same: bool) -> None:  # noqa: FBT001 -- a table of cases
    assert agrees(expected, printed) is same

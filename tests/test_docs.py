"""The documents say what is: what they name exists. Their samples: tests/integration/test_samples.py."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

from demo import report
from demo.verdict import Verdict
from relay import __version__, decide, envelope
from relay.cli import cli, exits
from relay.migrate.files import opt_ins
from relay.model import Doubt, Fault, Refusal
from relay.observe import EVENTS, LIVE_SILENCE_S, METRICS
from relay.settings import LEASE_ABOVE_CONFIRM_S, Settings, variables
from relay.store import config
from relay.web import Pages, _app
from tests import docs
from tests.builders import Database

FILES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "helm/**/*.md", "sql/**/*.md")
    for path in docs.ROOT.glob(pattern)
    if path.name != "THIRD_PARTY.md"
)
README = docs.README.read_text()
ALL = "\n".join(path.read_text() for path in FILES)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
FENCE = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
TESTS = {path: path.read_text() for path in docs.ROOT.glob("tests/**/test_*.py")}
EVERY_TEST = set(re.findall(r"^(?:async )?def (test_\w+)", "\n".join(TESTS.values()), re.MULTILINE))


def section(title: str, text: str = README) -> str:
    """What stands under a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", FENCE.sub("", text), re.DOTALL | re.MULTILINE)
    assert found, title
    return found[1]


def rows(title: str, first: str) -> list[list[str]]:
    """The cells of the table under a heading whose first column has that name."""
    tables: list[list[list[str]]] = [[]]
    for line in section(title).splitlines():
        if line.strip().startswith("| "):
            tables[-1].append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif tables[-1]:
            tables.append([])
    [found] = [table for table in tables if table and table[0][0] == first]
    return found[2:]


def words(title: str, first: str) -> list[str]:
    """The first column of a table, without its marks."""
    return [line[0].strip("`") for line in rows(title, first)]


# -- what is made from the code, and what names it --------------------------------------------------------------


def test_the_made_parts_of_the_readme_are_those_of_the_code() -> None:
    assert docs.written(README) == README, "run: .venv/bin/python -m tests.docs"
    assert set(re.findall(r"<!-- made: (\w+) -->", README)) == set(docs.BLOCKS)


def test_every_setting_in_the_documents_is_one_and_the_other_way_round() -> None:
    named = {name.rstrip("_") for name in re.findall(r"\bRELAY_[A-Z_]+", ALL)} - {"RELAY"}
    assert {name for name in named if not name.startswith("RELAY_TEST")} == set(variables())


def test_every_metric_in_the_documents_is_one_and_the_other_way_round() -> None:
    named = set(re.findall(r"\brelay_[a-z_]+[a-z]", ALL)) - {"relay_config", *Doubt}
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in named} == set(METRICS)


def test_every_command_and_option_in_the_documents_is_one() -> None:
    paths = dict(docs.leaves("relay", cli))
    groups = {path.rpartition(" ")[0] for path in paths}
    taking = {f"relay migrate {way} {each.name}" for way in ("up", "down", "sql") for each in opt_ins()}
    for span in CODE.findall(FENCE.sub("", ALL)):
        match = re.match(r"relay((?: [a-z]+)+)((?: --?[a-z-]+.*)?)$", span)
        if match is None:
            continue
        path = f"relay{match[1]}"
        assert path in paths or path in groups or path in taking, span
        known = {option for each in paths.values() for param in each.params for option in param.opts}
        assert set(re.findall(r"--[a-z-]+", match[2])) <= known, span


@cache
def names() -> frozenset[str]:
    """Every function and class of the relay, as `Class`, `function`, `module.function` and `Class.method`."""
    found: set[str] = set()
    for path in docs.ROOT.glob("relay/**/*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found |= {node.name, f"{path.stem}.{node.name}"}
            if isinstance(node, ast.ClassDef):
                found |= {f"{node.name}.{getattr(each, 'name', '')}" for each in node.body}
    return frozenset(found)


def test_the_way_of_a_row_is_told_in_the_codes_own_names() -> None:
    text = section("The way of a row", (docs.ROOT / "docs/architecture.md").read_text())
    told = {span for span in CODE.findall(text) if re.fullmatch(r"(\w+\.)?[A-Za-z]\w*|\w+\.\w+", span)}
    states = {"Outcome", "sent"}
    assert len(told) > 20
    assert {span for span in told if span not in names()} <= states


def test_every_event_in_the_documents_is_one() -> None:
    starts = {event.partition(".")[0] for event in EVENTS if "." in event} - {"relay"}
    for span in CODE.findall(ALL):
        first, dot, rest = span.partition(".")
        if dot and first in starts and re.fullmatch(r"[a-z_]+", rest):
            assert span in EVENTS or span in names(), span
        elif first == "relay" and re.fullmatch(r"[a-z_.]+", rest):
            assert span in EVENTS or find_spec(span) is not None, span


def test_every_refusal_fault_and_doubt_is_explained_once() -> None:
    assert sorted(words("Refusals", "Refusal")) == sorted(Refusal)
    assert sorted(words("Faults", "Fault")) == sorted(Fault)
    assert sorted(words("Doubts", "Doubt")) == sorted(Doubt)


def test_the_refusals_that_fail_at_once_come_first() -> None:
    assert "The first three below" in section("A row is refused")
    assert set(words("Refusals", "Refusal")[:3]) == set(decide.HOPELESS)


def test_the_exit_codes_are_those_of_the_commands() -> None:
    codes = {exits.DONE, exits.FAILURE, exits.USAGE, exits.PROBLEMS, exits.UNREACHABLE}
    assert {int(code) for code in words("CLI", "Exit code")} == codes


def test_the_endpoints_are_those_that_are_served() -> None:
    pages = Pages(live=lambda: True, ready=lambda: None, status=dict, metrics=lambda _: (b"", ""))
    served = {resource.canonical for resource in _app(pages).router.resources()}
    assert set(re.findall(r"`(/\w*)`", section("HTTP"))) == served


def test_the_numbers_in_the_text_are_those_of_the_code() -> None:
    defaults = {name: info.default for name, info in Settings.model_fields.items()}
    batch = max(3 * defaults["batch_bytes"], 5 * defaults["max_message_bytes"]) + 2048 * defaults["batch_size"]
    ceiling = 90 + round(defaults["lanes"] * batch / 2**20)
    for sentence in (
        f"Statements {config.STATEMENT_TIMEOUT_S:g} s, locks {config.LOCK_TIMEOUT_S:g} s",
        f"transactions {config.TRANSACTION_TIMEOUT_S:g} s",
        f"`RELAY_CONFIRM_TIMEOUT_SECONDS` + {LEASE_ABOVE_CONFIRM_S:g},",
        f"`RELAY_LANES` \N{MULTIPLICATION SIGN} `RELAY_BATCH_SIZE` ({defaults['lanes'] * defaults['batch_size']})",
        f"`RELAY_SHUTDOWN_GRACE_SECONDS` ({defaults['shutdown_grace_seconds']:g})",
        f"`RELAY_HTTP_PORT` ({defaults['http_port']})",
        f"`RELAY_POLL_MAX_SECONDS` down ({defaults['poll_max_seconds']:g})",
        f"`RELAY_MAX_MESSAGE_BYTES` ({defaults['max_message_bytes'] // 2**20} MiB)",
        f"within the last {LIVE_SILENCE_S:g} s",
        f"that is {ceiling} MiB",
        f"{envelope.SHORT_STRING_BYTES} bytes of UTF-8",
        f"1 to {envelope.HEADER_NAME_BYTES} bytes",
        f"nested at most {envelope.HEADER_DEPTH} deep",
        f"`priority` 0 to {envelope.PRIORITY_MAX}",
        f"cut at {decide.ERROR_CHARS_MAX} characters",
        f"one frame: {131072 - 8} bytes",
    ):
        assert sentence in README, sentence
    assert decide.SUSPECT_CLAIMS == 3, "the README says three claims"
    assert decide.KILLER_CLAIMS == 6, "the README says died six times, the last three with nothing else"


def test_the_recorded_verdict_is_in_the_demos_own_words() -> None:
    [recorded] = re.findall(r"<!-- demo output -->\n```text\n(.*?)```", README, re.DOTALL)
    line = re.compile(r"^  (\w[\w ]*?) +([\d,]+) +\w.*$", re.MULTILINE)
    number = {what: int(value.replace(",", "")) for what, value in line.findall(recorded)}
    [bound] = re.findall(r"at most ([\d,]+) may be", recorded)
    verdict = Verdict(
        committed=number["committed"],
        rolled_back=number["rolled back"],
        unknown=0,
        delivered=number["delivered"],
        lost=(),
        phantom=(),
        altered=(),
        duplicates=number["duplicates"],
        redelivered=0,
        duplicates_max=int(bound.replace(",", "")),
    )
    assert not verdict.problems
    said = [f"  {what:<12}{how_much:>8}  {told}" for what, how_much, told, _ in report.lines(verdict, elapsed_s=0)]
    assert [each for each in said[:-1] if each not in recorded] == []
    assert all(" ".join(sentence.split()) in " ".join(recorded.split()) for sentence in report.sentences(verdict, []))


def test_the_recorded_coverage_is_of_the_parts_that_must_be_whole() -> None:
    makefile = (docs.ROOT / "Makefile").read_text()
    [recorded] = re.findall(r"<!-- test output -->\n```text\n(.*?)```", README, re.DOTALL)
    [pure] = re.findall(r"^PURE := (\S+)$", makefile, re.MULTILINE)
    assert re.findall(r"^(relay/\S+) .* 0 +100%$", recorded, re.MULTILINE) == sorted(pure.split(","))
    assert recorded.splitlines()[0] in makefile
    assert "--cov-fail-under=90" in makefile


def test_every_make_target_in_the_documents_is_one() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (docs.ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z0-9-]+)(?: [^`]*)?`", ALL)) <= targets


def test_every_guarantee_says_how_it_is_tried_and_how_to_try_it_again() -> None:
    text = (docs.ROOT / "docs/guarantees.md").read_text()
    table = [line.split("|")[1:-1] for line in section("Promises", text).splitlines() if line.startswith("| ")][2:]
    assert len(table) > 10
    for promise, _, tried, again in table:
        assert re.search(r"`test_\w+`|by the checker", tried), promise
        assert re.search(r"`[^`]*make [a-z-]+", again), promise


# -- the table --------------------------------------------------------------------------------------------------


async def test_the_columns_are_those_of_the_migrated_table(db: Database) -> None:
    found = await db.fetch(
        """
        SELECT column_name, CASE udt_name WHEN 'int8' THEN 'bigint' WHEN 'int4' THEN 'integer' ELSE udt_name END,
          CASE
            WHEN is_identity = 'YES' THEN 'identity'
            WHEN column_default IS NOT NULL THEN regexp_replace(column_default, '::\\w+$', '')
            WHEN is_nullable = 'YES' THEN 'null'
            ELSE 'required'
          END,
          has_column_privilege('outbox_producer', 'outbox.message', column_name, 'INSERT'),
          has_column_privilege('outbox_relay', 'outbox.message', column_name, 'UPDATE')
        FROM information_schema.columns
        WHERE table_schema = 'outbox' AND table_name = 'message'
        ORDER BY ordinal_position
        """
    )
    said = [
        (name.strip("`"), kind.strip("`"), default.strip("`*"), "producer" in writer, "relay" in writer)
        for name, kind, default, writer, _ in rows("The table is the API", "Column")
    ]
    assert said == found


async def test_the_functions_and_roles_in_the_documents_exist(db: Database) -> None:
    made = await db.fetch("SELECT 'outbox.' || proname FROM pg_proc WHERE pronamespace = 'outbox'::regnamespace")
    made += await db.fetch("SELECT 'outbox.' || relname FROM pg_class WHERE relnamespace = 'outbox'::regnamespace")
    assert set(re.findall(r"\boutbox\.(?!sql)[a-z_]+", ALL)) <= {name for (name,) in made}
    roles = await db.fetch("SELECT rolname FROM pg_roles WHERE rolname LIKE 'outbox\\_%'")
    assert set(words("Deploy", "Role")) == {role for (role,) in roles if role in README}


async def test_every_query_in_the_documents_can_be_run(db: Database) -> None:
    queries = [span for span in CODE.findall(README) if re.match(r"SELECT .+\(", span)]
    assert queries
    async with await psycopg.AsyncConnection.connect(db.url) as connection:
        for query in queries:
            await connection.execute(query.encode())


# -- links, tests, files, words ---------------------------------------------------------------------------------


def anchor(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def links() -> Iterator[tuple[Path, str, str]]:
    """Every link that does not leave the repository: file, words, target."""
    for path in FILES:
        for text, target in LINK.findall(FENCE.sub("", path.read_text())):
            if not target.startswith("https://"):
                yield path, text, target


def test_every_link_leads_somewhere() -> None:
    for path, _, target in links():
        name, _, fragment = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        assert there.exists(), f"{path.name}: {target}"
        if fragment:
            headings = re.findall(r"^#+ (.+)$", FENCE.sub("", there.read_text()), re.MULTILINE)
            assert fragment in {anchor(heading) for heading in headings}, f"{path.name}: {target}"


def test_every_named_test_exists_where_the_link_says() -> None:
    for path, text, target in links():
        if name := re.fullmatch(r"`(test_\w+)`", text):
            there = (path.parent / target).resolve()
            assert re.search(rf"def {name[1]}\(", there.read_text()), f"{path.name}: {name[1]} is not in {target}"
    named = {span for span in CODE.findall(ALL) if re.fullmatch(r"test_\w+", span)}
    assert named <= EVERY_TEST


def test_every_named_file_exists() -> None:
    for path in FILES:
        for span in CODE.findall(path.read_text()):
            if re.fullmatch(r"[\w.-]+/([\w.-]+/)*([\w.-]+\.(py|sql|md|toml|yaml))?", span):
                assert (docs.ROOT / span).exists() or (path.parent / span).exists(), f"{path.name}: {span}"


def test_every_promise_names_the_test_that_proves_it() -> None:
    for promise, _, proof in rows("Promises", "Promise"):
        assert re.search(r"\[`test_\w+`\]\(tests/", proof), promise


def test_the_ten_invariants_name_the_tests_that_guard_them() -> None:
    text = (docs.ROOT / "docs/architecture.md").read_text()
    invariants = re.findall(r"^\d+\. .+?(?=^\d+\. |\Z)", section("Ten invariants", text), re.DOTALL | re.MULTILINE)
    assert len(invariants) == 10
    for invariant in invariants:
        assert re.search(r"\[`test_\w+`\]\(\.\./tests/", invariant), invariant


def test_every_module_of_the_house_is_on_its_floor() -> None:
    text = section("The house", (docs.ROOT / "docs/architecture.md").read_text())
    modules = {path.stem for path in (docs.ROOT / "relay").iterdir() if not path.name.startswith(("__init__", "__py"))}
    named = {span for span in CODE.findall(text) if re.fullmatch(r"\w+", span)}
    assert modules - {"py", "queries"} <= named


def test_every_decision_is_in_the_index_and_has_its_parts() -> None:
    folder = docs.ROOT / "docs/decisions"
    index = (folder / "README.md").read_text()
    for path in folder.glob("0*.md"):
        assert f"({path.name})" in index
        text = path.read_text()
        for part in ("**Context.**", "**Choice.**", "Why:", "**Price.**", "**Rejected.**", "**Look again when**"):
            assert part in text, f"{path.name} has no {part}"


@pytest.mark.parametrize("pattern", [r"(?<![\w.])/(home|root|tmp)/", r"(?i)\b(todo|fixme)\b"])
def test_no_machine_and_nothing_unfinished_is_in_the_documents(pattern: str) -> None:
    assert re.search(pattern, ALL) is None


def test_the_changelog_has_the_version() -> None:
    text = (docs.ROOT / "CHANGELOG.md").read_text()
    assert text.index("## [Unreleased]") < text.index(f"## [{__version__}]")

"""The report: every figure once, with what a reader needs to repeat it."""

import json

from chaos.checker import check
from chaos.report import FIGURES, as_json, markdown, text
from tests.unit.chaos.hand import KILL, arrival, arriving, faulty, good, of_run, without

HISTORY = of_run(faulty(arriving(good(), arrival(2, 5, attempt=2)), KILL), versions={"postgres": "15", "cpu": "2"})
HASH = "f" * 64


def test_every_figure_has_its_words() -> None:
    assert check(HISTORY).figures.keys() == FIGURES.keys()


def test_the_table_tells_figures_faults_judgements_versions_seed_and_hash() -> None:
    said = text(check(HISTORY), HISTORY.run, HASH)

    assert "  duplicated                       1  copies the relay sent again" in said
    assert "  order violations                 -  " in said
    assert "  relay SIGKILL                      1        1        1        2" in said
    assert "  nothing is lost               kept" in said
    assert "  each key keeps its order      not judged" in said
    assert "seed 7" in said
    assert "postgres 15, cpu 2" in said
    assert HASH in said
    assert said.endswith("Every promise that could be judged was kept.")


def test_broken_promises_have_the_last_word() -> None:
    history = without(HISTORY, 3)

    assert text(check(history), history.run, HASH).endswith(
        "1 committed and never arrived, such as m3.\n1 marked sent and never arrived, such as m3."
    )


def test_the_markdown_has_the_same_figures_in_tables() -> None:
    said = markdown(check(HISTORY), HISTORY.run, HASH)

    assert "| duplicated | 1 | copies the relay sent again |" in said
    assert "| relay SIGKILL | 1 | 1 | 1 | 2 |" in said
    assert all(line.startswith(("| ", "- ")) for line in said.splitlines() if line)


def test_the_json_tells_a_program_the_same() -> None:
    told = json.loads(as_json(check(HISTORY), HISTORY.run, HASH))

    assert told["passed"]
    assert told["figures"]["duplicated"] == 1
    assert told["faults"] == [{"name": "relay SIGKILL", "times": 1, "repeats": 1, "most": 1, "repeats_max": 2}]
    assert told["run"]["seed"] == 7
    assert told["history"] == HASH
    assert not json.loads(as_json(check(without(HISTORY, 3)), HISTORY.run, HASH))["passed"]

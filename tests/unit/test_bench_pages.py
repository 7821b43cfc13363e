"""The page of figures is what the kept result gives, and a plot is what it was drawn from."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench import pages, report
from bench.bars import at_most
from bench.charts import charts
from bench.plots import Axes, Scale, bars, lines, short, ticks
from bench.result import Result, as_json, of_json
from bench.scenario import Found, Table
from bench.scenarios import ALL

TABLE = Table("Title", ("what", "much"), (("a", "1"), ("bcd", "23")))
RESULT = Result({"machine": "m"}, {"speed": Found((TABLE,), (at_most("x", 1, 2),), {"runs": []})})


def kept() -> Result:
    return of_json(pages.RESULT.read_text())


def test_the_page_is_that_of_the_kept_result() -> None:
    page = pages.PAGE.read_text()
    assert pages.written(page, kept()) == page, "run: make plots"


def test_the_plots_are_those_of_the_kept_result() -> None:
    drawn = charts(kept())
    assert {path.name for path in pages.FOLDER.glob("*.svg")} == set(drawn), "run: make plots"
    assert [name for name, svg in drawn.items() if (pages.FOLDER / name).read_text() != svg] == [], "run: make plots"


def test_the_page_shows_every_scenario_and_every_plot() -> None:
    page = pages.PAGE.read_text()
    shown = {found["name"] for found in pages.BLOCK.finditer(page)}
    assert shown == {"facts", "bars", "yardsticks", *(scenario.name for scenario in ALL)}
    assert [path.name for path in pages.FOLDER.glob("*.svg") if f"performance/{path.name})" not in page] == []


def test_a_result_is_read_as_it_was_written() -> None:
    assert of_json(as_json(RESULT)) == RESULT


def test_a_made_part_is_replaced_and_what_was_not_measured_says_so() -> None:
    page = "a\n<!-- made: speed -->\nold\n<!-- /made -->\nb\n<!-- made: flat -->\n<!-- /made -->\n"
    made = pages.written(page, RESULT)
    assert "old" not in made
    assert "| bcd | 23 |" in made
    assert made.endswith(f"b\n<!-- made: flat -->\n{pages.MISSING}<!-- /made -->\n")


def test_a_table_is_told_in_columns_and_in_markdown() -> None:
    assert report.text(TABLE).splitlines() == ["Title", "what  much", "a        1", "bcd     23"]
    assert report.markdown(TABLE).splitlines()[2:] == ["| what | much |", "| --- | ---: |", "| a | 1 |", "| bcd | 23 |"]
    assert "| speed | x | <= 1 | 2 | **NOT MET** |" in report.page(RESULT.facts, RESULT.found)


@pytest.mark.parametrize(
    ("least", "most", "log", "found"),
    [
        (0, 10, False, [0, 2, 4, 6, 8, 10]),
        (0, 17_000, False, [0, 5_000, 10_000, 15_000]),
        (3, 60, True, [5, 10, 20, 50]),
        (100, 1_000_000, True, [100, 1_000, 10_000, 100_000, 1_000_000]),
    ],
)
def test_ticks_are_round_numbers_within_the_axis(least: float, most: float, *, log: bool, found: list[float]) -> None:
    assert ticks(least, most, log=log) == pytest.approx(found)


@pytest.mark.parametrize(("number", "words"), [(0.25, "0.25"), (500, "500"), (15_000, "15k"), (1_500_000, "1.5M")])
def test_a_number_is_short_on_an_axis(number: float, words: str) -> None:
    assert short(number) == words


def test_a_logarithmic_axis_gives_each_decade_the_same_room() -> None:
    scale = Scale(1, 100, 0, 10, log=True)
    assert [scale(each) for each in (1, 10, 100)] == pytest.approx([0, 5, 10])


def places(svg: str, tag: str, name: str) -> list[float]:
    return [float(each.attrib[name]) for each in ET.fromstring(svg).iter(f"{{http://www.w3.org/2000/svg}}{tag}")]


def test_a_larger_number_is_drawn_higher_and_further_right() -> None:
    svg = lines(Axes("A & B", "x", "y"), {"<relay>": [(1, 10), (2, 20)]}, {"naive": 15})
    assert places(svg, "circle", "cx") == sorted(places(svg, "circle", "cx"))
    assert places(svg, "circle", "cy") == sorted(places(svg, "circle", "cy"), reverse=True)
    low, high = places(svg, "circle", "cy")
    assert places(svg, "line", "y1")[-1] == pytest.approx((low + high) / 2, abs=0.1)


def test_bars_are_as_long_as_their_figures() -> None:
    assert places(bars("t", "msg/s", {"a": 10, "b": 20}), "rect", "width") == pytest.approx([272, 544])


def test_a_histogram_is_closed() -> None:
    assert " Z" in lines(Axes("t", "ms", "share", log_x=True, steps=True), {"a": [(1, 0.4), (2, 0.6)]})


def test_the_result_names_no_path_of_a_machine() -> None:
    assert str(Path.home()) not in pages.RESULT.read_text()

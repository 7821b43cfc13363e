"""What `relay top` draws: all there is, at any width, in any state, and no escape sequence from outside."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from relay.cli.screen import line, picture, spark
from relay.page.reading import Point, read
from tests import statuses
from tests.statuses import status


def drawn(width: int = 120, *, trouble: str = "", **changes: Any) -> str:
    """The picture as plain text."""
    console = Console(width=width, record=True, file=io.StringIO(), force_terminal=True)
    console.print(picture(read(status(**changes)), width, trouble=trouble))
    return console.export_text()


def test_it_shows_all_there_is_to_know() -> None:
    text = drawn()

    for words in (
        " Flowing for 25 min · orders-relay-7c9f 0.1.0 ",
        "Postgres flowing, answers in 0.8 ms   RabbitMQ flowing, answers in 3.1 ms",
        "Time to empty",
        "it keeps up",
        "highest 40 s, the last 1 h",
        "highest 310, the last 1 h",
        "dead rows 23,111 (2 %)",
        "snapshot  transaction reporting nightly, 13 min 32 s old, 50,211 transactions, pid 4711",
        "replica   orders-relay-7c9f 0.1.0 (this one)",
        "failed    88123  unroutable: 312",
        "q ends",
    ):
        assert words in text, text


def test_an_outage_is_told_with_its_reason() -> None:
    text = drawn(broker=statuses.gone())

    assert " Outage for 5 min " in text
    assert "refused: [Errno 111] Connect call failed" in text


def test_what_a_login_may_not_see_is_said() -> None:
    assert "Grant pg_monitor" in drawn(table=statuses.table(complete=False))
    assert "Grant" not in drawn()


def test_trouble_and_old_numbers_come_first() -> None:
    assert "no relay answers at 127.0.0.1:9464" in drawn(trouble="no relay answers at 127.0.0.1:9464").splitlines()[1]
    old = {"every_seconds": 10.0, "points": statuses.points(ago_s=130)}
    assert "The numbers are as of 13:37:55 UTC" in drawn(history=old).splitlines()[1]
    nothing = {"every_seconds": 10.0, "points": []}
    assert "not been sampled yet" in drawn(backlog=None, history=nothing, table=None).splitlines()[1]


@pytest.mark.parametrize("width", [40, 80, 120, 250])
@pytest.mark.parametrize("broker", [statuses.flowing(), statuses.gone(detail="x" * 300)])
def test_it_fits_any_terminal(width: int, broker: dict[str, Any]) -> None:
    assert max(map(len, drawn(width, broker=broker).splitlines())) == width


def test_nothing_from_outside_is_taken_for_markup_or_an_escape_sequence() -> None:
    hostile = "[bold red]x[/] \x1b]0;title\x07\x1b[2J"
    bad = status(name=hostile, broker=statuses.gone(detail=hostile), failures=[{"row_id": 1, "error": hostile}])
    out = io.StringIO()
    Console(width=120, file=out, force_terminal=True).print(picture(read(bad), 120))

    assert "[bold red]x[/]" in out.getvalue()
    assert not re.search(r"\x1b\]|\x1b\[2J|\x07", out.getvalue())
    assert "\x1b" not in line(read(bad))


def test_a_line_holds_the_state_and_the_six_numbers() -> None:
    assert line(read(status())) == (
        "13:40:05 UTC  flowing     oldest row 0.2 s  waiting 12  in 256/s  out 270/s  time to empty now  failed 2"
    )
    old = {"every_seconds": 10.0, "points": statuses.points(ago_s=130)}
    told = line(read(status(broker=statuses.gone(detail="no"), history=old)))
    assert told.endswith("failed 2  (old)  refused: no")


def bars(*points: tuple[float, float | None], columns: int = 10, top: float = 8.0) -> str:
    found = [Point(ago_s, 0.0, 0, value, None, outage=False) for ago_s, value in points]
    return spark(found, lambda point: point.in_rate, columns=columns, window_s=100, gap_s=25, top=top)


def test_bars_are_as_high_as_the_highest_of_their_time() -> None:
    assert bars(*((float(ago), 4.0) for ago in range(95, 0, -10))) == "▄" * 10
    assert bars((98.0, 1), (95.0, 8), (91.0, 1), (85.0, 1)) == "█▁        "


def test_bars_have_no_hole_where_points_are_sparse_and_one_where_they_are_missing() -> None:
    assert bars((95.0, 4), (75.0, 8), (55.0, 4)) == "▄██▄▄     "
    assert bars((95.0, 4), (85.0, 4), (25.0, 4), (15.0, None), (5.0, 4)) == "▄▄     ▄▄▄"
    assert bars() == " " * 10
    assert bars((5.0, 0.0)) == "         ▁"

"""The two views: a live picture on a terminal, plain lines everywhere else."""

import os
import textwrap
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from demo.frame import Frame, Mood, clock

WIDTH = 80
LINE_S = 1.0
BARS = " ▁▂▃▄▅▆▇█"
EIGHTHS = len(BARS) - 1
ROWS = 3
TOP_MIN = 500
"""Backlogs below this do not fill the picture."""
PLACES = ("shop", "outbox", "relay", "RabbitMQ", "consumer")
PLACE_WIDTH = 11
ROUGHLY_S = 10
"""Above this age a tenth of a second tells nothing."""
STYLES = {Mood.GOOD: "green", Mood.NO_BROKER: "red", Mood.NO_RELAY: "yellow"}


class View(Protocol):
    """What the story is told to."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def tell(self, seconds: float, sentence: str) -> None:
        """Say once what happened."""
        ...

    def show(self, frame: Frame) -> None:
        """Show how things stand; called several times a second."""
        ...


def view_for(console: Console) -> View:
    """Return the live view where it can be shown well."""
    plain = not console.is_terminal or console.is_dumb_terminal or console.width < WIDTH
    quiet = any(os.environ.get(name) for name in ("NO_COLOR", "CI"))
    return PlainView(console) if plain or quiet else LiveView(console)


class PlainView:
    """A line for each event, and one a second."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def tell(self, seconds: float, sentence: str) -> None:
        """Print it, wrapped."""
        first = f"{clock(seconds)}  "
        self._print(textwrap.fill(sentence, WIDTH - 1, initial_indent=first, subsequent_indent=" " * len(first)))

    def show(self, frame: Frame) -> None:
        """Print a line when a second is over."""
        if frame.elapsed_s < self._next_at:
            return
        self._next_at = frame.elapsed_s + LINE_S - 0.05
        self._print(
            f"{clock(frame.elapsed_s)}    in {frame.rate_in:3.0f}/s  out {frame.rate_out:5,.0f}/s  "
            f"backlog {frame.backlog:5,}  oldest {age(frame.oldest_s):>6}  relay {frame.relay}"
        )

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class LiveView:
    """Events scroll by above a picture that stays."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def tell(self, seconds: float, sentence: str) -> None:
        """Print it above the picture."""
        line = Table.grid(padding=(0, 2))
        line.add_row(Text(clock(seconds), "dim"), Text(sentence))
        self._console.print(line, width=WIDTH)

    def show(self, frame: Frame) -> None:
        """Draw the picture anew."""
        self._live.update(picture(frame), refresh=True)


def picture(frame: Frame) -> RenderableType:
    """Draw one frame, 80 columns wide."""
    colour = STYLES[frame.mood]
    parts = Group(
        _way(frame),
        Text(),
        _backlog(frame),
        Text(),
        Text.assemble(
            ("committed ", "dim"), f"{frame.committed:,}", ("  rolled back ", "dim"), f"{frame.rolled_back:,}",
            ("  delivered ", "dim"), f"{frame.delivered:,}", ("  oldest row ", "dim"), age(frame.oldest_s),
        ),
        Padding(Text.assemble(("now  ", f"bold {colour}"), frame.happening), (1, 0, 0, 0)),
    )  # fmt: skip
    title = Text.assemble((" outbox-relay demo ", "bold"), (f"{clock(frame.elapsed_s)} ", "dim"))
    return Panel(parts, title=title, title_align="left", border_style=colour, width=WIDTH, padding=(1, 2))


def _way(frame: Frame) -> Table:
    """The way of a row, with what stands at each place; fixed columns, so that nothing jumps."""
    broker_style = STYLES[Mood.NO_BROKER if frame.broker != "up" else Mood.GOOD]
    relay_style = STYLES[Mood.NO_RELAY if frame.relay != "flowing" else Mood.GOOD]
    way = Table.grid(expand=True)
    for _ in range(len(PLACES) - 1):
        way.add_column(justify="center", width=PLACE_WIDTH)
        way.add_column(justify="center")
    way.add_column(justify="center", width=PLACE_WIDTH)
    cells = (
        Text(f"{frame.rate_in:.0f}/s"),
        Text(f"{frame.backlog:,} wait", "bold" if frame.backlog > frame.rate_in else ""),
        Text(frame.relay.partition(":")[0], relay_style),
        Text(frame.broker, broker_style),
        Text(f"{frame.rate_out:,.0f}/s"),
    )
    way.add_row(*_between([Text(name, "bold cyan") for name in PLACES], Text("──▶", "dim")))
    way.add_row(*_between(cells, Text()))
    return way


def _between(cells: Sequence[Text], arrow: Text) -> list[Text]:
    return [part for cell in cells for part in (arrow, cell)][1:]


def _backlog(frame: Frame) -> RenderableType:
    """The backlog's picture, each bar in the colour of its moment."""
    highest = max([moment.backlog for moment in frame.past], default=0)
    scale = Text.assemble(("backlog", "bold cyan"), ("  highest ", "dim"), f"{highest:,}   ")
    for mood, words in ((Mood.NO_BROKER, "RabbitMQ stopped"), (Mood.NO_RELAY, "relay killed, rows leased")):
        if any(moment.mood is mood for moment in frame.past):
            scale.append("■ ", STYLES[mood]).append(f"{words}   ", "dim")
    top = max(highest, TOP_MIN)
    heights = [round(moment.backlog / top * ROWS * EIGHTHS) for moment in frame.past]
    rows = [
        Text.assemble(
            *((_bar(height, row), STYLES[moment.mood]) for height, moment in zip(heights, frame.past, strict=True))
        )
        for row in reversed(range(ROWS))
    ]
    return Group(scale, *rows)


def _bar(height: int, row: int) -> str:
    """The part of a bar that stands in this row, the lowest being 0; an empty bar still has a foot."""
    return BARS[max(min(height - row * EIGHTHS, EIGHTHS), 1 if row == 0 else 0)]


def age(seconds: float | None) -> str:
    """Write an age, or that nobody says it."""
    if seconds is None:
        return "-"
    return f"{seconds:.1f} s" if seconds < ROUGHLY_S else f"{seconds:.0f} s"

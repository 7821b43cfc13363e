"""What `relay top` draws: the page's reading, in characters. Pure; texts are never taken for markup."""

from collections.abc import Callable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from relay.page.chart import GAP, age_top, rate_top, window
from relay.page.reading import Point, Reading, Side, Tone
from relay.page.tables import DEGRADED, facts, held
from relay.page.verdict import Number, Verdict, as_of, numbers, verdict
from relay.page.words import clock, count, duration, milliseconds

BARS = " ▁▂▃▄▅▆▇█"
EIGHTHS = len(BARS) - 1
WIDE = 100
NARROW = 20
NAME_WIDTH = 8
FAILURES = 5
UNITS: Mapping[str, str] = {"rows/s": "/s", "s": " s", "min": " min", "h": " h", "d": " d"}
"""How a unit is written in a line."""
STYLES: Mapping[Tone, str] = {Tone.GOOD: "green", Tone.WARN: "yellow", Tone.BAD: "red", Tone.PLAIN: "bold"}

Value = Callable[[Point], float | None]


def line(seen: Reading) -> str:
    """Return how things stand as one line."""
    says = verdict(seen)
    said = "  ".join(f"{number.label.lower()} {number.value}{UNITS.get(number.unit, '')}" for number in numbers(seen))
    reason = f"  {says.why}" if says.why else ""
    return (
        f"{clock(seen.now, today=seen.now)}  {says.word.lower():<10}  {said}{'  (old)' if seen.stale else ''}{reason}"
    )


def picture(seen: Reading, width: int, *, trouble: str = "", keys: bool = True) -> RenderableType:
    """Draw it all, as wide as the terminal."""
    says = verdict(seen)
    colour = STYLES[says.tone]
    inside = max(NARROW, width - 4)
    late = trouble or as_of(seen)
    parts: list[RenderableType] = [
        *([Padding(Text(late, "bold yellow"), (0, 0, 1, 0))] if late else []),
        Text(says.sentence, "dim"),
        *([Text(says.why, "red")] if says.why else []),
        _sides(seen.sides),
        Text(),
        _numbers(numbers(seen), columns=6 if width >= WIDE else 3),
        Text(),
        *_hour(seen, inside),
        Text(),
        *_rest(seen),
    ]
    end = Text.assemble(("q", "bold"), " ends  ", (clock(seen.now, today=seen.now), "dim")) if keys else None
    title = Text.assemble(
        (f" {says.word}{_since(seen, says)} ", f"bold {colour}"), (f"· {seen.name} {seen.version} ", "dim")
    )
    return Panel(Group(*parts), title=title, title_align="left", subtitle=end, border_style=colour, width=width)


def _since(seen: Reading, says: Verdict) -> str:
    if says.since is None:
        return ""
    return f" for {duration(max(0.0, (seen.now - says.since).total_seconds()))}"


def _sides(sides: Sequence[Side]) -> Text:
    parts: list[str | tuple[str, str]] = []
    for side in sides:
        tone = Tone.BAD if side.gone else Tone.GOOD if side.state == "flowing" else Tone.WARN
        latency = "" if side.latency_s is None else f", answers in {milliseconds(side.latency_s)}"
        parts += [(f"{side.name} ", "bold"), (side.state, STYLES[tone]), f"{latency}   "]
    return Text.assemble(*parts)


def _numbers(six: Sequence[Number], *, columns: int) -> Table:
    table = Table.grid(padding=(0, 2), expand=True)
    for _ in range(columns):
        table.add_column(ratio=1)
    for begin in range(0, len(six), columns):
        row = six[begin : begin + columns]
        table.add_row(*(Text(number.label, "dim") for number in row))
        table.add_row(
            *(Text.assemble((number.value, f"bold {STYLES[number.tone]}"), f" {number.unit}") for number in row)
        )
        table.add_row(*(Text(number.note, "dim") for number in row))
    return table


def _hour(seen: Reading, width: int) -> Sequence[RenderableType]:
    if not seen.points:
        return [Text("No samples yet.", "dim")]
    window_s = window(seen.points)
    columns = width - NAME_WIDTH
    lines: Sequence[tuple[str, str, Value, Callable[[float], str], Callable[[float], float]]] = (
        ("oldest", "magenta", lambda point: point.age_s, duration, age_top),
        ("in /s", "blue", lambda point: point.in_rate, count, rate_top),
        ("out /s", "yellow", lambda point: point.out_rate, count, rate_top),
    )
    shown: list[RenderableType] = []
    for name, colour, value, write, ends in lines:
        values = [found for point in seen.points if (found := value(point)) is not None]
        highest = max(values, default=0.0)
        says = f"highest {write(highest)}, the last {duration(window_s)}" if values else "no samples yet"
        bars = spark(
            seen.points, value, columns=columns, window_s=window_s, gap_s=GAP * seen.every_s, top=ends(highest)
        )
        shown.append(Text.assemble((f"{name:<{NAME_WIDTH}}", "bold"), (bars, colour)))
        shown.append(Text(f"{'':<{NAME_WIDTH}}{says}", "dim"))
    return shown


def spark(points: Sequence[Point], value: Value, *, columns: int, window_s: float, gap_s: float, top: float) -> str:
    """Return a line of bars, the highest value of each column's time; blank where there are no samples."""
    highest: list[float | None] = [None] * columns
    reached, before_s = 0, float("inf")
    for point in points:
        found = value(point)
        if found is None or point.ago_s > window_s:
            continue
        column = min(columns - 1, int(columns * (1 - point.ago_s / window_s)))
        begin = min(reached, column) if before_s - point.ago_s <= gap_s else column
        for each in range(begin, column + 1):  # a point stands for the time since the one before
            highest[each] = max(found, highest[each] or 0.0)
        reached, before_s = column + 1, point.ago_s
    return "".join(" " if each is None else BARS[max(1, round(each / top * EIGHTHS))] for each in highest)


def _rest(seen: Reading) -> Sequence[RenderableType]:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(width=NAME_WIDTH, style="bold")
    grid.add_column(overflow="fold")
    if seen.table is not None:
        grid.add_row("table", Text(", ".join(f"{name.lower()} {value}" for name, value in facts(seen))))
    for kind, age, transactions, process in held(seen):
        grid.add_row("snapshot", Text(f"{kind}, {age} old, {transactions} transactions, {process}"))
    if seen.table is not None and not seen.table.get("complete", True):
        grid.add_row("", Text(DEGRADED, "dim"))
    for name, version in seen.replicas:
        grid.add_row("replica", Text(f"{name} {version}{' (this one)' if name == seen.name else ''}"))
    for each in seen.failures[:FAILURES]:
        grid.add_row(
            "failed", Text(f"{each.get('row_id', '')}  {each.get('error') or each.get('reason', '')}", "yellow")
        )
    return [grid]

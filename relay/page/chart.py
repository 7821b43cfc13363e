"""The hour as pictures: SVG that stretches with the page, with its words in HTML beside it. Pure.

A line breaks where no samples were taken; a time in which a server was gone has a ground of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from relay.page.reading import Point
from relay.page.tag import Markup, join, tag
from relay.page.words import count, duration

WIDTH, HEIGHT = 1000, 400
"""Fine enough for whole coordinates: they are written and read quickly."""
WINDOWS_S = (60, 120, 300, 600, 900, 1800, 3600)
"""A young relay's history fills the picture as well."""
GAP = 2.5
"""Points further apart than this many times the spacing are not joined."""
AGES_S = (1, 2, 5, 10, 20, 60, 120, 300, 600, 1200, 3600, 7200, 14_400, 28_800, 86_400, 172_800)
"""Where the scale of an age may end, halves being whole as well."""
_DAY_S = 86_400

Value = Callable[[Point], float | None]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a picture."""

    name: str
    kind: str
    """Its class in the style sheet."""
    value: Value
    filled: bool = False
    """With its ground filled it can be told from another without colours."""


def chart(title: str, points: Sequence[Point], lines: Sequence[Line], *, every_s: float, ages: bool) -> Markup:
    """Draw lines over the last hour, or over as much of it as there is."""
    write = duration if ages else count
    window_s = window(points)
    points = [point for point in points if point.ago_s <= window_s]
    highest = max((value for line in lines for point in points if (value := line.value(point)) is not None), default=0)
    top = age_top(highest) if ages else rate_top(highest)
    told = "; ".join(_told(line, points, write) for line in lines)
    picture = tag(
        "svg",
        tag("title", f"{title}, the last {duration(window_s)}"),
        tag("desc", told),
        *_outages(points, window_s, every_s),
        *(tag("line", x1="0", x2=str(WIDTH), y1=y, y2=y, class_="grid") for y in ("0", str(HEIGHT // 2), str(HEIGHT))),
        *(_drawn(line, points, window_s, every_s, top) for line in lines),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{title}, the last {duration(window_s)}: {told}",
    )
    scale = (tag("span", text) for text in (write(top), write(top / 2), "0"))
    return tag(
        "figure",
        tag("figcaption", tag("h3", title), _legend(lines, points, write)),
        tag(
            "div",
            tag("div", *scale, class_="scale", aria_hidden="true"),
            tag("div", picture, _empty(points), class_="plot"),
            tag("div", tag("span", f"{duration(window_s)} ago"), tag("span", "now"), class_="axis", aria_hidden="true"),
            class_="frame",
        ),
        class_="chart",
    )


def _told(line: Line, points: Sequence[Point], write: Callable[[float], str]) -> str:
    values = [value for point in points if (value := line.value(point)) is not None]
    if not values:
        return f"{line.name}: no samples yet"
    return f"{line.name} now {write(values[-1])}, highest {write(max(values))}"


def _legend(lines: Sequence[Line], points: Sequence[Point], write: Callable[[float], str]) -> Markup:
    entries = [
        tag("li", tag("span", class_=f"key {line.kind}{' filled' if line.filled else ''}"), _told(line, points, write))
        for line in lines
    ]
    if any(point.outage for point in points):
        entries.append(tag("li", tag("span", class_="key out-of-order"), "a server was gone"))
    return tag("ul", *entries)


def _empty(points: Sequence[Point]) -> Markup:
    return join() if points else tag("p", "No samples yet.", class_="nothing")


def window(points: Sequence[Point]) -> int:
    """Return how many seconds the picture goes back."""
    oldest_s = points[0].ago_s if points else 0.0
    return next((each for each in WINDOWS_S if each >= oldest_s), WINDOWS_S[-1])


def age_top(highest: float) -> float:
    """Return where a scale of ages ends."""
    return next((each for each in AGES_S if each >= highest), -(-highest // (2 * _DAY_S)) * 2 * _DAY_S)


def rate_top(highest: float) -> float:
    """Return where a scale of rates ends: 10, 20, 40, 60, 80, 100, 200, …"""
    size = 10
    while size * 10 < highest:
        size *= 10
    return next((size * each for each in (1, 2, 4, 6, 8, 10) if size * each >= highest), 10 * size)


def _x(ago_s: float, window_s: float) -> int:
    return max(0, int(WIDTH * (1 - ago_s / window_s)))


def pieces(points: Sequence[Point], value: Value, every_s: float) -> Iterator[list[tuple[float, float]]]:
    """Give the stretches of a line, each without a gap, as pairs of seconds ago and value."""
    piece: list[tuple[float, float]] = []
    for point in points:
        found = value(point)
        if piece and (found is None or piece[-1][0] - point.ago_s > GAP * every_s):
            yield piece
            piece = []
        if found is not None:
            piece.append((point.ago_s, found))
    if piece:
        yield piece


def _drawn(line: Line, points: Sequence[Point], window_s: float, every_s: float, top: float) -> Markup:
    grounds, strokes = [], []
    for piece in pieces(points, line.value, every_s):
        spots = [f"{_x(ago_s, window_s)} {int(HEIGHT * (1 - value / top))}" for ago_s, value in piece]
        way = "L".join(spots if len(spots) > 1 else spots * 2)  # a point alone is seen as a dot
        strokes.append(f"M{way}")
        if line.filled:
            first, last = _x(piece[0][0], window_s), _x(piece[-1][0], window_s)
            grounds.append(f"M{first} {HEIGHT}L{way}L{last} {HEIGHT}Z")
    ground = tag("path", d="".join(grounds), class_=f"ground {line.kind}") if grounds else join()
    return join(ground, tag("path", d="".join(strokes), class_=f"stroke {line.kind}") if strokes else join())


def _outages(points: Sequence[Point], window_s: float, every_s: float) -> Iterator[Markup]:
    for out, group in groupby(points, key=lambda point: point.outage):
        if out:
            stretch = list(group)
            begin, end = _x(stretch[0].ago_s + every_s, window_s), _x(stretch[-1].ago_s, window_s)
            width = str(max(end - begin, 1))
            yield tag("rect", x=str(begin), y="0", width=width, height=str(HEIGHT), class_="out-of-order")

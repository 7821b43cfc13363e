"""Lines and bars as SVG, readable on a light and on a dark page. Pure; a plot is the same text for the same figures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720.0, 340.0
LEFT, RIGHT, TOP, BOTTOM = 70.0, 20.0, 56.0, 48.0
BAR, GAP = 16.0, 12.0
COLOURS = ("#2f81f7", "#db6d28", "#3fa34d", "#a371f7", "#e5534b")
STYLE = """\
<style>
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.title { font-size: 14px; font-weight: 600; }
.axis { fill: #59636e; }
.grid { stroke: #d1d9e0; stroke-width: 1; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; }
  .axis { fill: #9198a1; }
  .grid { stroke: #3d444d; }
}
</style>"""
FEW_DECADES = 2.5

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Scale:
    """Numbers to places along one axis."""

    least: float
    most: float
    begin: float
    end: float
    log: bool = False

    def __call__(self, number: float) -> float:
        """Return the place of a number."""
        least, most, number = (math.log10(each) if self.log else each for each in (self.least, self.most, number))
        return self.begin + (number - least) / (most - least) * (self.end - self.begin)


def ticks(least: float, most: float, *, log: bool = False) -> list[float]:
    """Return round numbers between two others, some five of them."""
    if log:
        first, last = math.floor(math.log10(least)), math.ceil(math.log10(most))
        factors = (1, 2, 5) if last - first <= FEW_DECADES else (1,)
        found = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
    else:
        rough = (most - least) / 5 or 1.0
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= rough)
        found = [step * number for number in range(math.ceil(least / step), math.floor(most / step) + 1)]
    slack = (most - least) * 1e-9
    return [each for each in found if least - slack <= each <= most + slack]


def short(number: float) -> str:
    """Spell a number for an axis."""
    for unit, word in ((1e6, "M"), (1e3, "k")):
        if abs(number) >= unit:
            return f"{number / unit:g}{word}"
    return f"{number:.3g}"


@dataclass(frozen=True, slots=True)
class Axes:
    """What a plot of lines says about its axes."""

    title: str
    x: str
    y: str
    log_x: bool = False
    log_y: bool = False
    steps: bool = False
    """Draw areas with steps, as of a histogram."""


def lines(axes: Axes, series: Mapping[str, Points], levels: Mapping[str, float] | None = None) -> str:
    """Draw a line for each series, and a dashed one across for each level."""
    levels = levels or {}
    xs = [x for points in series.values() for x, _ in points]
    ys = [*(y for points in series.values() for _, y in points), *levels.values()]
    across = Scale(min(xs), max(xs), LEFT, WIDTH - RIGHT, log=axes.log_x)
    up = Scale(min(ys) / 1.2 if axes.log_y else 0.0, max(ys) * 1.1, HEIGHT - BOTTOM, TOP, log=axes.log_y)
    names = [*series, *levels]
    parts = [*_frame(axes, across, up), *_legend(names)]
    for colour, points in zip(COLOURS, series.values(), strict=False):
        parts += _steps(points, across, up, colour) if axes.steps else _line(points, across, up, colour)
    for name, level in levels.items():
        colour = COLOURS[names.index(name) % len(COLOURS)]
        parts.append(
            f'<line x1="{LEFT:.1f}" x2="{WIDTH - RIGHT:.1f}" y1="{up(level):.1f}" y2="{up(level):.1f}" '
            f'stroke="{colour}" stroke-width="1.5" stroke-dasharray="6 4"/>'
        )
    return _svg(axes.title, HEIGHT, parts)


def _frame(axes: Axes, across: Scale, up: Scale) -> list[str]:
    parts = []
    for tick in ticks(up.least, up.most, log=up.log):
        y = up(tick)
        parts.append(f'<line class="grid" x1="{LEFT:.1f}" x2="{WIDTH - RIGHT:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(LEFT - 8, y + 4, short(tick), "end", "axis"))
    below = ticks(across.least, across.most, log=across.log)
    parts += [_text(across(tick), HEIGHT - BOTTOM + 18, short(tick), "middle", "axis") for tick in below]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, axes.x, "middle", "axis"))
    parts.append(_text(LEFT, TOP - 10, axes.y, "end", "axis"))
    return parts


def _legend(names: Sequence[str]) -> list[str]:
    parts, x = [], LEFT + 12
    for number, name in enumerate(names):
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<rect x="{x:.1f}" y="{TOP - 20:.1f}" width="10" height="10" rx="2" fill="{colour}"/>')
        parts.append(_text(x + 14, TOP - 11, name, "start", ""))
        x += 34 + 6.6 * len(name)
    return parts


def _line(points: Points, across: Scale, up: Scale, colour: str) -> list[str]:
    places = [(across(x), up(y)) for x, y in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
    return [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>', *dots]


def _steps(points: Points, across: Scale, up: Scale, colour: str) -> list[str]:
    places = [(across(x), up(y)) for x, y in points]
    path = [f"M{places[0][0]:.1f},{up(0):.1f}"]
    for (x, y), (following, _) in zip(places, [*places[1:], places[-1]], strict=True):
        path.append(f"L{x:.1f},{y:.1f} L{following:.1f},{y:.1f}")
    path.append(f"L{places[-1][0]:.1f},{up(0):.1f} Z")
    return [f'<path d="{" ".join(path)}" fill="{colour}" fill-opacity="0.25" stroke="{colour}" stroke-width="1.5"/>']


def bars(title: str, unit: str, figures: Mapping[str, float]) -> str:
    """Draw a bar for each figure, its name above it."""
    height = TOP + len(figures) * (BAR + GAP + 12)
    across = Scale(0.0, max(figures.values()) * 1.25, LEFT - 50, WIDTH - RIGHT)
    parts = []
    for number, (name, figure) in enumerate(figures.items()):
        y = TOP + number * (BAR + GAP + 12)
        parts.append(_text(across(0), y - 4, name, "start", ""))
        size = f'width="{across(figure) - across(0):.1f}" height="{BAR:.1f}"'
        parts.append(f'<rect x="{across(0):.1f}" y="{y:.1f}" {size} rx="2" fill="{COLOURS[0]}"/>')
        parts.append(_text(across(figure) + 6, y + BAR - 4, f"{figure:,.0f} {unit}", "start", "axis"))
    return _svg(title, height, parts)


def _text(x: float, y: float, words: str, anchor: str, style: str) -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{kind}>{escape(words)}</text>'


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:g}" role="img">'
    name = f"<title>{escape(title)}</title>"
    return "\n".join((head, name, STYLE, _text(16, 22, title, "start", "title"), *parts, "</svg>")) + "\n"

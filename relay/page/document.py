"""The status page as HTML: one document that fetches nothing and runs nothing. Pure."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from relay.page.chart import Line, chart
from relay.page.reading import Reading, Side, Tone, read
from relay.page.tables import configuration, failures, replicas, table_health
from relay.page.tag import Markup, join, tag
from relay.page.verdict import Number, Verdict, as_of, numbers, verdict
from relay.page.words import clock, duration, milliseconds

REFRESH_S = 5
DOTS: Mapping[Tone, str] = {Tone.GOOD: "#1a9c5d", Tone.WARN: "#d08a00", Tone.BAD: "#d6382f", Tone.PLAIN: "#808a94"}
"""What the tab shows; these go with a light and with a dark bar."""


@cache
def style() -> str:
    """Return the style sheet."""
    return files("relay.page").joinpath("page.css").read_text()


@cache
def policy() -> str:
    """Return the Content-Security-Policy: our own style sheet, the icon in the tab, nothing else."""
    digest = b64encode(sha256(style().encode()).digest()).decode()
    allowed = ("default-src 'none'", f"style-src 'sha256-{digest}'", "img-src data:")
    return "; ".join((*allowed, "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"))


def html(status: Mapping[str, Any], *, refresh: bool = True) -> str:
    """Return the page for an answer of `/status`; with `refresh` the browser asks again by itself."""
    seen = read(status)
    says = verdict(seen)
    page = tag(
        "html",
        _head(seen, says, refresh=refresh),
        tag("body", tag("main", *_body(seen, says, refresh=refresh))),
        lang="en",
    )
    return f"<!DOCTYPE html>\n{page}\n"


def _head(seen: Reading, says: Verdict, *, refresh: bool) -> Markup:
    dot = tag("circle", cx="4.5", cy="4.5", r="4", fill=DOTS[says.tone])
    icon = tag("svg", dot, xmlns="http://www.w3.org/2000/svg", viewBox="0 0 9 9")
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("title", f"{says.word} · {seen.name} · outbox-relay"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", http_equiv="refresh", content=str(REFRESH_S)) if refresh else join(),
        tag("link", rel="icon", href=f"data:image/svg+xml,{quote(icon)}"),
        tag("style", Markup(style())),
    )


def _body(seen: Reading, says: Verdict, *, refresh: bool) -> Sequence[Markup]:
    late = as_of(seen)
    every = f"again every {REFRESH_S} s · " if refresh else ""
    turn = tag("a", "stop", href="?refresh=off") if refresh else tag("a", f"again every {REFRESH_S} s", href="?")
    return (
        tag(
            "header",
            tag("h1", f"outbox-relay · {seen.name}"),
            tag("p", f"version {seen.version} · up {duration(seen.uptime_s)}"),
        ),
        _state(seen, says),
        tag("p", late, class_="as-of", role="status") if late else join(),
        tag("dl", *map(_number, numbers(seen)), class_=f"card numbers{' stale' if seen.stale else ''}"),
        _charts(seen),
        tag("div", failures(seen), replicas(seen), class_="pair"),
        table_health(seen),
        configuration(seen),
        tag(
            "footer",
            tag("p", f"As of {clock(seen.now, today=seen.now)} · ", every, turn),
            tag(
                "p",
                "The same for machines: ",
                tag("a", "/status", href="status"),
                ", ",
                tag("a", "/metrics", href="metrics"),
            ),
        ),
    )


def _state(seen: Reading, says: Verdict) -> Markup:
    since = join()
    if says.since is not None:
        lasts_s = max(0.0, (seen.now - says.since).total_seconds())
        at = tag("time", clock(says.since, today=seen.now), datetime=says.since.isoformat())
        since = tag("p", f"for {duration(lasts_s)}, since ", at)
    return tag(
        "section",
        tag("div", tag("h2", says.word, class_="word"), since, tag("p", says.sentence)),
        tag("ul", *(_side(side) for side in seen.sides), class_="sides"),
        tag("p", tag("code", says.why), class_="why") if says.why else join(),
        class_=f"card state {says.tone}",
        aria_label="State",
    )


def _side(side: Side) -> Markup:
    answers = "" if side.latency_s is None else f", answers in {milliseconds(side.latency_s)}"
    tone = Tone.BAD if side.gone else Tone.GOOD if side.state == "flowing" else Tone.WARN
    return tag("li", tag("b", side.name), " ", tag("span", side.state, class_=tone.value), answers)


def _number(number: Number) -> Markup:
    unit = tag("span", f" {number.unit}", class_="unit") if number.unit else join()
    return tag(
        "div",
        tag("dt", number.label),
        tag("dd", number.value, unit, class_=f"value {number.tone}"),
        tag("dd", number.note, class_="note"),
    )


def _charts(seen: Reading) -> Markup:
    age = Line("oldest", "age", lambda point: point.age_s, filled=True)
    rates = (
        Line("out", "out", lambda point: point.out_rate, filled=True),
        Line("in", "in", lambda point: point.in_rate),
    )
    pictures = (
        chart("Age of the oldest row", seen.points, (age,), every_s=seen.every_s, ages=True),
        chart("Rows a second, in and out", seen.points, rates, every_s=seen.every_s, ages=False),
    )
    return tag(
        "section", *(tag("div", each, class_="card") for each in pictures), class_="charts", aria_label="The last hour"
    )

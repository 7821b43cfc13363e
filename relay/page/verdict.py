"""How the relay does, in one word and a sentence, and the six numbers. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from relay.page.reading import Backlog, Point, Reading, Side, Tone
from relay.page.words import UNKNOWN, clock, count, duration, rate, times

LATE_S, OLD_S = 60.0, 300.0
"""Ages of the oldest row from which its number is coloured; at the second the alert OutboxBacklogTooOld begins."""
KEEPS_UP_S = 5.0
"""With an oldest row younger than this there is nothing to work off: what waits is on its way."""
RATE_S = 10.0
"""The rates that are shown as numbers are means over about this long."""
PACE_S = 120.0
"""The pace at which the backlog shrinks is taken over this long, and over two points at least."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state of the relay: the worse of its two sides."""

    word: str
    tone: Tone
    since: datetime | None
    sentence: str
    why: str = ""
    """In the server's own words."""


@dataclass(frozen=True, slots=True)
class Number:
    """One of the six."""

    label: str
    value: str
    unit: str
    note: str
    tone: Tone = Tone.PLAIN


def verdict(seen: Reading) -> Verdict:
    """Say how the relay does."""
    gone = [side for side in seen.sides if side.gone]
    if not seen.live:
        sentence = "The relay's loop does not turn any more. Kubernetes restarts it, or you do."
        return Verdict("Stuck", Tone.BAD, None, sentence)
    if gone:
        return _outage(gone)
    for state, word in (("starting", "Starting"), ("recovering", "Recovering")):
        if found := [side for side in seen.sides if side.state == state]:
            return Verdict(word, Tone.WARN, _latest(found), _begins(found[0]))
    if all(side.state == "flowing" for side in seen.sides):
        return Verdict("Flowing", Tone.GOOD, _latest(seen.sides), "Rows are published as they come.")
    return Verdict("Unknown", Tone.WARN, None, "This relay tells of its state in words that this page does not know.")


def _outage(gone: Sequence[Side]) -> Verdict:
    names = " and ".join(side.name for side in gone)
    since = min((side.since for side in gone if side.since is not None), default=None)
    asked = max(side.probes for side in gone)
    knocks = f" It was asked {times(asked)} whether it is back." if asked else ""
    sentence = f"{names} cannot be used. Nothing is claimed, and no row is blamed or lost.{knocks}"
    why = " / ".join(f"{side.name}: {side.why}" if len(gone) > 1 else side.why for side in gone)
    return Verdict("Outage", Tone.BAD, since, sentence, why)


def _begins(side: Side) -> str:
    if side.state == "starting":
        return f"{side.name} has not answered yet."
    limit = "" if side.limit is None else f", now {count(side.limit)} row{'' if side.limit == 1 else 's'} a claim"
    return f"{side.name} is back; the flow widens step by step{limit}."


def _latest(sides: Sequence[Side]) -> datetime | None:
    return max((side.since for side in sides if side.since is not None), default=None)


def as_of(seen: Reading) -> str:
    """Say what is to be known of how old the numbers are; nothing when they are new."""
    if seen.backlog is None:
        return "The table has not been sampled yet: the numbers come with the first sample."
    ago_s = seen.backlog.ago_s
    if not seen.stale or ago_s is None:
        return ""
    at = clock(seen.now - timedelta(seconds=ago_s), today=seen.now)
    return f"The numbers are as of {at}, {duration(ago_s)} ago: no sample could be taken since."


def numbers(seen: Reading) -> Sequence[Number]:
    """Return the six numbers: oldest row, waiting, in, out, time to empty, failed."""
    backlog, points = seen.backlog, seen.points
    hand = f"this relay, {count(seen.in_flight)} in hand"
    rates = (
        Number("In", rate(mean([(each.ago_s, each.in_rate) for each in points])), "rows/s", "whole table"),
        Number("Out", rate(mean([(each.ago_s, each.out_rate) for each in points])), "rows/s", hand),
    )
    if backlog is None:
        return (
            Number("Oldest row", UNKNOWN, "", "not sampled yet"),
            Number("Waiting", UNKNOWN, "rows", "not sampled yet"),
            *rates,
            Number("Time to empty", UNKNOWN, "", "not sampled yet"),
            Number("Failed", UNKNOWN, "rows", "not sampled yet"),
        )
    return (_oldest(backlog), _waiting(backlog), *rates, empty(backlog, points), _failed(backlog))


def mean(rates: Sequence[tuple[float, float | None]]) -> float | None:
    """Return the mean of the newest rates, given with their ages; None when the newest is not known."""
    if not rates:
        return None
    newest = rates[-1][0]
    known = [value for ago_s, value in rates if value is not None and ago_s <= newest + RATE_S]
    return sum(known) / len(known) if known else None


def _oldest(backlog: Backlog) -> Number:
    tone = Tone.BAD if backlog.age_s >= OLD_S else Tone.WARN if backlog.age_s >= LATE_S else Tone.PLAIN
    note = "due and not sent yet" if backlog.pending else "nothing waits"
    return Number("Oldest row", *_split(duration(backlog.age_s)), note, tone)


def _waiting(backlog: Backlog) -> Number:
    parts = [f"{count(backlog.retrying)} to be retried" if backlog.retrying else ""]
    parts += [f"{count(backlog.blocked_keys)} keys blocked" if backlog.blocked_keys else ""]
    note = ", ".join(filter(None, parts)) or "none to be retried"
    return Number("Waiting", f"{'≥ ' if backlog.capped else ''}{count(backlog.pending)}", "rows", note)


def _failed(backlog: Backlog) -> Number:
    note = "need a person" if backlog.failed else "none given up"
    return Number("Failed", count(backlog.failed), "rows", note, Tone.WARN if backlog.failed else Tone.PLAIN)


def empty(backlog: Backlog, points: Sequence[Point]) -> Number:
    """Say when nothing will wait any more, at the pace of the last two minutes.

    By the number of rows, or where that stops at its cap by the age of the oldest: both are of the whole table.
    """
    label = "Time to empty"
    if not backlog.pending:
        return Number(label, "empty", "", "nothing waits")
    if backlog.age_s < KEEPS_UP_S:
        return Number(label, "now", "", "it keeps up")
    recent = [each for each in points if each.ago_s <= points[-1].ago_s + PACE_S]
    recent = recent if len(recent) > 1 else list(points[-2:])
    seconds = recent[0].ago_s - recent[-1].ago_s if recent else 0.0
    if seconds <= 0:
        return Number(label, UNKNOWN, "", "too early to tell")
    left = [each.age_s if backlog.capped else each.pending for each in recent]
    pace = (left[0] - left[-1]) / seconds
    if pace <= 0:
        return Number(label, "never", "", "it does not shrink", Tone.WARN)
    return Number(label, *_split(duration(left[-1] / pace)), f"at the pace of the last {duration(seconds)}")


def _split(text: str) -> tuple[str, str]:
    """Part a short duration from its unit, which is set smaller."""
    value, _, unit = text.partition(" ")
    return (text, "") if " " in unit else (value, unit)

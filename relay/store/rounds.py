"""Whose turn it is when order is kept: a round visits every key, so that none waits for another. Pure.

A look at the table (turns.sql) visits keys from where the last one ended. Rows without a key are walked beside them.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from relay.scan import LATE_COMMIT_S

LOOK_MIN = 100
"""Rows one look takes at least, so that a claim of one row gets past some blocked keys."""
PREPARED = "-1/"
"""So begins the name of a prepared transaction, which it had not before."""
EACH_MIN, EACH_MAX = 8, 64
"""Rows of one key that a claim may take: each of them is a wave, published after the one before was confirmed."""


class Place(NamedTuple):
    """One row of a look."""

    id: int
    free: bool
    """Due, in nobody's hands, and behind no row of its key that is not."""
    place: int
    """Its place among the pending rows of its key, from 1; 0: it has no key."""
    lowest: int
    """No pending row had a smaller id when the look was taken; 0: a failed one that blocks its key may come back."""


@dataclass(frozen=True, slots=True)
class Walk:
    """A way through the keys, or through the rows without one, that begins anew at its end."""

    after: int = 0
    """The row at which the last look ended; 0: begin."""
    rich: bool = False
    """More was to be had since it began than was taken."""


@dataclass(frozen=True, slots=True)
class Round:
    """Where the walks are, and how much of each key is taken at once."""

    keys: Walk = Walk()
    unkeyed: Walk = Walk()
    each: int = EACH_MIN
    low: int = 0
    """No pending row has a smaller id, nor ever will: it would be overtaken by the later ones of its key."""
    next_low: int = 0
    """As `lowest` was; it becomes `low` when every transaction that may hold a smaller id is over and was looked at."""
    writers: frozenset[str] | None = None
    """Those of them that are not over; None: not asked since."""
    asked_at: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Choice:
    """What one look offers."""

    ids: tuple[int, ...]
    runs: tuple[tuple[int, ...], ...]
    """Of these the rows of each key, in order."""
    more: bool
    """The next look may find rows at once."""


def look_size(rows: int) -> int:
    """Return how many rows a look takes on each walk when so many are wanted."""
    return max(rows, LOOK_MIN)


def asks(seen: Round, now: float) -> bool:
    """Return whether it is time to ask who writes, before the next look."""
    return now - seen.asked_at >= LATE_COMMIT_S


def told(seen: Round, writers: Collection[str], now: float) -> Round:
    """Note who writes: of those that were there before, who still does."""
    known = seen.writers
    left = frozenset(each for each in writers if known is None or each in known or each.startswith(PREPARED))
    return replace(seen, writers=left, asked_at=now)


def choose(seen: Round, places: Sequence[Place], rows: int) -> tuple[Round, Choice]:
    """Take up to `rows` of what a look saw: half of them without a key when there are both."""
    keyed = [place for place in places if place.place]
    unkeyed = [place for place in places if not place.place]
    room = max(rows - sum(place.free for place in keyed), (rows + 1) // 2)
    spare, some = _take(unkeyed, room)
    turns, others = _take(keyed, rows - len(some))
    cut = any(place.place == seen.each and place.free for place in turns)
    look = look_size(rows)
    keys, more_keys = _went(seen.keys, turns, some=bool(others), cut=cut, full=_full(keyed, turns, look))
    loose, more_loose = _went(seen.unkeyed, spare, some=bool(some), cut=False, full=_full(unkeyed, spare, look))
    each = max(EACH_MIN, seen.each // 2) if keys.after else min(EACH_MAX, seen.each * 2) if cut else seen.each
    after = _raised(replace(seen, keys=keys, unkeyed=loose, each=each), places)
    return after, Choice(tuple(sorted(some + others)), tuple(_runs(turns)), more_keys or more_loose)


def orphans(choice: Choice, taken: Collection[int]) -> frozenset[int]:
    """Return the rows taken although an earlier one of their key was not: it was marked, or locked, in between."""
    left: set[int] = set()
    for run in choice.runs:
        missing = next((place for place, row_id in enumerate(run) if row_id not in taken), len(run))
        left.update(row_id for row_id in run[missing:] if row_id in taken)
    return frozenset(left)


def _runs(turns: Sequence[Place]) -> Iterator[tuple[int, ...]]:
    """Give the free rows of each key; the first row of a key begins a new one."""
    run: list[int] = []
    for turn in turns:
        if turn.place == 1 and run:
            yield tuple(run)
            run = []
        if turn.free:
            run.append(turn.id)
    if run:
        yield tuple(run)


def _take(places: Sequence[Place], room: int) -> tuple[Sequence[Place], list[int]]:
    """Return the places that fit, those that are not free among them, and the ids of the free ones."""
    ids: list[int] = []
    for position, place in enumerate(places):
        if place.free:
            if len(ids) == room:
                return places[:position], ids
            ids.append(place.id)
    return places, ids


def _full(seen: Sequence[Place], used: Sequence[Place], look: int) -> bool:
    """Return whether there may be others behind those that were used."""
    return len(used) < len(seen) or len(seen) >= look


def _went(walk: Walk, used: Sequence[Place], *, some: bool, cut: bool, full: bool) -> tuple[Walk, bool]:
    """Move a walk on; at its end it begins anew, at once when rows before that may have been left.

    Only a walk that took nothing from its beginning to its end has seen that there is nothing.
    """
    rich = walk.rich or cut or (full and some)
    if full:
        return Walk(used[-1].id if used else walk.after, rich), True
    return Walk(), rich


def _raised(seen: Round, places: Sequence[Place]) -> Round:
    """Move the low mark, when all who wrote at the last look are done: what they committed, this look has seen."""
    if not places or seen.writers:
        return seen
    lowest = places[0].lowest
    low = seen.low if seen.writers is None else max(seen.low, min(seen.next_low, lowest))
    return replace(seen, low=low, next_low=lowest, writers=None)

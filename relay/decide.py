"""What happens to a row: outcome → mark, how long a retry waits, which rows must travel alone. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import assert_never

from relay.model import (
    Confirmed,
    Failed,
    Mark,
    Outcome,
    Refusal,
    Refused,
    Release,
    Retry,
    Row,
    Sent,
    Unknown,
    Unreachable,
)

ERROR_CHARS_MAX = 1000
SUSPECT_CLAIMS = 3
"""Unanswered claims after which a row is taken alone: its relay died with the row in hand that often."""
KILLER_CLAIMS = 6
"""Unanswered claims after which a row is given up: as often again, with nothing else in hand.

One more death would prove little. Where relays are killed for reasons of their own, suspects gather, and as they are
taken one by one there is always one in hand: of 500 kills some hit one that had done nothing."""
HOPELESS = frozenset({Refusal.INVALID, Refusal.TOO_LARGE, Refusal.CRASH_LOOP})
"""Refusals that no later attempt can change."""
CLOSING = frozenset({Refusal.BLAMED, Refusal.FORBIDDEN})
"""Refusals that closed a channel and would do so again: the row's next attempt travels alone from the start."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently a refused row is tried again."""

    max_failures: int = 10
    base_s: float = 1.0
    max_s: float = 300.0


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """How long an idle relay rests between two claims."""

    min_s: float = 0.02
    max_s: float = 0.5


def backoff_s(failures: int, policy: RetryPolicy, jitter: float) -> float:
    """Return a wait drawn evenly from 0 to `base_s * 2^(failures-1)`, at most `max_s`: full jitter.

    The exponent is capped before the power: 2.0 ** 1024 would raise OverflowError.
    """
    ceiling = min(policy.max_s, policy.base_s * 2.0 ** min(max(failures, 1) - 1, 64))
    return ceiling * jitter


def mark(row: Row, outcome: Outcome, policy: RetryPolicy, *, jitter: float) -> Mark:
    """Turn what the broker said of a row into what the table shall say of it."""
    match outcome:
        case Confirmed():
            return Sent(row.id, row.message_id)
        case Refused(reason=reason, detail=detail):
            return _charge(row, reason, detail, policy, jitter)
        case Unknown(detail=detail):
            return Release(row.id, doubt=clean(detail))
        case Unreachable(detail=detail, written=written):
            return Release(row.id, doubt=clean(detail) if written else None)
        case _:
            assert_never(outcome)


def _charge(row: Row, reason: Refusal, detail: str, policy: RetryPolicy, jitter: float) -> Retry | Failed:
    failures = row.failures + 1
    error = clean(f"{reason}: {detail}")
    if reason in HOPELESS or failures >= policy.max_failures:
        return Failed(row.id, reason, error)
    return Retry(row.id, reason, backoff_s(failures, policy, jitter), error)


def clean(text: str) -> str:
    """Make an error text storable: without NUL and lone surrogates, which Postgres refuses, and short."""
    kept = text[: 2 * ERROR_CHARS_MAX].replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return kept.encode("utf-8", "replace").decode("utf-8")[:ERROR_CHARS_MAX]


def suspect(row: Row) -> bool:
    """Return whether the row may have killed its relay so often that it must be taken alone."""
    return row.unanswered >= SUSPECT_CLAIMS


def hopeless(row: Row) -> bool:
    """Return whether relays went on to die with the row in hand alone."""
    return row.unanswered >= KILLER_CLAIMS


def quarantine(rows: Iterable[Row], suspects: Collection[int]) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Split rows into those that may share a channel and those that must be published one at a time."""
    rows = tuple(rows)
    together = tuple(row for row in rows if row.id not in suspects)
    return together, tuple(row for row in rows if row.id in suspects)


def waves(rows: Iterable[Row]) -> tuple[tuple[Row, ...], ...]:
    """Split rows into waves that hold each key once, in the order of the rows; those without a key go first."""
    parts: list[list[Row]] = []
    places: Counter[str] = Counter()
    for row in rows:
        place = 0 if row.key is None else places[row.key]
        if place == len(parts):
            parts.append([])
        parts[place].append(row)
        if row.key is not None:
            places[row.key] += 1
    return tuple(map(tuple, parts))


def holds_key(row: Row, mark: Mark, *, failed_blocks_key: bool) -> bool:
    """Return whether no later row of the key may be published after this mark: the row itself is still to come."""
    ended = isinstance(mark, Sent) or (isinstance(mark, Failed) and not failed_blocks_key)
    return row.key is not None and not ended


def next_poll_s(previous_s: float, *, found: bool, took_s: float, policy: PollPolicy) -> float:
    """Return the rest before the next claim: the shortest after rows were found, else doubling to the longest.

    The shortest counts from the beginning of a claim, which took `took_s`; half of it is rest, however slow claims are.
    """
    if found:
        return max(policy.min_s / 2.0, policy.min_s - took_s)
    return min(policy.max_s, max(policy.min_s, previous_s * 2.0))

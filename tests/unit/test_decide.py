"""Outcome → mark, backoff, and which rows travel alone."""

import pytest

from relay.decide import (
    HOPELESS,
    PollPolicy,
    RetryPolicy,
    backoff_s,
    clean,
    hopeless,
    mark,
    next_poll_s,
    quarantine,
    suspect,
)
from relay.model import (
    Confirmed,
    Failed,
    Fault,
    Mark,
    Outcome,
    Refusal,
    Refused,
    Release,
    Retry,
    Sent,
    Unknown,
    Unreachable,
)
from tests.doubles import a_row

POLICY = RetryPolicy(max_failures=3, base_s=1.0, max_s=10.0)

MARKS: list[tuple[str, Outcome, int, Mark]] = [
    ("an ack", Confirmed(), 0, Sent(1, a_row().message_id)),
    ("an ack after failures", Confirmed(), 2, Sent(1, a_row().message_id)),
    (
        "a first return",
        Refused(Refusal.UNROUTABLE, "no queue"),
        0,
        Retry(1, Refusal.UNROUTABLE, 0.5, "unroutable: no queue"),
    ),
    ("a second nack", Refused(Refusal.REJECTED, "nack"), 1, Retry(1, Refusal.REJECTED, 1.0, "rejected: nack")),
    ("the last nack", Refused(Refusal.REJECTED, "nack"), 2, Failed(1, Refusal.REJECTED, "rejected: nack")),
    ("no exchange", Refused(Refusal.NO_EXCHANGE, "404"), 0, Retry(1, Refusal.NO_EXCHANGE, 0.5, "no_exchange: 404")),
    ("forbidden", Refused(Refusal.FORBIDDEN, "403"), 0, Retry(1, Refusal.FORBIDDEN, 0.5, "forbidden: 403")),
    ("blamed", Refused(Refusal.BLAMED, "406"), 0, Retry(1, Refusal.BLAMED, 0.5, "blamed: 406")),
    ("invalid", Refused(Refusal.INVALID, "float"), 0, Failed(1, Refusal.INVALID, "invalid: float")),
    ("too large", Refused(Refusal.TOO_LARGE, "9 > 8"), 0, Failed(1, Refusal.TOO_LARGE, "too_large: 9 > 8")),
    ("a killer", Refused(Refusal.CRASH_LOOP, "died"), 0, Failed(1, Refusal.CRASH_LOOP, "crash_loop: died")),
    ("unknown", Unknown("closed"), 2, Release(1, doubt="closed")),
    ("lost when written", Unreachable(Fault.LOST, "reset", written=True), 2, Release(1, doubt="reset")),
    ("never written", Unreachable(Fault.REFUSED, "refused", written=False), 2, Release(1)),
]


@pytest.mark.parametrize(
    ("outcome", "failures", "expected"), [case[1:] for case in MARKS], ids=[case[0] for case in MARKS]
)
def test_an_outcome_becomes_a_mark(outcome: Outcome, failures: int, expected: Mark) -> None:
    assert mark(a_row(failures=failures, claims=failures + 1), outcome, POLICY, jitter=0.5) == expected


def test_what_no_later_attempt_can_change_is_hopeless() -> None:
    assert {Refusal.INVALID, Refusal.TOO_LARGE, Refusal.CRASH_LOOP} == HOPELESS


@pytest.mark.parametrize(
    ("failures", "ceiling"), [(0, 1), (1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (1000, 10), (10**9, 10)]
)
def test_the_backoff_doubles_to_the_longest_with_full_jitter(failures: int, ceiling: float) -> None:
    assert [backoff_s(failures, POLICY, jitter) for jitter in (0.0, 0.5, 1.0)] == [0, ceiling / 2, ceiling]


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("plain", "plain"),
        ("a\x00b", "a\N{REPLACEMENT CHARACTER}b"),
        ("a\ud800b", "a?b"),
        ("🦊" * 1500, "🦊" * 1000),
        ("", ""),
    ],
    ids=["plain", "nul", "surrogate", "long", "empty"],
)
def test_an_error_text_is_made_storable(text: str, stored: str) -> None:
    assert clean(text) == stored


@pytest.mark.parametrize(
    ("claims", "failures", "is_suspect", "is_hopeless"),
    [
        (1, 0, False, False),
        (3, 0, False, False),
        (4, 0, True, False),
        (6, 0, True, False),
        (7, 0, True, True),
        (13, 9, True, False),
    ],
)
def test_a_row_whose_relays_died_is_a_suspect_and_then_hopeless(
    claims: int,
    failures: int,
    is_suspect: bool,  # noqa: FBT001
    is_hopeless: bool,  # noqa: FBT001
) -> None:
    row = a_row(claims=claims, failures=failures)
    assert (suspect(row), hopeless(row)) == (is_suspect, is_hopeless)


def test_rows_under_suspicion_are_set_apart_in_their_order() -> None:
    together, alone = quarantine([a_row(id=number) for number in (1, 2, 3, 4)], {4, 2, 9})
    assert ([row.id for row in together], [row.id for row in alone]) == ([1, 3], [2, 4])


@pytest.mark.parametrize(
    ("previous", "found", "rest"),
    [(0.0, False, 0.02), (0.02, False, 0.04), (0.4, False, 0.5), (0.5, False, 0.5), (0.5, True, 0.02)],
)
def test_an_idle_relay_rests_longer_each_time(previous: float, found: bool, rest: float) -> None:  # noqa: FBT001
    assert next_poll_s(previous, found=found, took_s=0.0, policy=PollPolicy()) == rest


@pytest.mark.parametrize(("took_s", "rest"), [(0.0, 0.02), (0.005, 0.015), (0.01, 0.01), (3.0, 0.01)])
def test_the_shortest_rest_counts_from_the_beginning_of_a_claim_and_is_half_rest_at_least(
    took_s: float, rest: float
) -> None:
    assert next_poll_s(0.5, found=True, took_s=took_s, policy=PollPolicy()) == pytest.approx(rest)
    assert next_poll_s(0.1, found=False, took_s=took_s, policy=PollPolicy()) == 0.2

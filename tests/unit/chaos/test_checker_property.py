"""The checker on drawn histories: a legal one passes, and one defect more is always reported."""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.checker import check
from chaos.history import Arrival, Fate, Fault, FinalRow, History, Run
from tests.unit.chaos.hand import attempt

LANES_X_BATCH = 3
REPLICAS = 2


def legal(chance: random.Random) -> History:
    """What a run could have been: rows of every fate, faults, copies within the bound, redeliveries, refusals."""
    attempts, rows, arrivals = [], [], []
    faults = [Fault("unbind", "queue", 0, 1000, refusals=("unroutable",))]
    faults += [
        Fault("kill", "relay", at := chance.uniform(0, 40), at, LANES_X_BATCH) for _ in range(chance.randrange(4))
    ]
    room = {id(fault): fault.repeats_max for fault in faults}
    sequence = 0
    for number in range(1, chance.randrange(8, 30)):
        fate = chance.choice((Fate.COMMITTED, Fate.COMMITTED, Fate.COMMITTED, Fate.ROLLED_BACK, Fate.UNKNOWN))
        holds = number <= 2 or fate is Fate.COMMITTED or (fate is Fate.UNKNOWN and chance.random() < 0.5)
        fate = Fate.COMMITTED if number <= 2 else fate
        sequence += 1
        tried = attempt(number, fate, key=chance.choice(("k", None)), sequence=sequence)
        attempts.append(tried)
        if not holds:
            continue
        if number > 2 and chance.random() < 0.1:
            rows.append(FinalRow(number, tried.message_id, "failed", 10, 1, "unroutable: no queue", None))
            continue
        came = Arrival(0, tried.message_id, tried.body, "orders", "order.placed", number + 0.1, "l", number)
        arrivals.append(came)
        arrivals += [replace(came, at=came.at + 5, redelivered=True)] * (chance.random() < 0.2)
        fault = next((f for f in faults if room[id(f)] and number <= f.ended and chance.random() < 0.5), None)
        if fault is not None:
            room[id(fault)] -= 1
            arrivals.append(replace(came, at=max(fault.began, came.at) + 20, attempt=2))
        failures = int(chance.random() < 0.1)
        rows.append(FinalRow(number, tried.message_id, "sent", failures, 1, None, came.at))
    ordered = sorted(arrivals, key=lambda each: each.at)
    numbered = tuple(replace(each, position=position) for position, each in enumerate(ordered))
    run = Run(1, 0.0, 100.0, REPLICAS, LANES_X_BATCH, ordered=True, emptied=90.0)
    return History(run, attempts, numbered, faults, rows=rows)


def once(history: History) -> Arrival:
    """The only copy of a row that arrived only once and late enough to be told apart."""
    count = [each.message_id for each in history.arrivals]
    return next(each for each in history.arrivals if count.count(each.message_id) == 1)


def changed(history: History, old: Arrival, *new: Arrival) -> History:
    """The same with other arrivals in the place of one, and numbered anew."""
    arrivals = [other for each in history.arrivals for other in (new if each is old else (each,))]
    return replace(history, arrivals=[replace(each, position=n) for n, each in enumerate(arrivals)])


def with_row(history: History, message_id: str, **fields: object) -> History:
    """The same with another end of a row."""
    rows = [replace(r, **fields) if r.message_id == message_id else r for r in history.rows]  # type: ignore[arg-type]
    return replace(history, rows=rows)


def beyond_the_bound(history: History) -> History:
    """One copy more than all faults together explain."""
    first, most = history.arrivals[0], sum(fault.repeats_max for fault in history.faults)
    copies = [replace(first, at=99.0, attempt=2) for _ in range(most + 1)]
    return changed(history, history.arrivals[-1], history.arrivals[-1], *copies)


def rolled_back(history: History) -> History:
    """A delivery of a row that was taken back."""
    tried = attempt(900, Fate.ROLLED_BACK, key=None)
    came = Arrival(0, tried.message_id, tried.body, "orders", "order.placed", 99.0, "l", 900)
    return changed(
        replace(history, attempts=(*history.attempts, tried)), history.arrivals[-1], history.arrivals[-1], came
    )


def out_of_order(history: History) -> History:
    """Two rows of one key, the younger one first."""
    older, younger = attempt(901, key="o", sequence=1), attempt(902, key="o", sequence=2)
    came = [
        Arrival(0, each.message_id, each.body, "orders", "order.placed", 99.0, "l", each.row_id)
        for each in (younger, older)
    ]
    rows = [FinalRow(each.row_id or 0, each.message_id, "sent", 0, 1, None, 999.0) for each in (older, younger)]
    history = replace(history, attempts=(*history.attempts, older, younger), rows=(*history.rows, *rows))
    return changed(history, history.arrivals[-1], history.arrivals[-1], *came)


DEFECTS: Mapping[str, Callable[[History], History]] = {
    "lost": lambda h: changed(h, once(h)),
    "false_sent": lambda h: changed(h, once(h)),
    "pending": lambda h: with_row(h, once(h).message_id, status="pending", sent_at=None),
    "failed_without_cause": lambda h: with_row(h, once(h).message_id, status="failed", last_error="rejected: full"),
    "false_failed": lambda h: replace(
        with_row(h, once(h).message_id, status="failed", last_error="unroutable: no queue", failures=10),
        faults=[fault for fault in h.faults if not fault.repeats_max],
    ),
    "duplicated": beyond_the_bound,
    "phantom_rolled_back": rolled_back,
    "phantom_vanished": lambda h: replace(h, rows=[r for r in h.rows if r.message_id != once(h).message_id]),
    "phantom_unknown": lambda h: changed(h, once(h), once(h), replace(once(h), message_id="nobody's")),
    "altered": lambda h: changed(h, once(h), replace(once(h), body="flipped")),
    "unmarked": lambda h: changed(h, once(h), once(h), replace(once(h), at=99.0)),
    "sent_early": lambda h: with_row(h, once(h).message_id, sent_at=0.5),
    "charged": lambda h: with_row(h, once(h).message_id, failures=1, last_error="no_exchange: none"),
    "order_violations": out_of_order,
}


@given(st.integers(0, 10**9))
def test_a_legal_history_keeps_every_promise(seed: int) -> None:
    assert check(legal(random.Random(seed))).problems == ()


@settings(max_examples=30)
@pytest.mark.parametrize("defect", DEFECTS)
@given(seed=st.integers(0, 10**9))
def test_a_defect_in_a_legal_history_is_reported_by_its_name(defect: str, seed: int) -> None:
    history = legal(random.Random(seed))
    if not any(
        True for each in history.arrivals if [a.message_id for a in history.arrivals].count(each.message_id) == 1
    ):
        return  # every row came twice: there is none to break

    before, after = check(history), check(DEFECTS[defect](history))

    assert (after.figures[defect] or 0) > (before.figures[defect] or 0)
    assert after.problems

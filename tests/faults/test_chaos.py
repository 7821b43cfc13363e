"""A short run of everything: producers, three relays, a drain, faults side by side, and the judgement of it all."""

import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from chaos.checker import ORDER, check
from chaos.history import Fate, read
from chaos.keys import HOT, SHARED
from chaos.run import Plan, play
from chaos.schedule import Harm, Stroke
from chaos.stage import Stage

SEED = 33
"""Each producer then writes a row with a bad end among its first thirty."""
FAULTS = (
    Stroke(1.0, Harm.RELAY_KILL, "1", 0.5),
    Stroke(1.5, Harm.AMQP_CUT, "2", 2.0),
    Stroke(3.0, Harm.POSTGRES_CRASH, "", 0.5),
    Stroke(4.0, Harm.EXCHANGE_DELETED, "", 1.0),
    Stroke(5.0, Harm.POSTGRES_BLACKHOLE, "3", 4.0),
    Stroke(6.0, Harm.BROKER_KILL, "", 0.5),
    Stroke(10.0, Harm.RELAY_TERM, "2", 0.2),
    Stroke(14.0, Harm.BACKENDS_TERMINATED, "", 0.0),
    Stroke(15.0, Harm.AMQP_HELD_DOWN, "every", 4.0),
)
"""The kill comes first: its rows wait for the end of a lease, and the others need not wait for that."""


IN_ORDER = (
    Stroke(1.0, Harm.RELAY_KILL, "1", 0.5),
    Stroke(2.0, Harm.AMQP_HELD_UP, "2", 3.5),
    Stroke(3.5, Harm.POSTGRES_CRASH, "", 0.5),
    Stroke(6.0, Harm.POSTGRES_HELD_DOWN, "1", 3.0),
    Stroke(7.0, Harm.QUEUE_UNBOUND, "", 1.0),
    Stroke(10.0, Harm.RELAY_TERM, "1", 0.2),
    Stroke(12.0, Harm.AMQP_RESET, "every", 0.0),
)
"""Held up for longer than a confirm is waited for, rows reach the broker after they were published again."""


@asynccontextmanager
async def staged(**given: Any) -> AsyncIterator[Stage]:
    """Everything that runs, and its folder with the history."""
    made = Stage(SEED, rate=150, producers=3, poison_s=8.0, **given)
    try:
        await made.open()
        yield made
    finally:
        await made.close()
    shutil.rmtree(made.folder)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged() as made:
        yield made


@pytest.fixture
async def ordered() -> AsyncIterator[Stage]:
    async with staged(relays=2, ordered=True) as made:
        yield made


@pytest.mark.timeout(240)
async def test_through_faults_side_by_side_every_committed_row_arrives_and_no_other(stage: Stage) -> None:
    told: list[str] = []
    await play(stage, Plan(SEED, 0.5, FAULTS), told.append)

    history = read(stage.folder)
    verdict = check(history)
    assert verdict.problems == ()
    assert sorted(each.name for each in history.faults) == sorted(stroke.harm for stroke in FAULTS)
    assert len(told) == len(FAULTS)
    figures = verdict.figures
    assert (figures["delivered"] or 0) > 500
    assert (figures["rolled_back"] or 0) > 0, "and they did not arrive"
    assert (figures["failed"] or 0) > 0, "the rows with a bad end"
    assert all(row.failed_at for row in history.rows if row.status == "failed"), "or any later fault would excuse them"


@pytest.mark.timeout(240)
async def test_through_faults_side_by_side_every_key_keeps_its_order(ordered: Stage) -> None:
    await play(ordered, Plan(SEED, 0.5, IN_ORDER, relays=2, ordered=True), lambda _line: None)

    history = read(ordered.folder)
    verdict = check(history)
    assert verdict.problems == ()
    assert sorted(each.name for each in history.faults) == sorted(stroke.harm for stroke in IN_ORDER)
    assert next(each for each in verdict.judgements if each.promise == ORDER).word == "kept"
    rows = Counter(each.key for each in history.attempts if each.fate is Fate.COMMITTED)
    assert rows[HOT] > 100
    assert rows[None] > 100
    assert len(rows) > SHARED, "and keys with a row now and then"

"""The backlog sample: what it counts, how old it says the oldest row is, and what it costs."""

from datetime import UTC, datetime, timedelta

import pytest

from relay.model import Failed, Refusal, Retry
from relay.ports import StoreUnavailable
from relay.store import sampling
from tests.builders import Database
from tests.stores import a_store, claim, sent


def ago(**parts: float) -> datetime:
    """That long ago."""
    return datetime.now(UTC) - timedelta(**parts)


async def test_an_empty_table_has_no_backlog(db: Database) -> None:
    async with a_store(db.url) as store:
        sample = await store.backlog()
    assert (sample.pending, sample.retrying, sample.failed, sample.capped, sample.oldest_age_s) == (0, 0, 0, False, 0)
    assert sample.sampled_at == pytest.approx(datetime.now(UTC).timestamp(), abs=60)


async def test_rows_are_counted_by_what_they_wait_for(db: Database) -> None:
    given = await db.insert(n=10)
    async with a_store(db.url) as store:
        taken = await claim(store, limit=6)
        await store.settle(
            taken.token,
            [
                sent(taken, given[0]),
                sent(taken, given[1]),
                Retry(given[2], Refusal.REJECTED, 60.0, "x"),
                Retry(given[3], Refusal.REJECTED, 60.0, "x"),
                Failed(given[4], Refusal.INVALID, "x"),
            ],
        )
        sample = await store.backlog()
    assert (sample.pending, sample.retrying, sample.failed, sample.capped) == (7, 2, 1, False)


async def test_counting_stops_at_the_cap(db: Database) -> None:
    await db.insert(n=30)
    async with a_store(db.url, backlog_cap=30) as store:
        sample = await store.backlog()
        assert (sample.pending, sample.capped) == (30, False)
        await db.insert()
        sample = await store.backlog()
    assert (sample.pending, sample.capped) == (30, True)


async def test_the_oldest_age_counts_from_when_a_row_fell_due(db: Database) -> None:
    await db.insert(created_at=ago(days=9), available_at=ago(days=-9))
    async with a_store(db.url) as store:
        assert (await store.backlog()).oldest_age_s == 0
        await db.insert(created_at=ago(days=9), available_at=ago(hours=1))
        assert (await store.backlog()).oldest_age_s == pytest.approx(3600, abs=60)


async def test_a_retry_in_its_wait_is_as_old_as_it_was(db: Database) -> None:
    (row_id,) = await db.insert(created_at=ago(hours=2))
    async with a_store(db.url) as store:
        taken = await claim(store)
        await store.settle(taken.token, [Retry(row_id, Refusal.REJECTED, 600.0, "x")])
        assert (await store.backlog()).oldest_age_s == pytest.approx(7200, abs=60)


async def test_a_row_in_another_hand_still_waits(db: Database) -> None:
    await db.insert(available_at=ago(minutes=5))
    async with a_store(db.url) as store:
        await claim(store)
        sample = await store.backlog()
    assert sample.pending == 1
    assert sample.oldest_age_s == pytest.approx(300, abs=30)


async def test_rows_out_of_order_are_found_among_the_first_thousand(db: Database) -> None:
    await db.insert(n=500)
    await db.insert(available_at=ago(hours=3))
    async with a_store(db.url) as store:
        assert (await store.backlog()).oldest_age_s == pytest.approx(3 * 3600, abs=60)


async def test_rows_that_arrive_behind_many_delayed_ones_grow_old(db: Database) -> None:
    """Messages delayed to tomorrow fill what a sample looks at; what claims have not looked at yet is behind them."""
    await db.insert(n=30, available_at=ago(days=-1))
    await db.insert(available_at=ago(hours=1))
    async with a_store(db.url, backlog_cap=10) as store:
        assert (await store.backlog()).oldest_age_s == 0
        await claim(store, limit=1, low=40)
        await claim(store, limit=1, low=25)
        await claim(store, limit=1, low=0)
        assert (await store.backlog()).oldest_age_s == pytest.approx(3600, abs=60)


@pytest.fixture
def dear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any look at the whole index takes too long to come again within the test."""
    monkeypatch.setattr(sampling, "QUICK_S", 0.0)
    monkeypatch.setattr(sampling, "WHOLE_SHARE", 1e-9)


@pytest.mark.usefixtures("dear")
async def test_a_look_at_the_whole_index_that_is_dear_comes_rarely_and_is_never_passed_off_as_whole(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = await db.insert(n=5)
    async with a_store(db.url) as store:
        first = await store.backlog()
        assert (first.pending, first.capped) == (5, False)
        await db.fetch("UPDATE {table} SET status = 'sent' WHERE id <= %s", (given[2],))
        assert (await store.backlog()).pending == 2
        await db.fetch("UPDATE {table} SET status = 'pending' WHERE id = %s", (given[0],))  # below the begin
        later = await store.backlog()
        assert (later.pending, later.capped) == (2, True)
        await db.fetch("UPDATE {table} SET failures = 1")
        assert (await store.backlog()).pending == 3
        monkeypatch.setattr(store._sampler._whole, "_at", 0.0)
        again = await store.backlog()
        assert (again.pending, again.capped) == (3, False)


@pytest.mark.usefixtures("dear")
async def test_when_no_row_waited_the_next_sample_begins_behind_all_rows(db: Database) -> None:
    """A relay that never claimed, because the broker is gone, must not walk a dead head again and again."""
    given = await db.insert(n=5)
    await db.fetch("UPDATE {table} SET status = 'sent'")
    async with a_store(db.url) as store:
        assert [(await store.backlog()).capped for _ in range(2)] == [False, True]
        assert store._sampler._low == given[-1]
        await db.insert(n=2)
        assert (await store.backlog()).pending == 2


@pytest.mark.usefixtures("dear")
async def test_where_there_is_no_row_at_all_the_next_sample_is_whole(db: Database) -> None:
    async with a_store(db.url) as store:
        assert [(await store.backlog()).capped for _ in range(2)] == [False] * 2


async def test_a_quick_look_at_the_whole_index_comes_every_time(db: Database) -> None:
    await db.insert(n=3)
    async with a_store(db.url) as store:
        assert [(await store.backlog()).capped for _ in range(3)] == [False] * 3


async def test_a_sample_does_not_wait_for_the_table(db: Database) -> None:
    other = await db.connect()
    async with a_store(db.url) as store, other.transaction():
        await other.execute("LOCK TABLE outbox.message")
        with pytest.raises(StoreUnavailable, match="timeout"):
            await store.backlog()

"""Marks: which are written, which are refused, and that writing them twice does no harm."""

from datetime import timedelta
from typing import LiteralString
from uuid import uuid4

import pytest

from relay.model import Failed, Mark, Refusal, Release, Retry, Sent
from services.postgres import PostgresServer
from tests.builders import Database
from tests.stores import a_store, claim, ids, recode, row, sent

ERROR = "rejected: the broker said no"


def retry(row_id: int, delay_s: float = 0.0, error: str = ERROR) -> Retry:
    """A retry."""
    return Retry(row_id, Refusal.REJECTED, delay_s, error)


def failed(row_id: int, error: str = ERROR) -> Failed:
    """A giving up."""
    return Failed(row_id, Refusal.REJECTED, error)


async def test_each_mark_is_written_to_its_row(db: Database) -> None:
    done, retried, gone, released, doubted = await db.insert(n=5)
    async with a_store(db.url) as store:
        taken = await claim(store)
        marks: list[Mark] = [sent(taken, done), retry(retried, 60.0), failed(gone)]
        marks += [Release(released), Release(doubted, "lost")]
        assert await store.settle(taken.token, marks) == frozenset()
    columns = ("status", "claims", "failures", "last_error", "claimed_until")
    assert await row(db, done, *columns) == ("sent", 1, 0, None, None)
    assert await row(db, retried, *columns) == ("pending", 1, 1, ERROR, None)
    assert await row(db, gone, *columns) == ("failed", 1, 1, ERROR, None)
    assert await row(db, released, *columns) == ("pending", 0, 0, None, None)
    assert await row(db, doubted, *columns) == ("pending", 0, 0, "lost", None)
    ((waits,),) = await db.fetch("SELECT available_at - now() FROM {table} WHERE id = %s", (retried,))
    assert timedelta(seconds=50) < waits <= timedelta(seconds=60)
    ((since,),) = await db.fetch("SELECT now() - sent_at FROM {table} WHERE id = %s", (done,))
    assert timedelta(0) <= since < timedelta(seconds=10)


async def test_a_given_up_row_tells_when(db: Database) -> None:
    (row_id,) = await db.insert(available_at="2020-01-01")
    async with a_store(db.url) as store:
        taken = await claim(store)
        await store.settle(taken.token, [failed(row_id)])
    assert await db.fetch("SELECT now() - available_at < interval '10 s' FROM {table}") == [(True,)]


async def test_marks_written_twice_count_once_and_are_still_ours(db: Database) -> None:
    """The reply to a commit may be lost."""
    done, retried, gone, released = await db.insert(n=4)
    async with a_store(db.url) as store:
        taken = await claim(store)
        marks: list[Mark] = [sent(taken, done), retry(retried), failed(gone), Release(released)]
        for _ in range(3):
            assert await store.settle(taken.token, marks) == frozenset()
    found = await db.fetch("SELECT status, claims, failures FROM {table} ORDER BY id")
    assert found == [("sent", 1, 0), ("pending", 1, 1), ("failed", 1, 1), ("pending", 0, 0)]


async def test_a_row_that_another_claim_took_is_told_and_left_alone(db: Database) -> None:
    given = await db.insert(n=4)
    async with a_store(db.url) as slow, a_store(db.url) as quick:
        old = await claim(slow)
        await db.fetch("UPDATE {table} SET claimed_until = now() - interval '1 s' WHERE id <> %s", (given[0],))
        new = await claim(quick)
        assert ids(new) == given[1:]
        marks: list[Mark] = [retry(given[0]), retry(given[1]), failed(given[2]), Release(given[3])]
        assert await slow.settle(old.token, marks) == frozenset(given[1:])
        assert await slow.renew(old.token, given) == frozenset()
        assert await quick.renew(new.token, given) == frozenset(given[1:])
    found = await db.fetch("SELECT claims, failures, claim_token FROM {table} ORDER BY id")
    assert found == [(1, 1, old.token), *[(2, 0, new.token)] * 3]


async def test_a_lease_that_ran_out_is_still_ours_until_somebody_takes_it(db: Database) -> None:
    given = await db.insert(n=2)
    async with a_store(db.url) as store:
        taken = await claim(store)
        await db.fetch("UPDATE {table} SET claimed_until = now() - interval '1 hour'")
        assert await store.renew(taken.token, given[:1]) == frozenset(given[:1])
        assert await store.settle(taken.token, [retry(given[1])]) == frozenset()


async def test_sent_is_the_truth_whoever_holds_the_lease(db: Database) -> None:
    taken_over, given_up = await db.insert(n=2)
    async with a_store(db.url) as slow, a_store(db.url) as quick:
        old = await claim(slow)
        await db.fetch("UPDATE {table} SET claimed_until = now() - interval '1 s'")
        new = await claim(quick)
        await quick.settle(new.token, [failed(given_up)])
        assert await slow.settle(old.token, [sent(old, taken_over), sent(old, given_up)]) == frozenset()
        assert await quick.settle(new.token, [retry(taken_over)]) == frozenset([taken_over])
    assert await db.statuses() == {"sent": 2}


async def test_a_sent_row_keeps_the_time_it_was_first_marked(db: Database) -> None:
    (row_id,) = await db.insert()
    async with a_store(db.url) as store:
        taken = await claim(store)
        await store.settle(taken.token, [sent(taken, row_id)])
        first = await row(db, row_id, "sent_at")
        await store.settle(taken.token, [sent(taken, row_id)])
    assert await row(db, row_id, "sent_at") == first


async def test_a_renewed_lease_lasts_a_whole_lease_from_now(db: Database) -> None:
    given = await db.insert(n=3)
    async with a_store(db.url, lease_s=60.0) as store:
        taken = await claim(store)
        await db.fetch("UPDATE {table} SET claimed_until = now() + interval '1 s'")
        assert await store.renew(taken.token, given[:2]) == frozenset(given[:2])
    left = await db.fetch("SELECT extract(epoch FROM claimed_until - now())::int > 50 FROM {table} ORDER BY id")
    assert left == [(True,), (True,), (False,)]


async def test_a_settled_row_is_not_renewed(db: Database) -> None:
    (row_id,) = await db.insert()
    async with a_store(db.url) as store:
        taken = await claim(store)
        await store.settle(taken.token, [Release(row_id)])
        assert await store.renew(taken.token, [row_id]) == frozenset()
    assert await row(db, row_id, "claimed_until") == (None,)


@pytest.mark.parametrize("text", ["nul \x00 in it", "lone \ud800 surrogate", "x" * 100_000, "", "% %s {} '"])
async def test_no_error_text_keeps_a_mark_from_being_written(db: Database, text: str) -> None:
    given = await db.insert(n=3)
    async with a_store(db.url) as store:
        taken = await claim(store)
        marks: list[Mark] = [retry(given[0], error=text), failed(given[1], text), Release(given[2], text)]
        assert await store.settle(taken.token, marks) == frozenset()
    found = await db.fetch("SELECT status, length(last_error) <= 1000 FROM {table} ORDER BY id")
    assert found == [("pending", True), ("failed", True), ("pending", True)]


async def test_marks_of_rows_that_are_no_more_are_told(db: Database) -> None:
    async with a_store(db.url) as store:
        marks: list[Mark] = [Sent(1, str(uuid4())), retry(2), failed(3), Release(4)]
        assert await store.settle(uuid4(), marks) == frozenset([2, 3, 4])
        assert await store.settle(uuid4(), []) == frozenset()


async def test_a_whole_batch_is_settled_at_once(db: Database) -> None:
    given = await db.insert(n=2000)
    async with a_store(db.url) as store:
        taken = await claim(store, limit=2000)
        marks: list[Mark] = [sent(taken, each) for each in given[:1000]]
        marks += [retry(each, 1.0) for each in given[1000:1500]] + [Release(each) for each in given[1500:]]
        assert await store.settle(taken.token, marks) == frozenset()
    assert await db.statuses() == {"sent": 1000, "pending": 1000}


@pytest.mark.parametrize(
    ("encoding", "kept"), [("WIN1252", r"\u2603 \xfc \ufffd"), ("SQL_ASCII", "☃ ü \N{REPLACEMENT CHARACTER}".encode())]
)
async def test_an_error_text_is_written_whatever_the_encoding(
    postgres: PostgresServer, db: Database, encoding: LiteralString, kept: str | bytes
) -> None:
    await recode(postgres, db, encoding)
    await db.insert(n=3)
    async with a_store(db.url) as store:
        taken = await claim(store)
        text = "☃ ü \x00"
        await store.settle(taken.token, [retry(1, error=text), failed(2, text), Release(3, text)])
    for row_id in (1, 2, 3):
        assert await row(db, row_id, "last_error") == (kept,)

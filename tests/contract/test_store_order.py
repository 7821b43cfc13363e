"""What the engine is promised of a store that keeps order per key: one suite for the double and for Postgres."""

from itertools import chain

import pytest

from relay.model import Claim, Failed, Mark, Refusal, Release, Retry
from relay.ports import Store
from tests.contract.outbox import LEASE_S, MakeOutbox, Outbox
from tests.stores import ids, sent

WHY = "rejected: no"


@pytest.fixture
async def outbox(an_outbox: MakeOutbox) -> Outbox:
    """An empty one, in which order is kept."""
    return await an_outbox(ordered=True)


@pytest.fixture
async def strict(an_outbox: MakeOutbox) -> Outbox:
    """One in which a failed row blocks its key."""
    return await an_outbox(ordered=True, failed_blocks_key=True)


async def claim(store: Store, limit: int = 100) -> Claim:
    """Claim until rows were found or every one was looked at."""
    while not (taken := await store.claim(limit=limit, low=0)).rows and taken.more:
        pass
    return taken


async def send(store: Store, taken: Claim, *row_ids: int) -> None:
    """Mark rows of that claim sent."""
    await store.settle(taken.token, [sent(taken, row_id) for row_id in row_ids])


async def interleaved(outbox: Outbox, n: int = 3) -> dict[str | None, list[int]]:
    """Commit rows of two keys and of none in turns; the ids by key."""
    given: dict[str | None, list[int]] = {"a": [], "b": [], None: []}
    for key in [*given] * n:
        given[key] += await outbox.commit(key=key)
    return given


async def test_a_claim_takes_rows_of_each_key_in_order_and_rows_without_one(outbox: Outbox) -> None:
    given = await interleaved(outbox)
    taken = await claim(outbox.store)
    assert ids(taken) == sorted(chain(*given.values()))
    assert [row.key for row in taken.rows[:3]] == ["a", "b", None]


async def test_rows_behind_one_in_hand_are_not_claimed_and_those_of_other_keys_are(outbox: Outbox) -> None:
    first, second = await outbox.commit(key="a", n=2)
    taken = await claim(outbox.store, limit=1)
    other = await outbox.another()
    (of_b,) = await outbox.commit(key="b")
    assert ids(taken) == [first]
    assert ids(await claim(other)) == [of_b]
    await send(outbox.store, taken, first)
    assert ids(await claim(other)) == [second]


async def test_a_row_that_waits_for_its_retry_blocks_its_key_and_nothing_else(outbox: Outbox) -> None:
    first, second = await outbox.commit(key="a", n=2)
    (of_b,) = await outbox.commit(key="b")
    (loose,) = await outbox.commit()
    taken = await claim(outbox.store)
    marks: list[Mark] = [Retry(first, Refusal.REJECTED, 30.0, WHY), Release(second), Release(of_b), Release(loose)]
    assert await outbox.store.settle(taken.token, marks) == frozenset()
    assert ids(await claim(outbox.store)) == [of_b, loose]
    await outbox.pass_time(31.0)
    assert ids(await claim(outbox.store)) == [first, second]


async def test_a_row_delayed_by_its_producer_blocks_its_key(outbox: Outbox) -> None:
    (first,) = await outbox.commit(key="a", delay_s=30.0)
    (second,) = await outbox.commit(key="a")
    (of_b,) = await outbox.commit(key="b")
    assert ids(await claim(outbox.store)) == [of_b]
    await outbox.pass_time(31.0)
    assert ids(await claim(outbox.store)) == [first, second]


async def test_a_row_given_back_comes_before_the_next_of_its_key(outbox: Outbox) -> None:
    first, second = await outbox.commit(key="a", n=2)
    taken = await claim(outbox.store, limit=1)
    await outbox.store.settle(taken.token, [Release(first)])
    assert ids(await claim(outbox.store, limit=1)) == [first]
    assert ids(await claim(outbox.store, limit=1)) == []
    await outbox.pass_time(LEASE_S + 1.0)
    assert ids(await claim(outbox.store)) == [first, second]


async def test_after_a_relay_died_its_keys_wait_for_its_lease_and_begin_where_it_was(outbox: Outbox) -> None:
    given = await outbox.commit(key="a", n=3)
    dead = await claim(outbox.store, limit=2)
    other = await outbox.another()
    assert ids(dead) == given[:2]
    assert ids(await claim(other)) == []
    await outbox.pass_time(LEASE_S + 1.0)
    assert ids(await claim(other)) == given


async def test_a_claim_whose_reply_was_lost_is_given_back_wherever_its_rows_are(outbox: Outbox) -> None:
    await outbox.commit(key="a", n=2, delay_s=3600.0)
    given = await outbox.commit(key="b", n=2)
    await outbox.unheard("claim", claim(outbox.store))
    await outbox.store.ready()
    taken = await claim(outbox.store)
    assert [(row.id, row.claims) for row in taken.rows] == [(row_id, 1) for row_id in given]


async def test_a_failed_row_frees_its_key(outbox: Outbox) -> None:
    first, second = await outbox.commit(key="a", n=2)
    taken = await claim(outbox.store, limit=1)
    await outbox.store.settle(taken.token, [Failed(first, Refusal.INVALID, WHY)])
    assert ids(await claim(outbox.store)) == [second]


async def test_a_failed_row_blocks_its_key_where_that_is_asked_for_until_it_is_deleted(strict: Outbox) -> None:
    first, second = await strict.commit(key="a", n=2)
    (of_b,) = await strict.commit(key="b")
    taken = await claim(strict.store, limit=1)
    assert ids(taken) == [first]
    await strict.store.settle(taken.token, [Failed(first, Refusal.INVALID, WHY)])
    assert ids(await claim(strict.store)) == [of_b]
    assert ids(await claim(strict.store)) == []
    await strict.delete(first)
    assert ids(await claim(strict.store)) == [second]


async def test_an_empty_claim_that_says_there_is_no_more_looked_at_every_row(outbox: Outbox) -> None:
    """Hundreds of blocked keys stand before the one that is free, more than one look takes."""
    for number in range(250):
        await outbox.commit(key=f"blocked {number:03}", delay_s=3600.0)
    (free,) = await outbox.commit(key="free")
    taken = await claim(outbox.store, limit=1)
    assert ids(taken) == [free]
    await send(outbox.store, taken, free)
    assert ids(await claim(outbox.store, limit=1)) == []


async def test_a_key_with_many_rows_does_not_keep_others_waiting(outbox: Outbox) -> None:
    await outbox.commit(key="hot", n=500)
    (late,) = await outbox.commit(key="cold")
    taken = await claim(outbox.store, limit=100)
    while late not in ids(taken):
        await send(outbox.store, taken, *ids(taken))
        taken = await claim(outbox.store, limit=100)
        assert ids(taken)

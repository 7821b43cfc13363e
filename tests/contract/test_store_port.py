"""What the engine is promised of a store: one suite for the double and for Postgres, so that either may be believed.

The suite cannot catch what the double has no notion of: rows locked by another session and inserts not yet committed
(the double has no transactions), what a claim costs the server, a table that is wrong, payloads that are no JSON, names
too long for a message, and the size of an error text. Only Postgres is asked about these, in tests/integration.
"""

import asyncio
from itertools import chain
from uuid import UUID

import pytest

from relay.decide import SUSPECT_CLAIMS
from relay.model import Claim, Failed, Fault, Mark, Refusal, Release, Retry, Sent
from relay.ports import Store, StoreUnavailable
from tests.contract.outbox import LEASE_S, SLOW_S, MakeOutbox, Outbox, Seen
from tests.stores import ids, sent

WHY = "rejected: no"
NOBODY = UUID(int=2**127)


@pytest.fixture
async def outbox(an_outbox: MakeOutbox) -> Outbox:
    """An empty one."""
    return await an_outbox()


async def claim(store: Store, limit: int = 100, low: int = 0) -> Claim:
    """Claim, by default everything."""
    return await store.claim(limit=limit, low=low)


async def found(store: Store, limit: int = 100, low: int = 0) -> tuple[list[int], bool]:
    """Claim; the ids and whether there are more."""
    taken = await claim(store, limit, low)
    return ids(taken), taken.more


def retry(row_id: int, delay_s: float = 0.0) -> Retry:
    """A retry."""
    return Retry(row_id, Refusal.REJECTED, delay_s, WHY)


def failed(row_id: int) -> Failed:
    """A giving up."""
    return Failed(row_id, Refusal.REJECTED, WHY)


# -- which rows a claim takes -----------------------------------------------------------------------------------


async def test_rows_come_by_id_up_to_the_limit_and_more_are_announced(outbox: Outbox) -> None:
    await outbox.commit(n=5)
    assert await found(outbox.store, limit=3) == ([1, 2, 3], True)
    assert await found(outbox.store, limit=3) == ([4, 5], False)
    assert await found(outbox.store, limit=3) == ([], False)


async def test_a_claim_that_its_limit_just_held_says_that_there_may_be_more(outbox: Outbox) -> None:
    await outbox.commit(n=2)
    assert await found(outbox.store, limit=2) == ([1, 2], True)


async def test_rows_below_the_low_mark_are_left(outbox: Outbox) -> None:
    await outbox.commit(n=5)
    assert await found(outbox.store, low=4) == ([4, 5], False)
    assert await found(outbox.store, limit=2, low=2) == ([2, 3], True)
    assert await found(outbox.store) == ([1], False)


async def test_a_claim_looks_at_one_window_and_tells_which_row_waits_behind_it(an_outbox: MakeOutbox) -> None:
    outbox = await an_outbox(scan_ids=10)
    await outbox.commit(n=25, delay_s=50)
    await outbox.commit()
    await outbox.commit(delay_s=50)
    store = outbox.store

    async def seen(low: int) -> tuple[list[int], bool, int | None]:
        taken = await claim(store, low=low)
        return ids(taken), taken.more, taken.beyond

    assert await seen(0) == ([], False, 10)
    assert await seen(10) == ([], False, 20)
    assert await seen(15) == ([], False, 25)
    await outbox.delete(25)
    assert await seen(15) == ([], False, 26)
    assert await seen(17) == ([26], False, 27)
    assert await seen(20) == ([], False, None)
    assert await seen(2**63 - 2) == ([], False, None)


async def test_a_row_committed_late_is_found_from_the_start_only(outbox: Outbox) -> None:
    late = await outbox.reserve()
    await outbox.commit(n=2)
    assert await found(outbox.store) == ([2, 3], False)
    await outbox.commit(id=late)
    assert await found(outbox.store, low=2) == ([], False)
    assert await found(outbox.store) == ([1], False)


async def test_a_row_that_is_not_due_waits(outbox: Outbox) -> None:
    await outbox.commit(delay_s=50)
    await outbox.commit()
    assert await found(outbox.store) == ([2], False)
    await outbox.pass_time(30)
    assert await found(outbox.store) == ([], False)
    await outbox.pass_time(21)
    assert await found(outbox.store) == ([1], False)


async def test_rows_in_other_hands_are_passed_by(outbox: Outbox) -> None:
    await outbox.commit(n=3)
    rival = await outbox.another()
    assert await found(rival, limit=2) == ([1, 2], True)
    assert await found(outbox.store) == ([3], False)
    assert await found(rival) == ([], False)


async def test_rows_that_are_sent_or_failed_are_never_claimed_again(outbox: Outbox) -> None:
    await outbox.commit(n=2)
    taken = await claim(outbox.store)
    await outbox.store.settle(taken.token, [sent(taken, 1), failed(2)])
    await outbox.pass_time(10 * LEASE_S)
    assert await found(outbox.store) == ([], False)


async def test_two_relays_never_take_the_same_row(outbox: Outbox) -> None:
    await outbox.commit(n=300)

    async def drain(store: Store) -> list[int]:
        taken: list[int] = []
        while some := (await found(store, limit=7))[0]:
            taken += some
        return taken

    stores = outbox.store, await outbox.another()
    for store in stores:
        await store.ready()
        await store.settle(NOBODY, [Sent(10**9, str(NOBODY))])  # opens the connection
    parts = await asyncio.gather(*map(drain, stores))
    assert sorted(chain(*parts)) == list(range(1, 301))
    assert all(parts), "one got nothing, so nothing was shown"


# -- what a claim tells of a row --------------------------------------------------------------------------------


async def test_a_row_comes_as_its_producer_wrote_it(outbox: Outbox) -> None:
    await outbox.commit(n=2, payload='{"order": 41}', headers='{"tenant": "a"}')
    first, second = (await claim(outbox.store)).rows
    assert (first.payload, first.payload_bytes) == (b'{"order": 41}', 13)
    assert (first.headers, first.properties, first.content_type) == ('{"tenant": "a"}', "{}", "application/json")
    assert (first.routing_key, first.exchange, first.key) == ("order.created", None, None)
    assert first.message_id != second.message_id
    assert first.created_at > 1_600_000_000


async def test_the_counters_already_include_the_claim(outbox: Outbox) -> None:
    await outbox.commit()
    (taken,) = (await claim(outbox.store)).rows
    assert (taken.claims, taken.failures, taken.unanswered, taken.doubtful) == (1, 0, 0, False)
    assert await outbox.see(1) == Seen("pending", 1, 0, leased=True, note=None)


async def test_a_row_waits_since_it_became_due(outbox: Outbox) -> None:
    """A delay of its producer's is no waiting."""
    await outbox.commit(age_s=3600, delay_s=-100)
    (taken,) = (await claim(outbox.store)).rows
    assert taken.waited_s == pytest.approx(100, abs=20)


async def test_a_retry_does_not_make_a_row_young(outbox: Outbox) -> None:
    await outbox.commit(age_s=3600)
    taken = await claim(outbox.store)
    await outbox.store.settle(taken.token, [retry(1, 600)])
    await outbox.pass_time(700)
    (again,) = (await claim(outbox.store)).rows
    assert again.waited_s == pytest.approx(4300, abs=20)


async def test_a_claim_is_dated_before_it_was_sent(outbox: Outbox) -> None:
    """Else a relay would believe in its lease for longer than it lasts."""
    await outbox.commit()
    before = outbox.now()
    taken, let_through_at = await outbox.slowly(claim(outbox.store))
    assert isinstance(taken, Claim)
    assert before <= taken.taken_at <= let_through_at - SLOW_S / 2


# -- bytes ------------------------------------------------------------------------------------------------------


def document(size: int) -> str:
    """A JSON text of that many bytes."""
    return '"' + "y" * (size - 2) + '"'


def headers(size: int) -> str:
    """Headers of that many bytes."""
    return '{"x": ' + document(size - 7) + "}"


@pytest.mark.parametrize(("batch_bytes", "fit"), [(3012, 3), (3011, 2)])
async def test_a_claim_is_cut_by_payloads_headers_and_properties(
    an_outbox: MakeOutbox, batch_bytes: int, fit: int
) -> None:
    """Each row has 1000 bytes of payload and two of empty headers, and of properties."""
    outbox = await an_outbox(batch_bytes=batch_bytes)
    await outbox.commit(n=5, payload=document(1000))
    assert await found(outbox.store) == ([1, 2, 3][:fit], True)


async def test_large_headers_cut_a_claim_too(an_outbox: MakeOutbox) -> None:
    outbox = await an_outbox(batch_bytes=2500)
    await outbox.commit(n=3, headers=headers(1000))
    assert await found(outbox.store) == ([1, 2], True)


async def test_what_the_bytes_cut_off_comes_next(an_outbox: MakeOutbox) -> None:
    outbox = await an_outbox(batch_bytes=3500)
    await outbox.commit(n=7, payload=document(1000))
    assert [await found(outbox.store) for _ in range(4)] == [
        ([1, 2, 3], True),
        ([4, 5, 6], True),
        ([7], False),
        ([], False),
    ]


async def test_a_row_over_the_bytes_of_a_claim_comes_alone(an_outbox: MakeOutbox) -> None:
    outbox = await an_outbox(batch_bytes=500)
    await outbox.commit(n=2, payload=document(1000))
    assert await found(outbox.store) == ([1], True)
    assert (await found(outbox.store))[0] == [2]


async def test_a_payload_over_the_largest_message_is_told_but_not_fetched(an_outbox: MakeOutbox) -> None:
    outbox = await an_outbox(message_bytes_max=1000)
    await outbox.commit(payload=document(1000))
    await outbox.commit(payload=document(1001), headers='{"tenant": "a"}')
    await outbox.commit()
    fits, large, small = (await claim(outbox.store)).rows
    assert (fits.payload_bytes, fits.payload is None) == (1000, False)
    assert (large.payload_bytes, large.payload, large.headers, large.properties) == (1001, None, "{}", "{}")
    assert small.payload == b'{"n": 1}'


async def test_headers_over_the_largest_message_are_told_as_a_payload_is(an_outbox: MakeOutbox) -> None:
    outbox = await an_outbox(message_bytes_max=1000)
    await outbox.commit(headers=headers(2000))
    (taken,) = (await claim(outbox.store)).rows
    assert (taken.payload_bytes, taken.payload, taken.headers) == (2002, None, "{}")


# -- leases -----------------------------------------------------------------------------------------------------


async def test_a_lease_that_ran_out_frees_the_row_and_leaves_a_claim_unanswered(outbox: Outbox) -> None:
    await outbox.commit()
    rival = await outbox.another()
    await claim(outbox.store)
    await outbox.pass_time(LEASE_S - 20)
    assert await found(rival) == ([], False)
    await outbox.pass_time(21)
    (taken,) = (await claim(rival)).rows
    assert (taken.claims, taken.failures, taken.unanswered, taken.doubtful) == (2, 0, 1, False)


@pytest.mark.parametrize(("deaths", "claims"), [(SUSPECT_CLAIMS - 1, [[1, 2, 3]]), (SUSPECT_CLAIMS, [[1], [2], [3]])])
async def test_a_suspected_killer_is_claimed_with_nothing_else(
    outbox: Outbox, deaths: int, claims: list[list[int]]
) -> None:
    await outbox.commit(n=3)
    for _ in range(deaths):
        assert await found(outbox.store, limit=1, low=2) == ([2], True)
        await outbox.pass_time(LEASE_S + 1)
    assert [(await found(outbox.store))[0] for _ in claims] == claims


async def test_a_renewed_lease_lasts_as_long_as_a_new_one(outbox: Outbox) -> None:
    await outbox.commit(n=3)
    taken = await claim(outbox.store)
    await outbox.pass_time(LEASE_S - 20)
    assert await outbox.store.renew(taken.token, [3, 1]) == frozenset({1, 3})
    await outbox.pass_time(LEASE_S - 20)
    assert await found(outbox.store) == ([2], False)
    await outbox.pass_time(21)
    assert await found(outbox.store) == ([1, 3], False)


async def test_only_rows_that_are_still_ours_are_renewed(outbox: Outbox) -> None:
    await outbox.commit(n=4)
    taken = await claim(outbox.store)
    await outbox.store.settle(taken.token, [sent(taken, 1), Release(2), retry(3)])
    assert await outbox.store.renew(taken.token, [1, 2, 3, 4, 99]) == frozenset({4})
    assert await outbox.store.renew(NOBODY, [4]) == frozenset()
    assert await outbox.store.renew(taken.token, []) == frozenset()
    assert [(await outbox.see(row_id)).leased for row_id in (1, 2, 3, 4)] == [False, False, False, True]


async def test_a_lease_that_ran_out_is_ours_until_somebody_takes_the_row(outbox: Outbox) -> None:
    await outbox.commit(n=2)
    taken = await claim(outbox.store)
    await outbox.pass_time(2 * LEASE_S)
    assert await outbox.store.renew(taken.token, [1]) == frozenset({1})
    assert await outbox.store.settle(taken.token, [retry(2)]) == frozenset()
    assert await outbox.see(1) == Seen("pending", 1, 0, leased=True, note=None)
    assert await outbox.see(2) == Seen("pending", 1, 1, leased=False, note=WHY)


# -- marks ------------------------------------------------------------------------------------------------------


async def test_each_mark_is_written_to_its_row(outbox: Outbox) -> None:
    await outbox.commit(n=5)
    taken = await claim(outbox.store)
    marks: list[Mark] = [sent(taken, 1), retry(2), failed(3), Release(4), Release(5, "it may have arrived")]
    assert await outbox.store.settle(taken.token, marks) == frozenset()
    assert [await outbox.see(row_id) for row_id in (1, 2, 3, 4, 5)] == [
        Seen("sent", 1, 0, leased=False, note=None),
        Seen("pending", 1, 1, leased=False, note=WHY),
        Seen("failed", 1, 1, leased=False, note=WHY),
        Seen("pending", 0, 0, leased=False, note=None),
        Seen("pending", 0, 0, leased=False, note="it may have arrived"),
    ]


async def test_a_retry_waits_as_long_as_it_was_told(outbox: Outbox) -> None:
    await outbox.commit()
    taken = await claim(outbox.store)
    await outbox.store.settle(taken.token, [retry(1, 100)])
    await outbox.pass_time(80)
    assert await found(outbox.store) == ([], False)
    await outbox.pass_time(21)
    (again,) = (await claim(outbox.store)).rows
    assert (again.claims, again.failures, again.unanswered, again.doubtful) == (2, 1, 0, True)


async def test_a_released_row_is_as_if_it_had_never_been_claimed(outbox: Outbox) -> None:
    await outbox.commit()
    for _ in range(5):
        taken = await claim(outbox.store)
        (row,) = taken.rows
        assert (row.claims, row.failures, row.unanswered, row.doubtful) == (1, 0, 0, False)
        await outbox.store.settle(taken.token, [Release(1)])


async def test_a_note_of_doubt_stays_until_the_row_is_sent(outbox: Outbox) -> None:
    await outbox.commit()
    for doubt in ("lost", None, None):
        taken = await claim(outbox.store)
        await outbox.store.settle(taken.token, [Release(1, doubt)])
    (row,) = (await claim(outbox.store)).rows
    assert (row.claims, row.doubtful) == (1, True)
    assert (await outbox.see(1)).note == "lost"


async def test_marks_of_a_lease_that_was_lost_are_refused_and_change_nothing(outbox: Outbox) -> None:
    await outbox.commit(n=4)
    old = await claim(outbox.store)
    await outbox.store.settle(old.token, [Release(4)])
    await outbox.pass_time(LEASE_S + 1)
    rival = await outbox.another()
    new = await claim(rival)
    marks: list[Mark] = [retry(1), failed(2), Release(3, "doubt"), Release(4, "doubt")]
    assert await outbox.store.settle(old.token, marks) == frozenset({1, 2, 3, 4})
    assert await outbox.store.renew(old.token, [1, 2, 3, 4]) == frozenset()
    assert [await outbox.see(row_id) for row_id in (1, 2, 3)] == [Seen("pending", 2, 0, leased=True, note=None)] * 3
    assert await outbox.see(4) == Seen("pending", 1, 0, leased=True, note=None)
    assert await rival.renew(new.token, [1, 2, 3, 4]) == frozenset({1, 2, 3, 4})
    assert await rival.settle(new.token, [retry(1), failed(2), Release(3), Release(4)]) == frozenset()


async def test_sent_is_the_truth_whoever_holds_the_lease(outbox: Outbox) -> None:
    await outbox.commit(n=2)
    old = await claim(outbox.store)
    await outbox.pass_time(LEASE_S + 1)
    rival = await outbox.another()
    new = await claim(rival)
    await rival.settle(new.token, [failed(2)])
    assert await outbox.store.settle(old.token, [sent(old, 1), sent(old, 2)]) == frozenset()
    assert [(await outbox.see(row_id)).status for row_id in (1, 2)] == ["sent", "sent"]
    assert await rival.renew(new.token, [1]) == frozenset()
    assert await rival.settle(new.token, [retry(1)]) == frozenset({1})
    assert await rival.settle(new.token, [sent(new, 1)]) == frozenset()
    assert (await outbox.see(1)) == Seen("sent", 2, 0, leased=False, note=None)


async def test_no_mark_comes_after_sent_under_the_same_lease(outbox: Outbox) -> None:
    await outbox.commit()
    taken = await claim(outbox.store)
    await outbox.store.settle(taken.token, [sent(taken, 1)])
    for mark in (retry(1), failed(1), Release(1, "doubt")):
        assert await outbox.store.settle(taken.token, [mark]) == frozenset({1})
    assert await outbox.see(1) == Seen("sent", 1, 0, leased=False, note=None)


async def test_marks_written_twice_under_one_token_count_once_and_lose_nothing(outbox: Outbox) -> None:
    await outbox.commit(n=4)
    taken = await claim(outbox.store)
    marks: list[Mark] = [sent(taken, 1), retry(2), failed(3), Release(4)]
    for _ in range(3):
        assert await outbox.store.settle(taken.token, marks) == frozenset()
    assert [await outbox.see(row_id) for row_id in (1, 2, 3, 4)] == [
        Seen("sent", 1, 0, leased=False, note=None),
        Seen("pending", 1, 1, leased=False, note=WHY),
        Seen("failed", 1, 1, leased=False, note=WHY),
        Seen("pending", 0, 0, leased=False, note=None),
    ]


async def test_marks_of_rows_that_are_no_more_are_told(outbox: Outbox) -> None:
    await outbox.commit(n=4)
    taken = await claim(outbox.store)
    for row_id in (1, 2, 3, 4):
        await outbox.delete(row_id)
    marks: list[Mark] = [sent(taken, 1), retry(2), failed(3), Release(4)]
    assert await outbox.store.settle(taken.token, marks) == frozenset({2, 3, 4})
    assert await outbox.store.renew(taken.token, [1, 2]) == frozenset()


@pytest.mark.parametrize("text", ["nul \x00 in it", "lone \ud800 surrogate", "x" * 100_000, "", "% %s {} '"])
async def test_no_error_text_keeps_a_mark_from_being_written(outbox: Outbox, text: str) -> None:
    await outbox.commit(n=3)
    taken = await claim(outbox.store)
    marks: list[Mark] = [
        Retry(1, Refusal.REJECTED, 0.0, text),
        Failed(2, Refusal.REJECTED, text),
        Release(3, text),
    ]
    assert await outbox.store.settle(taken.token, marks) == frozenset()
    assert [(await outbox.see(row_id)).status for row_id in (1, 2, 3)] == ["pending", "failed", "pending"]
    assert [row.doubtful for row in (await claim(outbox.store)).rows] == [True, True]


# -- a database that is gone, or does not answer ----------------------------------------------------------------


async def test_without_the_database_every_call_says_so_and_all_goes_on_when_it_is_back(outbox: Outbox) -> None:
    await outbox.commit(n=3)
    await outbox.store.ready()
    taken = await claim(outbox.store, limit=2)
    await outbox.cut()
    await outbox.store.ready()  # costs nothing after it succeeded, so it does not notice
    for told in await asyncio.gather(
        claim(outbox.store),
        outbox.store.renew(taken.token, [1, 2]),
        outbox.store.settle(taken.token, [sent(taken, 1), Release(2)]),
        return_exceptions=True,
    ):
        assert isinstance(told, StoreUnavailable)
        assert told.fault in {Fault.REFUSED, Fault.LOST, Fault.TIMEOUT, Fault.UNREACHABLE}
        assert told.detail
    for _ in range(2):
        with pytest.raises(StoreUnavailable) as why:
            await outbox.store.ready()
        assert why.value.fault is Fault.REFUSED, "what it says when asked again is the true reason"
    await outbox.heal()
    await outbox.store.ready()
    assert await outbox.store.renew(taken.token, [1, 2]) == frozenset({1, 2})
    assert await outbox.store.settle(taken.token, [sent(taken, 1), Release(2)]) == frozenset()
    assert await found(outbox.store) == ([2, 3], False)
    assert await outbox.see(3) == Seen("pending", 1, 0, leased=True, note=None)


async def test_a_claim_of_which_nobody_heard_is_given_back_as_if_it_had_never_been(outbox: Outbox) -> None:
    """Again and again, or an outage would make the row look as if it had killed its relay."""
    await outbox.commit()
    for _ in range(3):
        await outbox.unheard("claim", claim(outbox.store))
        assert await outbox.see(1) == Seen("pending", 1, 0, leased=True, note=None)
        await outbox.store.ready()
        assert await outbox.see(1) == Seen("pending", 0, 0, leased=False, note=None)
    (row,) = (await claim(outbox.store)).rows
    assert (row.claims, row.unanswered, row.doubtful) == (1, 0, False)


async def test_a_claim_of_which_nobody_heard_is_not_given_back_from_other_hands(outbox: Outbox) -> None:
    await outbox.commit()
    rival = await outbox.another()
    await outbox.unheard("claim", claim(outbox.store))
    await outbox.pass_time(LEASE_S + 1)
    (row,) = (await claim(rival)).rows
    assert (row.claims, row.unanswered) == (2, 1)
    await outbox.store.ready()
    assert await outbox.see(1) == Seen("pending", 2, 0, leased=True, note=None)


async def test_a_cancelled_claim_is_given_back_too(outbox: Outbox) -> None:
    await outbox.commit()
    await outbox.cancelled(claim(outbox.store))
    await outbox.store.ready()
    assert await outbox.see(1) == Seen("pending", 0, 0, leased=False, note=None)
    assert await found(outbox.store) == ([1], False)


async def test_marks_of_which_nobody_heard_are_written_again_without_harm(outbox: Outbox) -> None:
    await outbox.commit(n=3)
    taken = await claim(outbox.store)
    marks: list[Mark] = [retry(1), failed(2), Release(3)]
    await outbox.unheard("settle", outbox.store.settle(taken.token, marks))
    assert await outbox.store.settle(taken.token, marks) == frozenset()
    assert [await outbox.see(row_id) for row_id in (1, 2, 3)] == [
        Seen("pending", 1, 1, leased=False, note=WHY),
        Seen("failed", 1, 1, leased=False, note=WHY),
        Seen("pending", 0, 0, leased=False, note=None),
    ]


async def test_marks_of_which_some_were_written_are_completed(outbox: Outbox) -> None:
    await outbox.commit(n=3)
    taken = await claim(outbox.store)
    marks: list[Mark] = [retry(1), sent(taken, 2), Release(3)]
    await outbox.halfway(outbox.store.settle(taken.token, marks))
    assert await outbox.see(1) == Seen("pending", 1, 0, leased=True, note=None)
    assert await outbox.see(2) == Seen("sent", 1, 0, leased=False, note=None)
    assert await outbox.store.settle(taken.token, marks) == frozenset()
    assert await outbox.see(1) == Seen("pending", 1, 1, leased=False, note=WHY)
    assert await outbox.see(3) == Seen("pending", 0, 0, leased=False, note=None)


async def test_a_renewal_of_which_nobody_heard_counts_and_can_be_asked_for_again(outbox: Outbox) -> None:
    await outbox.commit()
    taken = await claim(outbox.store)
    await outbox.pass_time(LEASE_S - 20)
    await outbox.unheard("renew", outbox.store.renew(taken.token, [1]))
    await outbox.pass_time(LEASE_S - 20)
    assert await found(await outbox.another()) == ([], False)
    assert await outbox.store.renew(taken.token, [1]) == frozenset({1})

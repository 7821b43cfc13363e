"""What becomes of rows, by what the broker said of them."""

from collections.abc import Callable, Sequence

import pytest

from relay.decide import RetryPolicy
from relay.envelope import ATTEMPT_HEADER
from relay.model import Answer, Doubt, Envelope, Refusal, Refused, Release, Retry, TickReport
from tests.doubles import Bench, Fate

MakeBench = Callable[..., Bench]


async def test_confirmed_rows_are_marked_while_others_still_wait(bench: Bench) -> None:
    bench.store.commit(n=5)
    bench.publisher.next[3].append(Fate.SILENCE)
    async with bench.running():
        await bench.until(lambda: bench.store.ids("sent") == [1, 2, 4, 5])
        assert (bench.elapsed_s < 0.1, bench.publisher.in_flight) == (True, 1)
        bench.publisher.let_go()


@pytest.mark.parametrize("reason", [Refusal.UNROUTABLE, Refusal.REJECTED, Refusal.NO_EXCHANGE, Refusal.FORBIDDEN])
async def test_a_refused_row_waits_and_is_tried_again_until_it_fails(bench: Bench, reason: Refusal) -> None:
    bench.store.commit(n=3)
    bench.publisher.always[2] = Refused(reason, "no way")
    async with bench.running():
        await bench.until(lambda: bench.store.ids("failed") == [2])
    assert (bench.store.rows[2].reason, bench.store.rows[2].failures) == (reason, 3)
    assert (bench.publisher.rows().count(2), bench.store.ids("sent")) == (3, [1, 3])
    assert bench.store.rows[2].last_error == f"{reason}: no way"


async def test_a_refused_row_that_is_routable_later_is_sent(bench: Bench) -> None:
    bench.store.commit()
    bench.publisher.next[1].append(Refused(Refusal.UNROUTABLE, "no queue is bound"))
    async with bench.running():
        await bench.until(lambda: bench.store.ids("sent") == [1])
    assert (bench.store.rows[1].failures, bench.publisher.arrived[1]) == (1, 1)


async def test_an_invalid_row_fails_at_once_and_never_reaches_the_publisher(bench: Bench) -> None:
    bench.store.commit(n=2)
    bench.store.commit(routing_key="x" * 300)
    bench.store.commit(headers='{"price": 0.1}')
    await bench.drain()
    assert (bench.publisher.rows(), bench.store.ids("failed")) == ([1, 2], [3, 4])
    assert {bench.store.rows[row_id].reason for row_id in (3, 4)} == {Refusal.INVALID}


async def test_an_oversize_row_fails_although_its_payload_was_never_fetched(bench: Bench) -> None:
    bench.store.commit(payload=b"x" * (2**20 + 1))
    bench.store.commit()
    await bench.drain()
    assert (bench.store.rows[1].reason, bench.publisher.rows()) == (Refusal.TOO_LARGE, [2])


async def test_rows_left_unknown_are_published_again_alone_and_only_the_guilty_one_is_charged(bench: Bench) -> None:
    bench.store.commit(n=10)
    bench.publisher.confirm_s = 0.2
    bench.publisher.always[4] = Fate.CLOSE_CHANNEL
    async with bench.running():
        await bench.until(lambda: bench.store.ids("failed") == [4])
        await bench.until(lambda: not bench.store.ids("pending"))
    assert bench.publisher.published[:5] == [list(range(1, 11)), [1], [2], [3], [4]]
    assert sorted(bench.publisher.rows()) == sorted([*range(1, 11), *range(1, 11), 4, 4])
    assert {row_id: bench.store.rows[row_id].failures for row_id in range(1, 11)} == {
        row_id: 3 if row_id == 4 else 0 for row_id in range(1, 11)
    }
    assert bench.store.rows[4].reason == Refusal.BLAMED
    assert all(bench.publisher.arrived[row_id] <= 2 for row_id in range(1, 11))


async def test_rows_left_unknown_are_counted_as_possible_duplicates(bench: Bench) -> None:
    bench.store.commit(n=3)
    bench.publisher.next[2].append(Fate.CLOSE_CHANNEL)
    await bench.drain()
    assert [dict(report.doubts) for report in bench.observer.reports] == [{Doubt.CHANNEL_CLOSED: 2}]


async def test_what_quarantine_publishes_again_says_that_it_may_be_a_repetition(bench: Bench) -> None:
    attempts: list[dict[int, object]] = []
    bench.publisher.on_publish = lambda envelopes: attempts.append(
        {envelope.row_id: envelope.headers.get(ATTEMPT_HEADER) for envelope in envelopes}
    )
    bench.store.commit(n=3)
    bench.publisher.next[2].append(Fate.CLOSE_CHANNEL)
    await bench.drain()
    assert attempts == [{1: None, 2: None, 3: None}, {2: 2}, {3: 2}]


async def test_a_message_published_alone_has_nothing_beside_it_on_any_lane(a_bench: MakeBench) -> None:
    bench = a_bench(batch_size=10, lanes=4)
    bench.store.commit(n=100)
    bench.publisher.confirm_s = 0.1
    for poison in (5, 15, 25, 35):
        bench.publisher.always[poison] = Fate.CLOSE_CONNECTION
    async with bench.running():
        await bench.until(lambda: len(bench.store.ids("sent")) == 96, within_s=60)
        await bench.until(lambda: not bench.store.ids("pending"))
    assert bench.store.ids("failed") == [5, 15, 25, 35]
    assert {stored.failures for row_id, stored in bench.store.rows.items() if row_id not in {5, 15, 25, 35}} == {0}
    assert (1, 0) in bench.publisher.beside


async def test_two_killers_of_the_connection_on_two_lanes_are_both_found(a_bench: MakeBench) -> None:
    bench = a_bench(batch_size=1, retry=RetryPolicy(max_failures=1))
    bench.store.commit(n=2)
    bench.publisher.holding = True
    bench.publisher.always = {1: Fate.CLOSE_CONNECTION, 2: Fate.CLOSE_CONNECTION}
    await bench.drain(within_s=60)
    assert bench.store.ids("failed") == [1, 2]


async def test_a_row_unknown_though_alone_is_blamed(bench: Bench) -> None:
    """Whatever a publisher calls it: nothing else was in flight."""
    bench.store.commit()
    bench.engine._suspects.add(1)
    bench.publisher.next[1].append(Fate.CLOSE_CHANNEL)
    bench.publisher.unknown_alone = True
    async with bench.running():
        await bench.observer.seen("tick")
        assert [type(mark) for mark in bench.store.marks] == [Retry]
        assert bench.store.rows[1].last_error == "blamed: closed with others in flight"


async def test_a_lost_connection_gives_the_rows_back_without_a_charge(bench: Bench) -> None:
    bench.store.commit(n=5)
    bench.publisher.next[3].append(Fate.LOSE_CONNECTION)
    async with bench.running():
        await bench.observer.seen("broker Outage")
        await bench.until(lambda: not bench.store.leased())
        assert [(stored.claims, stored.failures) for stored in bench.store.rows.values()][2:] == [(0, 0)] * 3
        assert [mark.row_id for mark in bench.store.marks if isinstance(mark, Release)] == [3, 4, 5]
        await bench.until(lambda: len(bench.store.ids("sent")) == 5)
    assert bench.observer.reports[0].doubts == {Doubt.CONNECTION_LOST: 3}


async def test_a_row_that_may_have_arrived_says_so_when_it_is_published_again(bench: Bench) -> None:
    bench.store.commit()
    bench.publisher.next[1].append(Fate.LOSE_CONNECTION)
    headers: list[object] = []
    bench.publisher.on_publish = lambda sent: headers.extend(each.headers.get("x-outbox-attempt") for each in sent)
    async with bench.running():
        await bench.until(lambda: bench.store.ids("sent") == [1])
    assert headers == [None, 2]


async def test_when_the_broker_goes_down_in_quarantine_the_rest_goes_back_and_stays_under_suspicion(
    bench: Bench,
) -> None:
    bench.store.commit(n=4)
    bench.publisher.confirm_s = 0.2
    bench.publisher.next[1].append(Fate.CLOSE_CHANNEL)
    bench.publisher.next[2].append(Fate.LOSE_CONNECTION)
    async with bench.running():
        await bench.until(lambda: len(bench.store.ids("sent")) == 4)
    alone = bench.publisher.published[1:]
    assert alone == [[1], [2], [2], [3], [4]]
    assert {stored.failures for stored in bench.store.rows.values()} == {0}


async def test_a_row_that_closed_a_connection_harms_no_neighbour_when_it_is_tried_again(bench: Bench) -> None:
    bench.store.commit()
    bench.publisher.always[1] = Fate.CLOSE_CONNECTION
    async with bench.running():
        await bench.observer.seen("tick")
        bench.store.rows[1].available_at = bench.now()
        bench.store.commit(n=20)
        await bench.until(lambda: bench.store.ids("failed") == [1])
    assert (bench.observer.total("confirmed"), max(bench.publisher.arrived.values())) == (20, 1)
    assert not bench.engine._suspects


async def test_the_number_of_suspects_remembered_is_bounded(
    a_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.engine.carry.SUSPECTS_MAX", 3)
    bench = a_bench()
    bench.store.commit(n=8)
    bench.publisher.confirm_s = 0.1
    bench.publisher.next[8].append(Fate.CLOSE_CHANNEL)
    async with bench.running():
        await bench.observer.seen("turn", 5)
        assert len(bench.engine._suspects) <= 3
        await bench.until(lambda: len(bench.store.ids("sent")) == 8)


async def test_the_report_of_a_batch_adds_up(bench: Bench) -> None:
    bench.store.commit(n=3)
    bench.store.commit(headers="[]")
    bench.publisher.next[2].append(Refused(Refusal.REJECTED, "full"))
    async with bench.running():
        await bench.observer.seen("tick")
    (report,) = bench.observer.reports[:1]
    outcomes = {"confirmed": 2, "rejected": 1, "invalid": 1}
    seconds = (report.delays_s, report.claim_s, report.publish_s, report.carry_s)
    examples = {Refusal.REJECTED: "row 2: full", Refusal.INVALID: "row 4: headers must be a JSON object"}
    assert report == TickReport(4, outcomes, 1, {Refusal.INVALID: 1}, 0, {}, *seconds, examples)
    assert len(report.delays_s) == 2
    assert 0 <= report.publish_s <= report.carry_s < 0.001


async def test_the_delay_counts_from_when_the_row_was_due(bench: Bench) -> None:
    async with bench.running():
        await bench.until(lambda: bench.elapsed_s > 10)
        bench.store.commit()
        due_at = bench.now()
        await bench.observer.seen("tick")
        assert bench.observer.reports[0].delays_s == pytest.approx((bench.now() - due_at,), abs=0.001)


async def test_a_batch_whose_answers_do_not_add_up_crashes_loudly(bench: Bench) -> None:
    bench.store.commit(n=2)
    bench.publisher.forgets.add(2)
    with pytest.raises(ExceptionGroup) as caught:
        await bench.drain()
    assert caught.group_contains(AssertionError, match="rows went missing: 2 claimed, 1 open")


async def test_a_row_answered_twice_crashes_loudly(bench: Bench) -> None:
    bench.store.commit(n=2)

    def answer_again(sent: Sequence[Envelope]) -> None:
        bench.publisher.extra.append(Answer(sent[0].row_id, Refused(Refusal.REJECTED, "again")))

    bench.publisher.on_publish = answer_again
    with pytest.raises(ExceptionGroup) as caught:
        await bench.drain()
    assert caught.group_contains(KeyError)

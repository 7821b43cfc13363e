"""The demo's verdict: what is lost, what is a phantom, what is a duplicate, and what nobody can know."""

from dataclasses import replace

import pytest

from demo.report import lines, sentences
from demo.verdict import Arrival, Fate, Order, Verdict, judge

COMMITTED = Order("content", Fate.COMMITTED)
ROLLED_BACK = Order("content", Fate.ROLLED_BACK)
UNKNOWN = Order("content", Fate.UNKNOWN)
ORDERS = {"a": COMMITTED, "b": COMMITTED, "r": ROLLED_BACK}


def came(message_id: str, content: str = "content", *, redelivered: bool = False) -> Arrival:
    return Arrival(message_id, content, redelivered)


def test_a_run_without_a_fault_keeps_every_promise() -> None:
    verdict = judge(ORDERS, [came("a"), came("b")], duplicates_max=0)

    assert verdict == Verdict(
        committed=2,
        rolled_back=1,
        unknown=0,
        delivered=2,
        lost=(),
        phantom=(),
        altered=(),
        duplicates=0,
        redelivered=0,
        duplicates_max=0,
    )
    assert verdict.problems == ()
    assert sentences(verdict, []) == ["Every committed order arrived, and nothing else did. None came twice."]


def test_a_committed_order_that_never_arrives_is_lost() -> None:
    verdict = judge(ORDERS, [came("a")], duplicates_max=0)

    assert verdict.lost == ("b",)
    assert verdict.problems == ("1 message was committed and never arrived, such as b.",)


@pytest.mark.parametrize("message_id", ["r", "from nowhere"])
def test_a_message_nobody_committed_is_a_phantom(message_id: str) -> None:
    verdict = judge(ORDERS, [came("a"), came("b"), came(message_id)], duplicates_max=0)

    assert (verdict.phantom, verdict.delivered) == ((message_id,), 2)
    assert verdict.problems == (f"1 message was never committed and arrived, such as {message_id}.",)


def test_a_message_that_says_something_else_is_altered() -> None:
    verdict = judge(ORDERS, [came("a"), came("b", "other")], duplicates_max=0)

    assert verdict.altered == ("b",)
    assert len(verdict.problems) == 1


def test_duplicates_within_the_bound_are_counted_and_allowed() -> None:
    verdict = judge(ORDERS, [came("a"), came("a"), came("a"), came("b")], duplicates_max=2)

    assert (verdict.duplicates, verdict.delivered, verdict.problems) == (2, 2, ())
    assert "2 came again" in sentences(verdict, [])[0]


def test_more_duplicates_than_the_faults_explain_break_a_promise() -> None:
    verdict = judge(ORDERS, [came("a"), came("a"), came("b")], duplicates_max=0)

    assert verdict.problems == ("1 duplicates are more than the 0 these faults explain.",)


def test_a_copy_the_broker_handed_out_again_is_not_the_relays() -> None:
    verdict = judge(ORDERS, [came("a"), came("a", redelivered=True), came("b")], duplicates_max=0)

    assert (verdict.duplicates, verdict.redelivered, verdict.problems) == (0, 1, ())


def test_a_redelivery_of_what_was_never_recorded_repeats_nothing() -> None:
    verdict = judge(ORDERS, [came("a", redelivered=True), came("b")], duplicates_max=0)

    assert (verdict.duplicates, verdict.redelivered, verdict.delivered) == (0, 0, 2)


def test_a_copy_after_a_redelivery_that_was_recorded_first_is_the_relays() -> None:
    verdict = judge(ORDERS, [came("a", redelivered=True), came("a"), came("b")], duplicates_max=1)

    assert (verdict.duplicates, verdict.redelivered, verdict.delivered) == (1, 0, 2)


@pytest.mark.parametrize(("arrivals", "delivered"), [([came("a")], 1), ([came("a"), came("u")], 2)])
def test_an_unknown_commit_may_arrive_or_not(arrivals: list[Arrival], delivered: int) -> None:
    verdict = judge({"a": COMMITTED, "u": UNKNOWN}, arrivals, duplicates_max=0)

    assert (verdict.unknown, verdict.delivered, verdict.lost, verdict.phantom) == (1, delivered, (), ())
    assert verdict.problems == ()


def test_a_shop_that_committed_nothing_proves_nothing() -> None:
    assert judge({}, [], duplicates_max=0).problems == ("The shop committed nothing, so nothing was shown.",)


def test_trouble_on_the_way_is_told_before_the_broken_promises() -> None:
    verdict = judge(ORDERS, [came("a")], duplicates_max=0)

    assert sentences(verdict, ["It did not drain."]) == ["It did not drain.", *verdict.problems]


def test_every_line_of_the_table_is_fine_when_every_promise_is_kept() -> None:
    verdict = judge(ORDERS, [came("a"), came("b")], duplicates_max=0)

    assert all(fine for *_, fine in lines(verdict, elapsed_s=45.0))


@pytest.mark.parametrize("name", ["lost", "phantom", "altered"])
def test_a_broken_promise_marks_its_own_line(name: str) -> None:
    fine = judge(ORDERS, [came("a"), came("b")], duplicates_max=0)
    broken = {
        "lost": replace(fine, lost=("x",)),
        "phantom": replace(fine, phantom=("x",)),
        "altered": replace(fine, altered=("x",)),
    }

    assert [what for what, *_, good in lines(broken[name], elapsed_s=45.0) if not good] == [name]


def test_rare_lines_are_in_the_table_only_when_there_is_something_to_say() -> None:
    plain = judge(ORDERS, [came("a"), came("b")], duplicates_max=0)
    full = replace(plain, unknown=1, redelivered=1)

    assert {line[0] for line in lines(full, elapsed_s=1.0)} - {line[0] for line in lines(plain, elapsed_s=1.0)} == {
        "unknown",
        "redelivered",
    }

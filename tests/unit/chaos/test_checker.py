"""The checker: every judgement on histories made by hand, kept and broken, at its bounds."""

from dataclasses import replace

import pytest

from chaos.checker import (
    DUPLICATES,
    INTEGRITY,
    LIVENESS,
    LOST,
    MARKS,
    ORDER,
    PHANTOM,
    check,
)
from chaos.history import Arrival, Attempt, Fate, Fault, History
from chaos.repeats import FaultFigures
from tests.unit.chaos.hand import (
    CUT,
    KILL,
    arrival,
    arriving,
    attempt,
    faulty,
    good,
    of_run,
    row,
    with_attempts,
    with_rows,
    without,
    wrong,
)

REFUSES = Fault("unbind", "queue", 0.0, 5.0, refusals=("unroutable",))


# -- a good run -------------------------------------------------------------------------------------------------


def test_a_good_run_keeps_every_promise() -> None:
    verdict = check(good())

    assert verdict.problems == ()
    assert {each.word for each in verdict.judgements} == {"kept", "not judged"}
    assert {each.promise for each in verdict.judgements if not each.judged} == {ORDER}
    assert verdict.figures["committed"] == verdict.figures["delivered"] == 4


def test_a_run_that_committed_nothing_shows_nothing() -> None:
    assert check(good(0)).problems == ("Nothing was committed, so nothing was shown.",)


# -- nothing is lost --------------------------------------------------------------------------------------------


def test_a_committed_row_that_never_arrives_is_lost_and_its_mark_is_false() -> None:
    assert wrong(without(good(), 2)) == ([LOST, MARKS], {"lost": ("m2",), "false_sent": ("m2",)})


def test_a_committed_row_that_is_pending_at_the_end_is_told_whether_it_arrived_or_not() -> None:
    waiting = with_rows(good(), row(2, "pending"))

    assert wrong(waiting) == ([LOST], {"pending": ("m2",)})
    assert wrong(without(waiting, 2)) == ([LOST], {"lost": ("m2",), "pending": ("m2",)})


def test_a_committed_row_that_is_neither_in_the_table_nor_arrived_is_lost() -> None:
    history = without(replace(good(), rows=good().rows[1:]), 1)

    assert wrong(history) == ([LOST], {"lost": ("m1",), "missing": ("m1",)})


def test_a_row_that_postgres_forgot_is_not_lost_when_a_fault_makes_it_forget() -> None:
    history = faulty(without(replace(good(), rows=good().rows[1:]), 1), Fault("crash", "postgres", 1, 2, erases=True))

    assert wrong(history) == ([], {})
    assert check(history).figures["erased"] == 1


def test_a_row_given_up_for_the_refusal_it_was_made_for_is_not_lost() -> None:
    history = with_attempts(good(), attempt(2, refusal="invalid"))
    history = without(with_rows(history, row(2, "failed", failures=1, last_error="invalid: header 'x'")), 2)

    assert wrong(history) == ([], {})
    assert check(history).figures["failed"] == 1


@pytest.mark.parametrize(
    ("last_error", "told"),
    [("rejected: nack", "m2 (rejected)"), (None, "m2 (no reason)"), ("it vanished", "m2 (no reason)")],
)
def test_a_row_given_up_without_a_cause_breaks_the_promise(last_error: str | None, told: str) -> None:
    history = without(with_rows(good(), row(2, "failed", failures=10, last_error=last_error)), 2)

    assert wrong(history) == ([LOST, LIVENESS], {"failed_without_cause": (told,), "charged": (told,)})


def test_a_row_given_up_needs_a_reason_of_its_own_even_where_refusals_are_expected() -> None:
    history = without(with_rows(good(), row(2, "failed", failures=10)), 2)

    assert wrong(faulty(history, REFUSES)) == ([LOST], {"failed_without_cause": ("m2 (no reason)",)})


@pytest.mark.parametrize(("began", "ended", "found"), [(0, 5, 0), (0, 2, 0), (0, 1.9, 1)])
def test_a_fault_explains_a_refusal_only_of_rows_that_were_there(began: float, ended: float, found: int) -> None:
    fault = replace(REFUSES, began=began, ended=ended)
    given_up = with_rows(good(), row(2, "failed", failures=10, last_error="unroutable: no queue"))
    history = faulty(without(given_up, 2), fault)

    assert len(check(history).found["failed_without_cause"]) == found


@pytest.mark.parametrize(("failed_at", "found"), [(4.0, 0), (3.9, 1)])
def test_a_fault_explains_no_row_that_was_given_up_before_it_began(failed_at: float, found: int) -> None:
    given_up = row(2, "failed", failures=10, last_error="unroutable: no queue", failed_at=failed_at)
    history = faulty(without(with_rows(good(), given_up), 2), replace(REFUSES, began=4.0))

    assert len(check(history).found["failed_without_cause"]) == found


# -- nothing uncommitted is sent --------------------------------------------------------------------------------


def test_a_row_that_was_rolled_back_and_arrives_is_a_phantom() -> None:
    history = arriving(with_attempts(good(), attempt(5, Fate.ROLLED_BACK)), arrival(5, 5))

    assert wrong(history) == ([PHANTOM], {"phantom_rolled_back": ("m5",)})


@pytest.mark.parametrize("fate", [Fate.COMMITTED, Fate.UNKNOWN])
def test_a_row_that_is_not_in_the_table_and_arrives_is_a_phantom_even_where_postgres_may_forget(fate: Fate) -> None:
    history = arriving(with_attempts(good(), attempt(5, fate)), arrival(5, 5))

    assert wrong(faulty(history, Fault("crash", "postgres", 1, 2, erases=True))) == (
        [PHANTOM],
        {"phantom_vanished": ("m5",)},
    )


def test_a_message_nobody_tried_is_a_phantom() -> None:
    assert wrong(arriving(good(), arrival(5, 5))) == ([PHANTOM], {"phantom_unknown": ("m5",)})


def test_a_rolled_back_row_that_does_not_arrive_is_as_it_should_be() -> None:
    history = with_attempts(good(), attempt(5, Fate.ROLLED_BACK))

    assert wrong(history) == ([], {})
    assert check(history).figures["rolled_back"] == 1


# -- unknown commits --------------------------------------------------------------------------------------------


def test_an_unknown_commit_is_resolved_by_the_table() -> None:
    held = with_attempts(good(), attempt(2, Fate.UNKNOWN), attempt(5, Fate.UNKNOWN))

    assert wrong(held) == ([], {})
    assert {name: check(held).figures[name] for name in ("committed", "unknown", "recovered")} == {
        "committed": 4,
        "unknown": 2,
        "recovered": 1,
    }


def test_an_unknown_commit_that_holds_must_arrive() -> None:
    history = without(with_attempts(good(), attempt(2, Fate.UNKNOWN)), 2)

    assert wrong(history)[1]["lost"] == ("m2",)


# -- duplicates are bounded -------------------------------------------------------------------------------------


def test_without_a_fault_one_copy_is_too_many() -> None:
    verdict = check(arriving(good(), arrival(2, 5, attempt=2)))

    assert verdict.problems == (
        "1 duplicates are more than the 0 the faults explain.",
        "1 duplicates are more than the 0 that could be in flight.",
        "1 sent again without a fault, such as m2.",
    )


@pytest.mark.parametrize(("copies", "promises"), [(2, []), (3, [DUPLICATES])])
def test_a_fault_explains_as_many_copies_as_were_in_flight(copies: int, promises: list[str]) -> None:
    history = arriving(good(), *(arrival(each, 4 + each, attempt=2) for each in range(1, copies + 1)))

    assert wrong(faulty(history, KILL))[0] == promises


def test_no_number_of_rows_in_flight_explains_more_than_all_replicas_can_hold() -> None:
    history = arriving(good(5), *(arrival(each, 5 + each, attempt=2) for each in range(1, 6)))
    boundless = faulty(history, replace(KILL, ended=9.0, repeats_max=100))

    assert check(boundless).problems == ("5 duplicates are more than the 4 that could be in flight.",)


@pytest.mark.parametrize(("began", "ended", "promises"), [(5.6, 9, [DUPLICATES]), (0, 1.9, [DUPLICATES]), (0, 2, [])])
def test_a_fault_explains_no_copy_of_a_row_it_could_not_meet(began: float, ended: float, promises: list[str]) -> None:
    history = arriving(good(), arrival(2, 5, attempt=2))

    assert wrong(faulty(history, replace(KILL, began=began, ended=ended)))[0] == promises


def test_copies_are_put_down_to_the_fault_nearest_to_what_they_repeat() -> None:
    history = arriving(good(5), *(arrival(each, 9 + each, attempt=2) for each in (2, 3, 5)))
    cut, later = replace(KILL, name="cut", began=2.0, ended=2.6), replace(KILL, began=4.9, ended=5.0)

    assert check(faulty(history, cut, KILL, later)).faults == [
        FaultFigures("cut", times=1, repeats=1, most=1, repeats_max=2),
        FaultFigures("relay SIGKILL", times=2, repeats=2, most=1, repeats_max=4),
    ]


def test_of_two_faults_that_met_a_row_the_nearer_to_its_first_delivery_is_charged() -> None:
    history = arriving(good(), arrival(2, 9, attempt=2))  # the first came at 2.5
    before, after = (
        replace(KILL, name="before", began=2.0, ended=2.1),
        replace(KILL, name="after", began=2.6, ended=2.6),
    )

    assert [each.repeats for each in check(faulty(history, before, after)).faults] == [1, 0]


def test_no_fault_is_charged_with_more_copies_than_it_explains() -> None:
    history = arriving(good(5), *(arrival(3, 9 + each, attempt=2) for each in range(4)))

    assert check(faulty(history, KILL, replace(KILL, name="cut", began=9.0, ended=9.0))).faults == [
        FaultFigures("cut", times=1, repeats=2, most=2, repeats_max=2),
        FaultFigures("relay SIGKILL", times=1, repeats=2, most=2, repeats_max=2),
    ]


def test_a_copy_the_broker_hands_out_again_is_not_the_relays() -> None:
    history = arriving(good(), arrival(2, 5, redelivered=True))

    assert wrong(history) == ([], {})
    assert (check(history).figures["redelivered"], check(history).figures["duplicated"]) == (1, 0)


# -- order per key ----------------------------------------------------------------------------------------------


def swapped(ordered: bool) -> History:  # noqa: FBT001 -- named at the callers
    history = without(good(), 2, 3)
    return of_run(arriving(history, arrival(3, 2), arrival(2, 3)), ordered=ordered)


def test_a_first_delivery_after_a_younger_one_of_its_key_violates_the_order() -> None:
    assert wrong(swapped(ordered=True)) == ([ORDER], {"order_violations": ("m2",)})


def test_order_is_not_judged_where_it_is_not_promised() -> None:
    verdict = check(swapped(ordered=False))

    assert verdict.problems == ()
    assert (verdict.figures["order_violations"], verdict.figures["regressions"]) == (None, None)


def test_different_keys_have_no_order_and_neither_have_rows_without_one() -> None:
    history = swapped(ordered=True)

    assert wrong(with_attempts(history, attempt(2, key="other"))) == ([], {})
    assert wrong(with_attempts(history, attempt(2, key=None), attempt(3, key=None))) == ([], {})


def test_a_copy_after_a_younger_message_is_a_regression_and_no_violation() -> None:
    history = of_run(faulty(arriving(good(), arrival(2, 5, attempt=2)), KILL), ordered=True)

    assert wrong(history) == ([], {})
    assert check(history).figures["regressions"] == 1


def test_what_the_broker_handed_out_before_to_a_drain_that_was_cut_off_is_its_own_disorder() -> None:
    history = arriving(without(good(), 2, 3), arrival(3, 2), arrival(2, 3, redelivered=True))
    ordered = of_run(history, ordered=True)

    assert wrong(ordered) == ([], {})
    assert check(ordered).figures["handed_out_late"] == 1
    younger = of_run(arriving(without(good(), 2, 3), arrival(3, 2, redelivered=True), arrival(2, 3)), ordered=True)
    assert wrong(younger) == ([ORDER], {"order_violations": ("m2",)})


def test_a_copy_the_broker_hands_out_again_regresses_nothing() -> None:
    history = of_run(arriving(good(), arrival(2, 5, redelivered=True)), ordered=True)

    assert (wrong(history), check(history).figures["regressions"]) == (([], {}), 0)


def test_a_key_goes_on_behind_a_row_that_was_given_up() -> None:
    history = with_attempts(good(), attempt(2, refusal="invalid"))
    history = without(with_rows(history, row(2, "failed", failures=1, last_error="invalid: x")), 2)

    assert wrong(of_run(history, ordered=True)) == ([], {})


# -- marks tell the truth ---------------------------------------------------------------------------------------


def test_a_row_given_up_that_arrived_is_false_unless_a_fault_left_a_doubt() -> None:
    history = with_attempts(good(), attempt(2, refusal="unroutable"))
    history = with_rows(history, row(2, "failed", failures=10, last_error="unroutable: no queue"))

    assert wrong(history) == ([MARKS], {"false_failed": ("m2",)})
    assert wrong(faulty(history, KILL)) == ([], {})
    assert wrong(faulty(history, replace(KILL, began=0.0, ended=1.0)))[0] == [MARKS]
    before = row(2, "failed", failures=10, last_error="unroutable: no queue", failed_at=KILL.began - 0.1)
    assert wrong(faulty(with_rows(history, before), KILL))[0] == [MARKS]
    assert check(faulty(history, KILL)).figures["given_up_and_arrived"] == 1


@pytest.mark.parametrize(("sent_at", "found"), [(3.0, 0), (2.9, 1), (None, 1)])
def test_a_mark_is_early_when_a_row_inserted_after_it_came_before_the_message(
    sent_at: float | None, found: int
) -> None:
    history = without(good(), 2, 3)
    overtaken = with_rows(arriving(history, arrival(3, 2), arrival(2, 3)), row(2, sent_at=sent_at))

    assert len(check(overtaken).found["sent_early"]) == found


def test_a_mark_is_early_when_it_is_older_than_its_row() -> None:
    assert wrong(with_rows(good(), row(2, sent_at=1.9))) == ([MARKS], {"sent_early": ("m2",)})


def test_a_message_that_the_broker_handed_out_again_says_nothing_of_marks() -> None:
    history = without(good(), 2, 3)
    history = arriving(history, arrival(3, 2), arrival(2, 3, redelivered=True))

    assert wrong(with_rows(history, row(2, sent_at=2.0))) == ([], {})


# -- messages are whole -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"labels": "other"}, "headers or properties"),
        ({"row_id": 3}, "row id"),
        ({"row_id": None}, "row id"),
        ({"delivery_mode": 1}, "delivery mode"),
    ],
)
def test_a_message_that_lost_a_part_is_altered(fields: dict[str, object], told: str) -> None:
    history = arriving(without(good(), 2), arrival(2, 2, **fields))

    assert wrong(history) == ([INTEGRITY], {"altered": (f"m2 ({told})",)})


@pytest.mark.parametrize(
    ("came", "told"),
    [
        (replace(arrival(2, 2), body="other"), "body"),
        (replace(arrival(2, 2), exchange="other"), "exchange"),
        (replace(arrival(2, 2), routing_key="other"), "routing key"),
    ],
)
def test_a_message_that_says_something_else_is_altered(came: Arrival, told: str) -> None:
    assert wrong(arriving(without(good(), 2), came)) == ([INTEGRITY], {"altered": (f"m2 ({told})",)})


def test_a_copy_with_other_bytes_than_the_first_is_altered() -> None:
    history = faulty(arriving(good(), replace(arrival(2, 5, attempt=2), body="other")), KILL)

    assert wrong(history) == ([INTEGRITY], {"altered": ("m2 (body)",)})


def test_a_copy_must_say_that_it_may_be_one() -> None:
    copied = faulty(arriving(good(), arrival(2, 5)), KILL)

    assert wrong(copied) == ([INTEGRITY], {"unmarked": ("m2",)})


def test_a_copy_that_says_so_may_come_before_the_first_publish() -> None:
    history = arriving(without(good(), 2), arrival(2, 2, attempt=2), arrival(2, 5))

    assert wrong(faulty(history, KILL)) == ([], {})


def test_of_several_publishes_only_one_may_say_that_it_is_the_first() -> None:
    history = arriving(without(good(), 2), arrival(2, 2, attempt=2), arrival(2, 5), arrival(2, 6))

    assert wrong(faulty(history, KILL)) == ([INTEGRITY], {"unmarked": ("m2",)})


# -- it recovers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("emptied", "promises"), [(None, [LIVENESS]), (8.1, [LIVENESS]), (8.0, []), (5.0, [])])
def test_the_backlog_must_be_empty_in_time_after_the_last_fault(emptied: float | None, promises: list[str]) -> None:
    assert wrong(of_run(faulty(good(), CUT), emptied=emptied, recovery_max_s=2.0))[0] == promises


@pytest.mark.parametrize(("most", "promises"), [(2.9, [LIVENESS]), (3.0, [])])
def test_a_silence_while_a_row_waits_is_a_stall(most: float, promises: list[str]) -> None:
    history = arriving(without(good(), 3, 4), arrival(3, 5), arrival(4, 6))  # nothing between 2.5 and 5.5, m3 from 3.0

    assert check(history).figures["longest_stall_s"] == 2.5
    history = with_attempts(history, replace(attempt(3), at=2.0), replace(attempt(4), at=2.0))
    assert wrong(of_run(history, stall_max_s=most))[0] == promises


@pytest.mark.parametrize(
    ("spans", "longest"),
    [
        ([(2.0, 6.0)], 0.5),
        ([(3.0, 4.0)], 1.5),
        ([(3.0, 4.0), (3.5, 5.0)], 0.5),
        ([(3.0, 5.0), (3.5, 4.0)], 0.5),
        ([(9.0, 9.9)], 2.5),
    ],
)
def test_no_stall_is_counted_while_a_fault_stops_everything(spans: list[tuple[float, float]], longest: float) -> None:
    faults = [replace(CUT, began=began, ended=ended) for began, ended in spans]
    history = arriving(without(good(), 3, 4), arrival(3, 5), arrival(4, 5))  # between 3.0 and 5.5 a row waits

    assert check(faulty(history, *faults)).figures["longest_stall_s"] == pytest.approx(longest)


def test_a_fault_that_stops_nothing_excuses_no_silence() -> None:
    history = arriving(without(good(), 3, 4), arrival(3, 5), arrival(4, 5))

    assert check(faulty(history, replace(CUT, stalls=False))).figures["longest_stall_s"] == 2.5


def test_a_backlog_that_was_empty_before_the_last_fault_ended_took_no_time() -> None:
    assert check(of_run(faulty(good(), CUT), emptied=5.0)).figures["recovery_s"] == 0.0


def test_a_silence_in_which_nothing_waits_is_none() -> None:
    history = good()
    late = replace(attempt(5), at=50.0)
    history = with_rows(arriving(with_attempts(history, late), arrival(5, 50)), row(5, sent_at=60.0))

    assert check(of_run(history, stall_max_s=1.0)).problems == ()


def test_a_failure_counted_by_an_outage_breaks_the_promise() -> None:
    history = faulty(with_rows(good(), row(2, failures=1, last_error="unroutable: no queue")), CUT)

    assert wrong(history) == ([LIVENESS], {"charged": ("m2 (unroutable)",)})
    assert wrong(faulty(history, CUT, REFUSES)) == ([], {})


def test_a_failure_whose_reason_was_overwritten_needs_a_refusal_that_was_possible() -> None:
    history = with_rows(good(), row(2, failures=1, last_error="connection lost before its confirm"))

    assert wrong(faulty(history, CUT))[1] == {"charged": ("m2 (no reason)",)}
    assert wrong(faulty(history, REFUSES)) == ([], {})
    assert wrong(faulty(history, replace(REFUSES, began=9.1, ended=9.2)))[1] == {"charged": ("m2 (no reason)",)}


def test_rows_of_strangers_in_the_table_are_nobodys_promise() -> None:
    stranger = replace(row(9, "pending"), message_id="stranger")

    assert wrong(with_rows(good(), stranger)) == ([], {})


def test_an_attempt_that_only_one_side_labels_is_altered() -> None:
    bare: Attempt = replace(attempt(2), labels="")

    assert wrong(with_attempts(good(), bare))[0] == [INTEGRITY]

"""The bench's own arithmetic: what it refuses, what it compares, what it reads from the kernel."""

import os
import sys

import pytest

from bench import report
from bench.__main__ import arguments
from bench.figures import Run, Seen, Spread, Who, bars, order, ratios, refusal
from bench.meter import TICK_S, TOLD_CHARS, Broken, around, busy_s, cpu_s, event_of, meter, moment, peak_mib


def a_run(who: Who = "relay", *, rate: float = 10_000.0, cpu_us: float = 30.0, rows: int = 100_000) -> Run:
    return Run(
        who=who,
        rows=rows,
        seconds=rows / rate,
        cpu_s=cpu_us * rows / 1e6,
        startup_s=0.5,
        startup_cpu_s=0.4,
        statements=rows // 50,
        transactions=rows // 250,
        memory_mib=60.0,
        postgres_cpu_s=rows * 30e-6,
        rabbitmq_cpu_s=rows * 60e-6,
        elsewhere=0.25,
    )


def test_a_run_is_told_per_second_per_message_and_per_thousand_rows() -> None:
    run = a_run(rate=12_500.0, cpu_us=25.0)
    assert run.rate == pytest.approx(12_500)
    assert run.cpu_us == pytest.approx(25)
    assert run.statements_per_1000 == pytest.approx(20)
    assert run.transactions_per_1000 == pytest.approx(4)
    assert run.postgres_us == pytest.approx(30)
    assert run.rabbitmq_us == pytest.approx(60)
    assert run.as_dict()["rate"] == pytest.approx(12_500)


def test_a_spread_is_the_median_between_least_and_most() -> None:
    assert Spread.of([5.0, 1.0, 2.0]) == Spread(median=2.0, least=1.0, most=5.0)


def test_each_pair_of_neighbouring_runs_has_its_own_ratio() -> None:
    runs = [a_run("naive", rate=4_000), a_run(rate=16_000), a_run("naive", rate=2_000), a_run(rate=6_000)]
    assert ratios(runs) == [pytest.approx(4), pytest.approx(3)]


def test_one_side_alone_has_no_ratio() -> None:
    assert ratios([a_run(), a_run()]) == []
    assert [bar.what for bar in bars([a_run()])] == ["relay CPU, µs a message"]
    assert bars([a_run("naive")]) == []


@pytest.mark.parametrize(("rate", "cpu_us", "met"), [(12_000, 39.9, [True, True]), (11_900, 40.1, [False, False])])
def test_three_times_the_naive_loop_and_forty_microseconds_are_the_bars(
    rate: float, cpu_us: float, met: list[bool]
) -> None:
    assert [bar.met for bar in bars([a_run("naive", rate=4_000), a_run(rate=rate, cpu_us=cpu_us)])] == met


def test_the_median_decides_and_not_the_best_run() -> None:
    runs = [a_run(cpu_us=20), a_run(cpu_us=50), a_run(cpu_us=60)]
    assert [(bar.got, bar.met) for bar in bars(runs)] == [("50.0", False)]


def test_the_two_take_turns() -> None:
    assert order(2, None) == ["naive", "relay", "naive", "relay"]
    assert order(2, "relay") == ["relay", "relay"]


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Seen(sent=9, not_sent=1, queued=9), "9 rows are sent and 1 are not, of 10"),
        (Seen(sent=9, not_sent=0, queued=9), "9 rows are sent and 0 are not, of 10"),
        (Seen(sent=10, not_sent=0, queued=8), "2 messages were lost: 8 in the queue, 10 rows sent"),
        (Seen(sent=10, not_sent=0, queued=11), "1 messages are in the queue twice"),
    ],
)
def test_a_run_that_lost_or_repeated_something_has_no_figures(seen: Seen, words: str) -> None:
    assert refusal(seen, 10) == words


def test_a_run_with_every_row_in_the_queue_once_counts() -> None:
    assert refusal(Seen(sent=10, not_sent=0, queued=10), 10) is None


def test_processor_time_is_user_and_system_whatever_the_process_is_called() -> None:
    fields = " ".join(["S", *map(str, range(4, 14)), "300", "25", *map(str, range(16, 53))])
    stat = f"4242 (a ) b) {fields}"
    assert cpu_s(stat) == pytest.approx(325 * TICK_S)
    assert cpu_s(stat, with_dead_children=True) == pytest.approx((325 + 16 + 17) * TICK_S)


def test_the_machine_is_busy_with_all_but_idling_and_waiting() -> None:
    assert busy_s("cpu  100 20 30 9000 800 7 6 5 0 0\ncpu0 1 1 1 1\n") == pytest.approx(168 * TICK_S)


def test_the_machine_around_us_is_seen_at_work() -> None:
    before = around()
    after = before
    while after.busy_s <= before.busy_s:
        after = around()
    assert after.at > before.at


def test_the_peak_of_memory_is_read_and_a_zombie_has_none() -> None:
    assert peak_mib("Name:\trelay\nVmHWM:\t   61440 kB\n") == pytest.approx(60)
    assert peak_mib("Name:\trelay\nState:\tZ (zombie)\n") == 0


def test_a_process_is_seen_using_the_processor() -> None:
    before = moment(os.getpid())
    after = before
    while after.cpu_s < before.cpu_s + 2 * TICK_S:
        after = moment(os.getpid())
    assert after.at > before.at
    assert after.memory_mib > 1


@pytest.mark.parametrize(
    ("line", "event"),
    [('{"event": "tick", "claimed": 500}', "tick"), ("Traceback", ""), ("[1]", ""), ('{"level": "info"}', "")],
)
def test_only_json_objects_tell_events(line: str, event: str) -> None:
    assert event_of(line) == event


def told(*events: str) -> list[str]:
    lines = "".join(f'{{"event": "{event}"}}\n' for event in events)
    return [sys.executable, "-c", f"import sys; sys.stdout.write({lines!r}); sys.exit(len({events!r}) == 1)"]


def test_a_process_is_metered_between_its_start_and_its_last_batch() -> None:
    metered = meter(told("naive.started", "naive.batch", "naive.batch"), {})
    assert metered.started.at < metered.ready.at < metered.last.at


def test_a_process_that_fails_has_no_figures_and_its_last_words_are_told() -> None:
    with pytest.raises(Broken, match=r"ended with exit code 1; .*\n.*relay.started"):
        meter(told("relay.started"), {})


def test_a_process_that_moved_nothing_has_no_figures() -> None:
    with pytest.raises(Broken, match="exit code 0"):
        meter(told("relay.started", "relay.stopped"), {})


def test_the_last_words_of_a_failed_process_are_cut() -> None:
    with pytest.raises(Broken) as raised:
        meter([sys.executable, "-c", "print('x' * 5000); exit(3)"], {})
    assert max(map(len, str(raised.value).splitlines())) == TOLD_CHARS


def test_the_table_has_every_run_and_the_medians_in_the_same_columns() -> None:
    runs = [a_run("naive", rate=4_000), a_run(rate=16_000)]
    heading = report.heading().splitlines()[-1]
    lines = [heading, *(report.row(run, 1) for run in runs), *report.summary(runs).splitlines()]
    table = [line for line in lines if line and "pair by pair" not in line]
    assert len({len(line) for line in table}) == 1
    assert "16,000" in report.row(runs[1], 1)
    assert "pair by pair: 4.00" in lines[-1]


def test_the_verdict_says_what_was_met_and_what_not() -> None:
    lines = report.verdict([a_run("naive", rate=4_000), a_run(rate=8_000)]).splitlines()
    assert lines == [
        "NOT MET  times the naive loop: 2.00 (bar: >= 3.0)",
        "met      relay CPU, µs a message: 30.0 (bar: <= 40.0)",
    ]


def test_the_bench_measures_a_hundred_thousand_rows_three_times_unless_told_otherwise() -> None:
    given = arguments([])
    assert (given.rows, given.runs, given.only, given.ceilings, given.json) == (100_000, 3, None, False, None)


@pytest.mark.parametrize("argv", [["--rows", "0"], ["--runs", "x"], ["--only", "both"]])
def test_a_wrong_argument_is_a_usage_error(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        arguments(argv)
    assert raised.value.code == 2
    assert argv[0] in capsys.readouterr().err

"""The bench's own arithmetic: what it refuses, what it compares, what it reads from the kernel."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench import report, runs
from bench.__main__ import arguments
from bench.bars import Bar, at_least, at_most
from bench.consumer import cut
from bench.doorbell import CLIENTS, FREE, WAYS, Rate
from bench.figures import Delays, Run, Seen, Spread, Who, disorder, histogram, most_within, order, ratios, refusal
from bench.meter import (
    TICK_S,
    TOLD_CHARS,
    Broken,
    around,
    busy_s,
    cpu_s,
    meter,
    meter_together,
    moment,
    peak_mib,
    said_in,
)
from bench.scenario import Sizes, Yard
from bench.scenarios import batch, bodies, flat, latency, producers, recovery, speed
from relay.settings import Settings

ROOT = Path(__file__).parents[2]
ROWS = 100_000


def a_run(who: Who = "relay", *, rate: float = 10_000.0, cpu_us: float = 30.0, claims_s: tuple[float, ...] = ()) -> Run:
    rows = ROWS
    return Run(
        who=who,
        copies=1,
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
        claims_s=claims_s,
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
    assert "claims_s" not in run.as_dict()


def test_the_first_batch_may_be_left_out() -> None:
    assert replace(a_run(rate=10_000), first_s=2.0, first_rows=500).steady_rate == pytest.approx(99_500 / 8)


def test_a_spread_is_the_median_between_least_and_most() -> None:
    assert Spread.of([5.0, 1.0, 2.0]) == Spread(median=2.0, least=1.0, most=5.0)


def test_each_pair_of_neighbouring_runs_has_its_own_ratio() -> None:
    runs = [a_run("naive", rate=4_000), a_run(rate=16_000), a_run("naive", rate=2_000), a_run(rate=6_000)]
    assert ratios(runs) == [pytest.approx(4), pytest.approx(3)]


def test_one_side_alone_has_no_ratio() -> None:
    assert ratios([a_run(), a_run()]) == []


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
    ("line", "said"),
    [('{"event": "tick", "claimed": 500}', {"event": "tick", "claimed": 500}), ("Traceback", {}), ("[1]", {})],
)
def test_only_json_objects_say_something(line: str, said: dict[str, object]) -> None:
    assert said_in(line) == said


def told(*events: str) -> list[str]:
    lines = "".join(f'{{"event": "{event}", "claimed": 10}}\n' for event in events)
    return [sys.executable, "-c", f"import sys; sys.stdout.write({lines!r}); sys.exit(len({events!r}) == 1)"]


def test_a_process_is_metered_between_its_start_and_its_last_batch() -> None:
    metered = meter(told("naive.started", "naive.batch", "naive.batch"), {})
    assert metered.started.at < metered.ready.at < metered.last.at
    assert metered.rows == 20


def test_processes_side_by_side_are_metered_each() -> None:
    first, second = meter_together(told("naive.started", "naive.batch"), {}, copies=2, enough=None)
    assert first.rows == second.rows == 10


def test_a_process_that_carried_enough_is_asked_to_end() -> None:
    endless = """
import json, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print('{"event": "relay.started"}', flush=True)
while True:
    print('{"event": "tick", "claimed": 10}', flush=True)
    time.sleep(0.01)
"""
    assert meter([sys.executable, "-c", endless], {}, enough=30).rows >= 30


def test_a_process_that_fails_has_no_figures_and_its_last_words_are_told() -> None:
    with pytest.raises(Broken, match=r"ended with exit code 1; .*\n.*relay.started"):
        meter(told("relay.started"), {})


def test_a_process_that_moved_nothing_has_no_figures() -> None:
    with pytest.raises(Broken, match="exit code 0"):
        meter(told("relay.started", "relay.stopped"), {})


def test_of_several_processes_one_may_find_nothing_left() -> None:
    assert [each.rows for each in meter_together(told("relay.started", "x"), {}, copies=2, enough=None)] == [0, 0]


def test_the_last_words_of_a_failed_process_are_cut() -> None:
    with pytest.raises(Broken) as raised:
        meter([sys.executable, "-c", "print('x' * 5000); exit(3)"], {})
    assert max(map(len, str(raised.value).splitlines())) == TOLD_CHARS


def test_a_table_has_the_medians_their_spread_and_the_ratios() -> None:
    yard = Yard(naive=Spread.of([4_000.0]), broker=Spread.of([40_000.0]), postgres=Spread.of([50_000.0]))
    found = runs.table("a backlog", {"relay": [a_run(rate=14_000), a_run(rate=16_000), a_run(rate=18_000)]}, yard)
    row = dict(zip(found.head, found.rows[0], strict=True))
    assert row["msg/s"] == "16,000"
    assert row["least to most msg/s"] == "14,000 to 18,000"
    assert (row["times naive"], row["of the slower server alone"]) == ("4.00", "40%")
    assert runs.table("a backlog", {"relay": [a_run()]}, None).head == runs.HEAD


@pytest.mark.parametrize(("number", "met"), [(2.9, False), (3.0, True)])
def test_a_lower_bound_is_met_by_itself(number: float, *, met: bool) -> None:
    assert at_least("x", 3.0, number, 1) == Bar("x", ">= 3.0", f"{number}", met)


@pytest.mark.parametrize(("number", "met"), [(3.1, False), (3.0, True)])
def test_an_upper_bound_is_met_by_itself(number: float, *, met: bool) -> None:
    assert at_most("x", 3.0, number, 1) == Bar("x", "<= 3.0", f"{number}", met)


def test_the_verdict_says_what_was_met_and_what_not() -> None:
    lines = report.verdict([at_least("rate", 3.0, 2.0, 1), at_most("CPU", 20.0, 19.0)]).splitlines()
    assert lines == ["NOT MET  rate: 2.0 (bar: >= 3.0)", "met      CPU: 19 (bar: <= 20)"]


def test_the_median_decides_and_pairs_are_compared_pair_by_pair() -> None:
    one = [a_run("naive", rate=5_000), a_run(rate=15_000, cpu_us=19)]
    found = speed.bars(one, alone=[a_run(rate=10_000), a_run(rate=16_000)], two=[a_run(rate=9_900), a_run(rate=16_200)])
    assert [bar.got for bar in found] == ["15,000", "3.00", "30.0", "1.00"]
    assert [bar.met for bar in found] == [True, True, False, True]


def test_a_large_table_is_held_to_the_small_one_before_it() -> None:
    small, large = a_run(rate=10_000, claims_s=(0.5, 0.010)), a_run(rate=8_400, claims_s=(0.5, 0.012))
    found = flat.bars({"history": [(small, large)]}, {"history": [0.004, 0.005, 0.006]})
    assert [(bar.got, bar.met) for bar in found] == [("0.84", False), ("1.20", False), ("5.0", True)]


def test_latency_is_held_to_the_medians_of_its_runs() -> None:
    steady = {"polling": [[0.010] * 99 + [0.070], [0.014] * 100, [0.030] * 100], "naive": [[1.0]]}
    found = latency.bars(steady, {"polling": [0.3]})
    assert [(bar.got, bar.met) for bar in found] == [("14.0", True), ("14.0", True)]


def test_the_doorbell_is_held_to_the_inserts_without_a_trigger() -> None:
    rates = [Rate(way, clients, 1_000.0) for way in WAYS for clients in CLIENTS if way != FREE]
    [bar] = producers.bars([*rates, Rate(FREE, 1, 10.0), Rate(FREE, 16, 790.0)])
    assert (bar.got, bar.met) == ("0.79", False)


def test_of_delays_the_share_that_is_named_is_not_longer() -> None:
    delays = Delays.of([number / 1000 for number in range(1, 101)])
    assert (delays.count, delays.p50, delays.p90, delays.p99, delays.most) == (100, 50, 90, 99, 100)
    assert Delays.of([0.007]).p50 == Delays.of([0.007]).most == pytest.approx(7)


def test_a_histogram_has_equal_steps_of_the_logarithm_and_its_gaps() -> None:
    found = histogram([0.001, 0.001, 0.0015, 0.002])
    assert [share for _, share in found] == [0.5, 0.25, 0, 0.25]
    assert found[0][0] == pytest.approx(1)
    assert sum(share for _, share in histogram([-0.001, 5.0])) == 1, "an arrival before the commit was answered counts"


def test_the_most_within_a_time_is_found_wherever_it_begins() -> None:
    assert most_within([9.0, 0.0, 0.95, 1.05, 1.9], 1.0) == 3
    assert most_within([], 1.0) == 0


@pytest.mark.parametrize(
    ("row_ids", "keys", "wrong"),
    [
        ([1, 2, 3], ["a", "b", "a"], 0),
        ([2, 1, 3], ["b", "a", "a"], 0),
        ([3, 1, 2], ["a", "a", "a"], 2),
        ([3, 2, 1], [None, None, None], 0),
    ],
)
def test_only_rows_of_one_key_have_an_order(row_ids: list[int], keys: list[str | None], wrong: int) -> None:
    assert disorder(row_ids, keys) == wrong


def test_a_line_of_the_brokers_log_tells_its_time() -> None:
    line = "2026-01-02 03:04:05.250000+00:00 [info] <0.1> accepting AMQP connection <0.1> (127.0.0.1:1 -> 127.0.0.1:2)"
    assert recovery.logged_at(line) == 1767323045.25


def test_the_ceiling_of_memory_is_that_of_the_readme() -> None:
    defaults = {name: info.default for name, info in Settings.model_fields.items()}
    assert defaults["lanes"] == bodies.LANES
    assert defaults["batch_bytes"] == bodies.BATCH_BYTES
    assert defaults["batch_size"] == bodies.BATCH_SIZE
    formula = (
        f"{bodies.BASE_MIB} MiB + RELAY_LANES x (RELAY_BATCH_SIZE x 2 KiB + max({bodies.COPIES} x RELAY_BATCH_BYTES"
    )
    assert bodies.ROW_BYTES == 2 * 1024
    assert formula.replace(" x ", " \N{MULTIPLICATION SIGN} ") in (ROOT / "README.md").read_text()


def test_the_defaults_that_are_varied_are_the_relays() -> None:
    defaults = {name: info.default for name, info in Settings.model_fields.items()}
    assert defaults["batch_size"] == batch.DEFAULT_BATCH
    assert defaults["lanes"] == batch.DEFAULT_LANES


def test_all_is_measured_three_times_unless_told_otherwise() -> None:
    given = arguments([])
    assert (given.scenarios, given.runs, given.quick, given.json) == ([], None, False, None)
    assert Sizes().runs == 3
    assert Sizes().with_runs(5) == Sizes(runs=5)
    assert arguments(["speed", "flat"]).scenarios == ["speed", "flat"]


@pytest.mark.parametrize("argv", [["--runs", "0"], ["--runs", "x"], ["sped"]])
def test_a_wrong_argument_is_a_usage_error(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        arguments(argv)
    assert raised.value.code == 2
    assert argv[0] in capsys.readouterr().err


FRAMES = (
    b"\x01\x00\x01\x00\x00\x00\x02ab\xce",
    b"\x03\x00\x01\x00\x00\x00\x00\xce",
    b"\x02\x00\x01\x00\x00\x00\x01\xce\xce",
)


@pytest.mark.parametrize("size", range(1, len(b"".join(FRAMES)) + 1))
def test_the_consumer_finds_the_same_frames_however_the_bytes_come(size: int) -> None:
    data, rest, found = b"".join(FRAMES), b"", []
    for start in range(0, len(data), size):
        whole, rest = cut(rest + data[start : start + size])
        found += whole
    assert (tuple(found), rest) == (FRAMES, b"")

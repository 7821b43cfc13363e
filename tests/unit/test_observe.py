"""What is counted and told: every series from the start, each moved by what it names, every event from the table."""

import asyncio
import itertools
import re
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from structlog.testing import capture_logs

from relay import log, outage
from relay.model import (
    Backlog,
    BellState,
    Doubt,
    FailedRow,
    Fault,
    Health,
    Holder,
    Refusal,
    Replica,
    Snapshot,
    TickReport,
)
from relay.observe import EVENTS, LABELS, LIVE_SILENCE_S, METRICS, Observatory
from relay.observe.events import tell
from relay.observe.metrics import DB_OPS, OUTCOMES
from relay.outage import Flowing, OutagePolicy, Proof, State
from relay.store.config import OPS

RELAY = Path(__file__).parents[2] / "relay"
POLICY = OutagePolicy()
Logs = list[MutableMapping[str, Any]]


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def seen(clock: Clock) -> Observatory:
    return Observatory(
        version="1.2.3", name="here", config={"batch_size": 500}, redact=log.redact, clock=clock, wall=clock
    )


@pytest.fixture
def logs() -> Iterator[Logs]:
    structlog.reset_defaults()
    with capture_logs() as lines:
        yield lines


def series(seen: Observatory) -> dict[str, float]:
    """Return every series by its name with its labels."""
    text = seen.metrics()[0].decode()
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if not line.startswith("#")
    }


def changed(before: Mapping[str, float], seen: Observatory) -> dict[str, float]:
    """Return by how much the relay's own series have changed, buckets aside."""
    return {
        name: round(value - before[name], 6)
        for name, value in series(seen).items()
        if name.startswith("relay_") and "_bucket" not in name and value != before[name]
    }


def walk(seen: Observatory, side: str, *states: State) -> None:
    for before, after in itertools.pairwise(states):
        seen.state_changed(side, before, after)


def an_outage(fault: Fault = Fault.REFUSED, detail: str = "no") -> tuple[Flowing, outage.Outage]:
    return Flowing(), outage.fail(Flowing(), fault, detail, now=0, jitter=0, policy=POLICY)


# -- the doorbell -------------------------------------------------------------------------------------------------


def test_the_doorbell_is_counted_and_told_state_by_state(seen: Observatory, logs: Logs) -> None:
    held = False
    seen.watch_bell(lambda: held)
    assert series(seen)['relay_doorbell{state="absent"}'] == 1
    before, held = series(seen), True
    seen.bell(BellState.READY, "")
    seen.rang()
    wanted = {'relay_doorbell{state="absent"}': -1, 'relay_doorbell{state="ready"}': 1}
    assert changed(before, seen) == wanted | {"relay_doorbell_held": 1, "relay_doorbell_rings_total": 1}
    seen.bell(BellState.LOST, "lost: no answer")
    seen.bell(BellState.POOLED, "")
    seen.bell(BellState.ABSENT, "")
    assert [(line["event"], line["log_level"], line.get("detail")) for line in logs] == [
        ("doorbell.ready", "info", None),
        ("doorbell.lost", "warning", "lost: no answer"),
        ("doorbell.pooled", "warning", None),
        ("doorbell.absent", "info", None),
    ]


# -- metrics at the start -----------------------------------------------------------------------------------------


def test_every_metric_of_the_table_exists_at_the_start_with_every_label_at_0(seen: Observatory) -> None:
    at_0 = {name: value for name, value in series(seen).items() if name.startswith("relay_")}

    found = {re.sub(r"(_bucket|_sum|_count)?(\{.*)?$", "", name) for name in at_0} - {"relay_config_batch_size"}
    assert found == set(METRICS)
    not_0 = {"relay_build_info", "relay_config_batch_size", "relay_last_tick_timestamp_seconds"}
    assert {name for name, value in at_0.items() if value and name.partition("{")[0] not in not_0} == set()
    for name, labels in LABELS.items():
        for label, values in labels.items():
            for value in values:
                assert any(each.startswith(name) and f'{label}="{value}"' in each for each in at_0), (name, value)


def test_the_design_names_are_all_there() -> None:
    names = """outbox_rows outbox_rows_capped outbox_oldest_pending_age_seconds outbox_sample_timestamp_seconds
        messages_total publish_duration_seconds delivery_delay_seconds batch_rows db_duration_seconds
        rows_failed_total duplicates_possible_total outage outage_reason outages_total outage_seconds_total
        broker_connected broker_blocked db_connected last_tick_timestamp_seconds last_confirm_timestamp_seconds
        claimed_rows_in_flight cleanup_rows_deleted_total build_info"""

    assert {f"relay_{name}" for name in names.split()} <= set(METRICS)


def test_labels_are_closed_sets_of_the_words_of_the_model() -> None:
    assert set(OUTCOMES) == {"confirmed", "unreachable", *map(str, Refusal)}
    assert set(LABELS["relay_rows_failed_total"]["reason"]) == set(map(str, Refusal))
    assert set(LABELS["relay_duplicates_possible_total"]["reason"]) == set(map(str, Doubt))
    assert set(LABELS["relay_outage_reason"]["reason"]) == set(map(str, Fault))
    for name in ("relay_outbox_oldest_snapshot_age_seconds", "relay_outbox_oldest_snapshot_transactions"):
        assert set(LABELS[name]["holder"]) == set(map(str, Holder))


def test_both_formats_are_read_by_prometheus_and_name_the_same_metrics(seen: Observatory) -> None:
    seen.ticked(TickReport(2, {"confirmed": 2}, delays_s=(0.001, 7200.0), carry_s=0.2))
    text, text_type = seen.metrics("text/plain")
    open_text, open_type = seen.metrics("application/openmetrics-text; version=1.0.0; charset=utf-8")

    families = {family.name: family for family in parse_text(text.decode())}
    open_families = {family.name: family for family in parse_openmetrics(open_text.decode())}  # type: ignore[no-untyped-call]

    assert text_type.startswith("text/plain")
    assert open_type.startswith("application/openmetrics-text")
    assert open_text.endswith(b"# EOF\n")
    info = {"relay_build_info"}  # its suffix belongs to the name in one format and to the type in the other
    relay = {name for name in families if name.startswith("relay_")} - info
    assert relay == {name for name in open_families if name.startswith("relay_")} - {"relay_build"}
    assert {"process_cpu_seconds", "python_info", "python_gc_objects_collected"} <= set(families)


def test_names_and_texts_follow_the_rules_of_prometheus(seen: Observatory) -> None:
    for family in parse_text(seen.metrics()[0].decode()):
        if not family.name.startswith("relay_"):
            continue
        assert family.documentation.endswith("."), family.name
        assert re.fullmatch(r"relay_[a-z]+(_[a-z]+)*", family.name), family.name
        assert not re.search(r"_(ms|millis|minutes|hours|mb|kb|count|sum|bucket)$", family.name), family.name
        assert not re.search(rf"_{family.type}(_|$)", family.name), family.name
        if family.type == "histogram":
            assert re.search(r"_(seconds|rows)$", family.name), family.name
    for name in METRICS:
        assert name.endswith("_total") == (name in counters(seen)), name


def counters(seen: Observatory) -> set[str]:
    return {f"{each.name}_total" for each in parse_text(seen.metrics()[0].decode()) if each.type == "counter"}


def test_gauges_of_the_whole_table_say_how_to_add_them_up() -> None:
    of_the_table = {name for name in METRICS if name.startswith("relay_outbox_")} | {"relay_replicas"}
    of_this_relay = {name for name in of_the_table if re.search("_timestamp_|_errors_|_complete$", name)}
    tables_own = {"relay_outbox_last_autovacuum_timestamp_seconds", "relay_outbox_oldest_sent_timestamp_seconds"}
    for name in of_the_table - of_this_relay | tables_own:
        assert "use max, never sum" in METRICS[name], name


def test_versions_and_numeric_settings_are_shown(seen: Observatory) -> None:
    shown = series(seen)

    assert shown["relay_config_batch_size"] == 500
    assert any(name.startswith("relay_build_info{") and 'version="1.2.3"' in name for name in shown)


# -- a tick -------------------------------------------------------------------------------------------------------


def test_a_tick_counts_what_became_of_its_rows(seen: Observatory, clock: Clock, logs: Logs) -> None:
    before = series(seen)
    seen.ticked(
        TickReport(
            claimed=6,
            outcomes={"confirmed": 2, Refusal.UNROUTABLE: 1, Refusal.INVALID: 1, "unreachable": 2},
            retried=1,
            failed={Refusal.INVALID: 1},
            released=2,
            doubts={Doubt.CONNECTION_LOST: 2},
            delays_s=(0.25, 0.5),
            claim_s=0.01,
            publish_s=0.125,
            carry_s=0.25,
        )
    )

    assert changed(before, seen) == {
        'relay_messages_total{outcome="confirmed"}': 2,
        'relay_messages_total{outcome="unroutable"}': 1,
        'relay_messages_total{outcome="invalid"}': 1,
        'relay_messages_total{outcome="unreachable"}': 2,
        'relay_rows_failed_total{reason="invalid"}': 1,
        'relay_duplicates_possible_total{reason="connection_lost"}': 2,
        "relay_batch_rows_count": 1,
        "relay_batch_rows_sum": 6,
        "relay_publish_duration_seconds_count": 1,
        "relay_publish_duration_seconds_sum": 0.125,
        "relay_delivery_delay_seconds_count": 2,
        "relay_delivery_delay_seconds_sum": 0.75,
        "relay_last_confirm_timestamp_seconds": clock.now,
    }
    assert logs == [
        {
            "event": "tick",
            "log_level": "info",
            "claimed": 6,
            "confirmed": 2,
            "unroutable": 1,
            "invalid": 1,
            "unreachable": 2,
            "delay_max_s": 0.5,
            "retried": 1,
            "failed": 1,
            "released": 2,
            "doubts": {"connection_lost": 2},
            "claim_s": 0.01,
            "publish_s": 0.125,
            "carry_s": 0.25,
        },
        {"event": "rows.failed", "log_level": "warning", "rows": 1, "reasons": {"invalid": 1}},
    ]


def test_a_batch_of_which_nothing_went_out_was_not_published_in_no_time(seen: Observatory) -> None:
    before = series(seen)
    seen.ticked(TickReport(claimed=2, outcomes={Refusal.INVALID: 1, "unreachable": 1}, failed={Refusal.INVALID: 1}))

    assert not any(name.startswith("relay_publish_duration") for name in changed(before, seen))


def test_a_tick_without_rows_is_silent(seen: Observatory, logs: Logs) -> None:
    before = series(seen)
    seen.ticked(TickReport(claimed=0))

    assert (changed(before, seen), logs) == ({}, [])


@pytest.mark.parametrize("doubt", Doubt)
def test_each_doubt_has_its_own_count(seen: Observatory, doubt: Doubt) -> None:
    before = series(seen)
    seen.ticked(TickReport(claimed=0, doubts={doubt: 3}))

    assert changed(before, seen) == {f'relay_duplicates_possible_total{{reason="{doubt}"}}': 3}


def test_an_outcome_that_is_no_word_of_the_model_does_not_become_a_label(seen: Observatory) -> None:
    with pytest.raises(ValueError, match="a new kind"):
        seen.ticked(TickReport(claimed=1, outcomes={"a new kind": 1}))

    assert not any("a new kind" in name for name in series(seen))


def test_delays_fall_into_the_bucket_that_bounds_them(seen: Observatory) -> None:
    seen.ticked(TickReport(claimed=4, outcomes={"confirmed": 4}, delays_s=(0.005, 0.006, 3600.0, 9999.0)))

    shown = series(seen)
    bucket = 'relay_delivery_delay_seconds_bucket{le="%s"}'
    assert [shown[bucket % bound] for bound in ("0.005", "0.01", "1800.0", "3600.0", "+Inf")] == [1, 2, 2, 3, 4]


def test_rows_in_flight_rise_and_fall(seen: Observatory) -> None:
    seen.in_flight(500)
    seen.in_flight(20)
    assert series(seen)["relay_claimed_rows_in_flight"] == 520
    assert seen.status()["in_flight_rows"] == 520

    seen.in_flight(-500)
    assert series(seen)["relay_claimed_rows_in_flight"] == 20


async def test_the_tasks_of_the_loop_are_counted_at_a_scrape(seen: Observatory) -> None:
    before = series(seen)["relay_asyncio_tasks"]
    another = asyncio.create_task(asyncio.Event().wait())
    assert series(seen)["relay_asyncio_tasks"] == before + 1

    another.cancel()
    await asyncio.wait({another})
    assert series(seen)["relay_asyncio_tasks"] == before


def test_leases_lost_and_marks_deferred_are_counted_and_told(seen: Observatory, logs: Logs) -> None:
    before = series(seen)
    seen.lease_lost(range(100, 200))
    seen.unsettled(7, Fault.TIMEOUT)

    assert changed(before, seen) == {"relay_leases_lost_total": 100, "relay_marks_deferred_total": 7}
    assert logs[0] == {
        "event": "lease.lost",
        "log_level": "warning",
        "rows": 100,
        "row_ids": list(range(100, 120)),
    }
    assert logs[1] == {"event": "marks.deferred", "log_level": "warning", "marks": 7, "reason": "timeout"}


@pytest.mark.parametrize("op", DB_OPS)
def test_each_operation_in_the_database_is_timed(seen: Observatory, op: str) -> None:
    before = series(seen)
    seen.db(op, 0.004)

    moved = changed(before, seen)
    assert moved[f'relay_db_duration_seconds_count{{op="{op}"}}'] == 1
    assert moved[f'relay_db_duration_seconds_sum{{op="{op}"}}'] == 0.004


def test_the_store_times_exactly_the_operations_of_the_metric() -> None:
    assert set(OPS) == set(DB_OPS)


def test_an_unknown_operation_is_refused(seen: Observatory) -> None:
    with pytest.raises(ValueError, match="vacuum"):
        seen.db("vacuum", 1.0)


@pytest.mark.parametrize(
    ("field", "metric"),
    [("inserted", "relay_outbox_rows_inserted_total"), ("deleted", "relay_cleanup_rows_deleted_total")],
)
def test_rows_that_came_and_went_are_counted_from_the_first_sample_on_and_never_backwards(
    seen: Observatory, field: str, metric: str
) -> None:
    def counted(so_far: int) -> float:
        sample = {"inserted": 0, "deleted": 0, field: so_far}
        seen.sampled(replace(a_backlog(), inserted=sample["inserted"], deleted=sample["deleted"]))
        return series(seen)[metric]

    assert [counted(70_000), counted(75_000)] == [0, 5000]
    counted(0)  # Postgres crashed and counts anew
    assert counted(10) == 5010


# -- the backlog --------------------------------------------------------------------------------------------------


def a_backlog() -> Backlog:
    return Backlog(pending=100_000, retrying=3, failed=2, capped=True, oldest_age_s=12.5, sampled_at=1_700_000_000.0)


def test_a_sample_sets_the_gauges_and_the_status(seen: Observatory) -> None:
    before = series(seen)
    assert seen.status()["backlog"] is None
    seen.sampled(replace(a_backlog(), blocked_keys=4))

    assert changed(before, seen) == {
        'relay_outbox_rows{state="pending"}': 100_000,
        'relay_outbox_rows{state="retrying"}': 3,
        'relay_outbox_rows{state="failed"}': 2,
        "relay_outbox_rows_capped": 1,
        "relay_outbox_blocked_keys": 4,
        "relay_outbox_oldest_pending_age_seconds": 12.5,
        "relay_outbox_sample_timestamp_seconds": 1_700_000_000.0,
    }
    assert seen.status()["backlog"] == {
        "pending": 100_000,
        "retrying": 3,
        "failed": 2,
        "capped": True,
        "blocked_keys": 4,
        "oldest_pending_age_seconds": 12.5,
        "sampled_at": "2023-11-14T22:13:20.000Z",
    }


def test_the_samples_of_the_last_hour_are_told_with_what_came_in_and_went_out(seen: Observatory, clock: Clock) -> None:
    seen.sampled(replace(a_backlog(), inserted=500))
    seen.ticked(TickReport(claimed=40, outcomes={"confirmed": 30, Refusal.UNROUTABLE: 10}))
    seen.ticked(TickReport(claimed=20, outcomes={"confirmed": 20}))
    clock.now += 10
    seen.sampled(replace(a_backlog(), inserted=600))
    clock.now += 5

    history = seen.status()["history"]
    assert history["every_seconds"] == 10
    assert [(each["at"], each["in_per_second"], each["out_per_second"]) for each in history["points"]] == [
        ("1970-01-01T00:16:40.000Z", None, None),
        ("1970-01-01T00:16:50.000Z", 10, 5),
    ]


def test_an_outage_is_in_the_history_from_its_beginning_to_its_end_however_short(
    seen: Observatory, clock: Clock
) -> None:
    began = an_outage()
    for changes in ((), began, (), (began[1], Flowing()), (*an_outage(), Flowing())):
        walk(seen, "broker", *changes)
        clock.now += 10
        seen.sampled(a_backlog())

    told = [each["outage"] for each in seen.status()["history"]["points"]]
    assert told == [None, "broker", "broker", None, "broker"]


def test_failing_samples_are_all_counted_and_told_once_for_each_reason(seen: Observatory, logs: Logs) -> None:
    for fault in (Fault.TIMEOUT, Fault.TIMEOUT, Fault.LOST):
        seen.sample_failed(fault)
    seen.sampled(a_backlog())
    seen.sampled(a_backlog())

    assert series(seen)["relay_outbox_sample_errors_total"] == 3
    told = [(line["event"], line.get("reason")) for line in logs if line["log_level"] != "debug"]
    assert told == [
        ("backlog.sample_failed", "timeout"),
        ("backlog.sample_failed", "lost"),
        ("backlog.sample_recovered", None),
    ]


# -- the table's health -------------------------------------------------------------------------------------------


def a_health() -> Health:
    return Health(
        live_tuples=1_000_000,
        dead_tuples=250_000,
        table_bytes=400_000_000,
        index_bytes=50_000_000,
        complete=True,
        sampled_at=1_700_000_060.0,
        last_autovacuum_at=1_700_000_000.0,
        oldest_sent_at=1_690_000_000.0,
        snapshots=(
            Snapshot(Holder.REPLICATION_SLOT, 90_000, name="standby_2"),
            Snapshot(Holder.TRANSACTION, 70_000, age_s=7200.1234, pid=4711, application="psql"),
        ),
        replicas=(Replica("relay-a", "1.2.3"), Replica("relay-b", "1.2.4")),
        failures=(FailedRow(17, "unroutable", "unroutable: password=hunter2", 10, 1_699_999_999.5),),
    )


SNAPSHOT = 'relay_outbox_oldest_snapshot_%s{holder="%s"}'


def test_a_look_at_the_table_sets_the_gauges(seen: Observatory) -> None:
    before = series(seen)
    seen.health_sampled(a_health())

    assert changed(before, seen) == {
        "relay_outbox_live_tuples": 1_000_000,
        "relay_outbox_dead_tuples": 250_000,
        "relay_outbox_table_bytes": 400_000_000,
        "relay_outbox_index_bytes": 50_000_000,
        "relay_outbox_last_autovacuum_timestamp_seconds": 1_700_000_000,
        "relay_outbox_oldest_sent_timestamp_seconds": 1_690_000_000,
        SNAPSHOT % ("transactions", "replication_slot"): 90_000,
        SNAPSHOT % ("age_seconds", "transaction"): 7200.1234,
        SNAPSHOT % ("transactions", "transaction"): 70_000,
        "relay_outbox_health_complete": 1,
        "relay_outbox_health_timestamp_seconds": 1_700_000_060,
        "relay_replicas": 2,
    }


def test_a_snapshot_that_is_let_go_and_what_is_not_known_are_0(seen: Observatory) -> None:
    before = series(seen)
    seen.health_sampled(a_health())
    seen.health_sampled(Health(0, 0, 0, 0, complete=False, sampled_at=1_700_000_120.0))

    assert changed(before, seen) == {"relay_outbox_health_timestamp_seconds": 1_700_000_120}


def test_the_status_tells_the_tables_health_without_a_password(seen: Observatory) -> None:
    nothing: dict[str, object] = {"table": None, "replicas": [], "failures": []}
    assert {name: seen.status()[name] for name in nothing} == nothing
    seen.health_sampled(a_health())

    assert {name: seen.status()[name] for name in nothing} == {
        "table": {
            "live_tuples": 1_000_000,
            "dead_tuples": 250_000,
            "table_bytes": 400_000_000,
            "index_bytes": 50_000_000,
            "last_autovacuum_at": "2023-11-14T22:13:20.000Z",
            "oldest_sent_at": "2023-07-22T04:26:40.000Z",
            "complete": True,
            "sampled_at": "2023-11-14T22:14:20.000Z",
            "snapshots": [
                {
                    "holder": "replication_slot",
                    "age_seconds": None,
                    "transactions": 90_000,
                    "pid": None,
                    "application": None,
                    "name": "standby_2",
                },
                {
                    "holder": "transaction",
                    "age_seconds": 7200.123,
                    "transactions": 70_000,
                    "pid": 4711,
                    "application": "psql",
                    "name": None,
                },
            ],
        },
        "replicas": [{"name": "relay-a", "version": "1.2.3"}, {"name": "relay-b", "version": "1.2.4"}],
        "failures": [
            {
                "row_id": 17,
                "reason": "unroutable",
                "error": "unroutable: password=****",
                "failures": 10,
                "at": "2023-11-14T22:13:19.500Z",
            }
        ],
    }


def test_what_was_never_vacuumed_or_sent_is_null(seen: Observatory) -> None:
    seen.health_sampled(Health(0, 0, 0, 0, complete=False, sampled_at=1_700_000_120.0))

    table = seen.status()["table"]
    assert (table["last_autovacuum_at"], table["oldest_sent_at"], table["snapshots"]) == (None, None, [])


def test_failing_looks_at_the_table_are_all_counted_and_told_once_for_each_reason(
    seen: Observatory, logs: Logs
) -> None:
    for fault in (Fault.TIMEOUT, Fault.TIMEOUT, Fault.PERMISSION):
        seen.health_failed(fault)
    seen.health_sampled(a_health())
    seen.health_sampled(a_health())

    assert series(seen)["relay_outbox_health_errors_total"] == 3
    assert series(seen)["relay_outbox_sample_errors_total"] == 0
    assert [(line["event"], line["log_level"], line.get("reason")) for line in logs] == [
        ("health.sample_failed", "warning", "timeout"),
        ("health.sample_failed", "warning", "permission"),
        ("health.sample_recovered", "info", None),
    ]


# -- outages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["broker", "database"])
@pytest.mark.parametrize("fault", Fault)
def test_an_outage_shows_its_side_and_reason_until_it_ends(seen: Observatory, side: str, fault: Fault) -> None:
    up, down = an_outage(fault)
    before = series(seen)
    walk(seen, side, up, down)

    moved = changed(before, seen)
    moved.pop("relay_db_connected", None)
    assert moved == {
        f'relay_outage{{side="{side}"}}': 1,
        f'relay_outages_total{{side="{side}"}}': 1,
        f'relay_outage_reason{{reason="{fault}",side="{side}"}}': 1,
    }

    probing = outage.probe(down)
    walk(seen, side, down, probing, outage.prove(probing, Proof.ANSWER))
    moved = changed(before, seen)
    assert moved.pop("relay_db_connected", 0) == (side == "database")
    assert moved == {f'relay_outages_total{{side="{side}"}}': 1}


def test_an_outage_that_changes_its_reason_shows_the_new_one_only(seen: Observatory) -> None:
    up, down = an_outage(Fault.UNREACHABLE)
    probing = outage.probe(down)
    worse = outage.fail(probing, Fault.AUTH, "no", now=1, jitter=0, policy=POLICY)
    walk(seen, "broker", up, down, probing, worse)

    reasons = {name for name, value in series(seen).items() if name.startswith("relay_outage_reason") and value}
    assert reasons == {'relay_outage_reason{reason="auth",side="broker"}'}
    assert series(seen)['relay_outages_total{side="broker"}'] == 1


def test_the_seconds_of_an_outage_grow_while_it_stands_and_stay_after(seen: Observatory, clock: Clock) -> None:
    name = 'relay_outage_seconds_total{side="broker"}'
    up, down = an_outage()
    walk(seen, "broker", up, down)
    clock.now += 5
    assert series(seen)[name] == 5
    probing = outage.probe(down)
    walk(seen, "broker", down, probing)
    clock.now += 2
    assert series(seen)[name] == 7
    walk(seen, "broker", probing, Flowing(1))
    clock.now += 100
    assert series(seen)[name] == 7
    walk(seen, "broker", Flowing(1), down)
    clock.now += 1
    assert series(seen)[name] == 8
    assert series(seen)['relay_outage_seconds_total{side="database"}'] == 0


def test_an_outage_is_told_when_it_begins_changes_and_ends(seen: Observatory, clock: Clock, logs: Logs) -> None:
    up, down = an_outage(Fault.REFUSED, "amqp://svc:hunter2@mq says no")
    probing = outage.probe(down)
    same = outage.fail(probing, Fault.REFUSED, "still", now=1, jitter=0, policy=POLICY)
    again = outage.probe(same)
    other = outage.fail(again, Fault.AUTH, "who?", now=2, jitter=0, policy=POLICY)
    last = outage.probe(other)
    back = outage.prove(last, Proof.CONNECTION)
    walk(seen, "broker", up, down, probing, same, again, other, last)
    clock.now += 9.5
    walk(seen, "broker", last, back, Flowing(10), Flowing())

    told = [{name: value for name, value in line.items() if name != "side"} for line in logs]
    assert told == [
        {"event": "outage.began", "log_level": "warning", "reason": "refused", "detail": "amqp://svc:****@mq says no"},
        {
            "event": "outage.probed",
            "log_level": "debug",
            "reason": "refused",
            "probes": 1,
            "detail": "amqp://svc:****@mq says no",
        },
        {"event": "outage.lasts", "log_level": "debug", "reason": "refused", "probes": 1, "detail": "still"},
        {"event": "outage.probed", "log_level": "debug", "reason": "refused", "probes": 2, "detail": "still"},
        {"event": "outage.changed", "log_level": "warning", "reason": "auth", "probes": 2, "detail": "who?"},
        {"event": "outage.probed", "log_level": "debug", "reason": "auth", "probes": 3, "detail": "who?"},
        {
            "event": "outage.ended",
            "log_level": "info",
            "reason": "auth",
            "probes": 3,
            "lasted_s": 9.5,
            "proven": False,
        },
        {"event": "flow.widened", "log_level": "debug", "limit": 10},
        {"event": "flow.widened", "log_level": "debug", "limit": None},
    ]
    assert {line["side"] for line in logs} == {"broker"}


@pytest.mark.parametrize("fault", [Fault.SCHEMA, Fault.PERMISSION])
def test_a_missing_table_or_grant_is_told_once_and_when_it_is_there(
    seen: Observatory, logs: Logs, fault: Fault
) -> None:
    up, down = an_outage(fault, "run relay migrate up")
    probing = outage.probe(down)
    same = outage.fail(probing, fault, "run relay migrate up", now=1, jitter=0, policy=POLICY)
    again = outage.probe(same)
    lost = outage.fail(again, Fault.LOST, "gone", now=1, jitter=0, policy=POLICY)
    last = outage.probe(lost)
    walk(seen, "database", up, down, probing, same, again, lost, last, Flowing(1), Flowing(10))

    told = [line for line in logs if line["event"].startswith("schema.")]
    assert told == [
        {"event": "schema.missing", "log_level": "error", "detail": "run relay migrate up"},
        {"event": "schema.ready", "log_level": "info"},
    ]


def test_a_broker_that_refuses_permission_is_no_missing_schema(seen: Observatory, logs: Logs) -> None:
    walk(seen, "broker", *an_outage(Fault.PERMISSION))

    assert [line["event"] for line in logs] == ["outage.began"]


# -- connections --------------------------------------------------------------------------------------------------


@dataclass
class Adapter:
    """What the broker's adapter says of itself."""

    connected: bool = False
    blocked: bool = False
    latency_s: float | None = None


def test_the_broker_adapter_is_asked_at_every_scrape(seen: Observatory) -> None:
    adapter = Adapter()
    seen.watch_broker(adapter)
    for flag in (True, False):
        adapter.connected = adapter.blocked = flag
        shown = series(seen)

        assert (shown["relay_broker_connected"], shown["relay_broker_blocked"]) == (flag, flag)


def test_the_status_tells_what_the_broker_adapter_knows(seen: Observatory) -> None:
    seen.watch_broker(Adapter(connected=True, latency_s=0.0025))

    told = seen.status()["broker"]

    assert told["state"] == "flowing"
    assert (told["connected"], told["blocked"], told["latency_seconds"]) == (True, False, 0.0025)


def test_the_database_is_connected_once_it_has_answered(seen: Observatory) -> None:
    assert series(seen)["relay_db_connected"] == 0
    seen.db("ready", 0.01)
    assert series(seen)["relay_db_connected"] == 1


@pytest.mark.parametrize("fault", Fault)
def test_a_database_that_says_no_is_connected_and_one_that_is_gone_is_not(seen: Observatory, fault: Fault) -> None:
    seen.db("ready", 0.01)
    walk(seen, "database", *an_outage(fault))

    says_no = {Fault.SCHEMA, Fault.PERMISSION, Fault.READ_ONLY}
    assert series(seen)["relay_db_connected"] == (fault in says_no)
    told = seen.status()["database"]
    assert (told["connected"], told["latency_seconds"]) == ((True, 0.01) if fault in says_no else (False, None))


def test_an_answer_that_comes_late_does_not_hide_an_outage(seen: Observatory) -> None:
    walk(seen, "database", *an_outage(Fault.LOST))
    seen.db("settle", 0.1)

    assert series(seen)["relay_db_connected"] == 0
    assert seen.ready() == "database: lost: no"


# -- live, ready, status ------------------------------------------------------------------------------------------


def test_the_relay_is_live_while_its_loop_turns_and_not_after_a_long_silence(seen: Observatory, clock: Clock) -> None:
    clock.now += LIVE_SILENCE_S - 1
    assert seen.live()
    seen.turned()
    clock.now += LIVE_SILENCE_S - 1
    assert seen.live()
    clock.now += 1
    assert not seen.live()
    seen.turned()
    assert seen.live()


def test_an_outage_in_which_the_loop_turns_is_live(seen: Observatory, clock: Clock) -> None:
    walk(seen, "broker", *an_outage())
    walk(seen, "database", *an_outage())
    for _ in range(10):
        clock.now += LIVE_SILENCE_S / 2
        seen.turned()

    assert seen.live()
    assert series(seen)["relay_last_tick_timestamp_seconds"] == clock.now


@pytest.mark.parametrize("op", ["ready", "claim", "settle", "renew"])
def test_the_relay_is_ready_once_the_database_has_answered(seen: Observatory, op: str) -> None:
    assert seen.ready() == "the database has not answered yet"
    seen.db(op, 0.01)
    assert seen.ready() is None


def test_a_sample_does_not_prove_the_grants_a_claim_needs(seen: Observatory) -> None:
    seen.db("backlog", 0.01)

    assert seen.ready() == "the database has not answered yet"


def test_a_broker_outage_does_not_make_the_relay_unready(seen: Observatory) -> None:
    seen.db("ready", 0.01)
    walk(seen, "broker", *an_outage())

    assert seen.ready() is None


def test_a_database_outage_makes_it_unready_until_a_probe_succeeds(seen: Observatory) -> None:
    seen.db("ready", 0.01)
    up, down = an_outage(Fault.SCHEMA, "table outbox.message is missing")
    walk(seen, "database", up, down)
    assert seen.ready() == "database: schema: table outbox.message is missing"
    probing = outage.probe(down)
    walk(seen, "database", down, probing)
    assert seen.ready() is not None
    walk(seen, "database", probing, Flowing(1))
    assert seen.ready() is None


def test_the_status_tells_both_sides(seen: Observatory, clock: Clock) -> None:
    seen.db("claim", 0.0123456789)
    clock.now += 30
    up, down = an_outage(Fault.AUTH, "password=hunter2 is wrong")
    walk(seen, "broker", up, down, outage.probe(down))
    clock.now += 12

    status = seen.status()

    assert (status["name"], status["version"], status["uptime_seconds"]) == ("here", "1.2.3", 42)
    assert (status["live"], status["not_ready"], status["last_confirm_at"]) == (True, None, None)
    assert status["broker"] == {
        "state": "probing",
        "since": "1970-01-01T00:17:10.000Z",
        "connected": False,
        "latency_seconds": None,
        "reason": "auth",
        "detail": "password=**** is wrong",
        "probes": 1,
    }
    assert status["database"] == {
        "state": "flowing",
        "since": "1970-01-01T00:16:40.000Z",
        "connected": True,
        "latency_seconds": 0.012346,
        "limit": None,
        "proven": True,
    }


def test_the_state_in_one_word(seen: Observatory) -> None:
    up, down = an_outage()
    words = [seen.status()["broker"]["state"]]
    for before, after in ((up, down), (down, outage.probe(down)), (outage.probe(down), Flowing(1)), (Flowing(1), up)):
        walk(seen, "broker", before, after)
        words.append(seen.status()["broker"]["state"])

    assert words == ["starting", "outage", "probing", "recovering", "flowing"]


# -- events -------------------------------------------------------------------------------------------------------


def test_an_event_that_is_not_in_the_table_cannot_be_logged(seen: Observatory, logs: Logs) -> None:
    with pytest.raises(KeyError):
        seen.tell("something.happened")
    assert logs == []


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_can_be_logged_and_has_a_dotted_name_and_a_sentence(event: str, logs: Logs) -> None:
    tell(event, rows=1)

    assert [(line["event"], line["rows"]) for line in logs] == [(event, 1)]
    assert re.fullmatch(r"tick|[a-z]+(\.[a-z_]+)", event)
    assert EVENTS[event].endswith(".")


def test_every_event_that_the_code_names_is_in_the_table_and_the_other_way_round() -> None:
    code = {path: path.read_text() for path in RELAY.rglob("*.py")}
    named = set(re.findall(r"tell\(\s*\"([a-z_.]+)\"", "".join(code.values())))
    anywhere = "".join(text for path, text in code.items() if path.name != "events.py")

    assert named <= set(EVENTS)
    assert {event for event in EVENTS if f'"{event}"' not in anywhere} == set()


def test_only_the_observatory_logs() -> None:
    speaks = re.compile(r"get_logger\(|(log|logger|getLogger\(.*\))\.(debug|info|warning|error|exception)\(|\bprint\(")
    speakers = {path.relative_to(RELAY).as_posix() for path in RELAY.rglob("*.py") if speaks.search(path.read_text())}

    assert speakers == {"observe/events.py"}

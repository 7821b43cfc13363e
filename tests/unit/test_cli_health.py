"""How `relay status` words the table's health."""

from dataclasses import replace

import pytest

from relay.cli.health import DEGRADED, held_by, lines
from relay.model import FailedRow, Health, Holder, Replica, Snapshot

NOW = 1_700_000_000.0
HEALTH = Health(
    live_tuples=1_200_000,
    dead_tuples=34_000,
    table_bytes=500 * 2**20,
    index_bytes=3 * 2**30,
    complete=True,
    sampled_at=NOW,
    last_autovacuum_at=NOW - 200,
    oldest_sent_at=NOW - 86_400 * 30,
    snapshots=(Snapshot(Holder.TRANSACTION, 90_000, 7300.0, 4711, "psql"),),
    replicas=(Replica("relay-a", "1.2.3"), Replica("relay-b", "1.2.4")),
    failures=tuple(FailedRow(number, "invalid", "invalid: " + "x" * 300, 1, NOW - 60) for number in range(10, 0, -1)),
)


def test_all_of_it_is_told_in_a_few_lines() -> None:
    told = list(lines(HEALTH))
    assert told[:4] == [
        ("table", "500 MiB and 3.0 GiB of indexes; the oldest sent row is 30 d old"),
        ("vacuum", "1,200,000 live and 34,000 dead tuples; last autovacuum 3 min 20 s ago"),
        ("held up", "by transaction of pid 4711 (psql), open for 2 h 1 min, 90,000 transactions behind"),
        ("replicas", "relay-a 1.2.3, relay-b 1.2.4"),
    ]
    assert [text.partition(",")[0] for name, text in told[4:] if name == "given up"] == ["row 10", "row 9", "row 8"]
    assert all(len(text) < 200 for _, text in told)


def test_a_table_without_a_past_is_told_as_such() -> None:
    told = dict(lines(Health(0, 0, 512, 16_384, complete=True, sampled_at=NOW)))
    assert told == {
        "table": "512 B and 16 KiB of indexes; no sent row",
        "vacuum": "0 live and 0 dead tuples; no autovacuum known",
        "replicas": "none connected",
    }


def test_a_login_that_does_not_see_all_is_told_what_to_grant() -> None:
    assert ("degraded", DEGRADED) in lines(replace(HEALTH, complete=False))
    assert "grant pg_monitor to see other logins' sessions" in DEGRADED


@pytest.mark.parametrize(
    ("snapshot", "told"),
    [
        (Snapshot(Holder.TRANSACTION, 5, None, 17), "transaction of pid 17, 5 transactions behind"),
        (
            Snapshot(Holder.STANDBY, 1000, None, 17, "walreceiver"),
            "standby of pid 17 (walreceiver), 1,000 transactions behind",
        ),
        (
            Snapshot(Holder.PREPARED_TRANSACTION, 5, 90.0, name="order 17"),
            "prepared transaction order 17, open for 1 min 30 s, 5 transactions behind",
        ),
        (
            Snapshot(Holder.REPLICATION_SLOT, 5, name="s1"),
            "replication slot s1 (nobody uses it), 5 transactions behind",
        ),
        (
            Snapshot(Holder.REPLICATION_SLOT, 1, None, 17, None, "s1"),
            "replication slot s1 (used by pid 17), 1 transaction behind",
        ),
    ],
)
def test_each_holder_is_named_by_what_ends_it(snapshot: Snapshot, told: str) -> None:
    assert held_by(snapshot) == told


def test_what_strangers_wrote_stays_on_its_line_and_commands_no_terminal() -> None:
    rows = (FailedRow(1, "unknown", "a\nb\x1b[2J\x07c", 1, NOW),)
    assert ("given up", "row 1, 0.0 s ago: a b [2J c") in lines(replace(HEALTH, failures=rows))
    assert held_by(Snapshot(Holder.PREPARED_TRANSACTION, 1, name="x\ty")).startswith("prepared transaction x y,")

"""The low-water mark against a model of the table: it hides no row for longer than a rescan."""

from hypothesis import given
from hypothesis import strategies as st

from relay.scan import Scan, saw, start

RESCAN_S = 5.0
STEP_S = 0.5
LIMIT = 3


def claim(scan: Scan, table: dict[int, float], now: float, *, idle: bool, limit: int = LIMIT) -> tuple[Scan, list[int]]:
    """Do what a claim does: take the first due rows from where the scan says."""
    low = start(scan, idle=idle, now=now, rescan_s=RESCAN_S)
    due = sorted(row_id for row_id in table if row_id >= low)
    taken = due[:limit]
    more = len(taken) == limit
    return saw(scan, began=low, last_id=taken[-1] if taken else None, more=more, now=now), taken


@given(
    commits=st.lists(st.tuples(st.integers(1, 200), st.integers(0, 60)), max_size=60, unique_by=lambda pair: pair[0])
)
def test_every_row_is_found_soon_whatever_the_order_of_commits(commits: list[tuple[int, int]]) -> None:
    scan, now, idle = Scan(), 0.0, False
    table: dict[int, float] = {}
    waiting = sorted(commits, key=lambda pair: pair[1])
    for step in range(200):
        now = step * STEP_S
        while waiting and waiting[0][1] <= step:
            table[waiting.pop(0)[0]] = now
        smaller_backlog = len(table)
        scan, taken = claim(scan, table, now, idle=idle)
        for row_id in taken:
            # Each row waits for a scan from 0, and behind the rows of the backlog that come before it.
            assert now - table[row_id] <= RESCAN_S + STEP_S * (1 + len(commits) / LIMIT)
            del table[row_id]
        idle = not taken
        assert smaller_backlog == len(table) + len(taken)
    assert not table


@given(rows=st.integers(1, 500), limit=st.integers(1, 50))
def test_in_a_steady_drain_no_claim_begins_before_the_rows_that_are_done(rows: int, limit: int) -> None:
    scan, table = Scan(), dict.fromkeys(range(1, rows + 1), 0.0)
    done = 0
    step = 0
    while table:
        low = start(scan, idle=False, now=0.01, rescan_s=RESCAN_S)
        assert low == (done + 1 if step else 0)
        scan, taken = claim(scan, table, 0.01, idle=False, limit=limit)
        done = taken[-1]
        for row_id in taken:
            del table[row_id]
        step += 1
        if len(taken) < limit:
            break
    assert not table


@given(seconds=st.integers(3, 200))
def test_a_trickle_of_rows_carries_the_mark_along(seconds: int) -> None:
    scan, now = Scan(), 0.0
    for row_id in range(1, seconds + 1):
        now += 1.0
        scan, taken = claim(scan, {row_id: now}, now, idle=False)
        assert taken == [row_id]
    assert seconds - 2 <= scan.low <= scan.high == seconds + 1

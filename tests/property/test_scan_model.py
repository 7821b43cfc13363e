"""The low-water mark and its walks against a model of the table: they hide no row for longer than a rescan."""

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from relay.scan import Scan, Sight, rest_s, saw, start

RESCAN_S = 5.0
STEP_S = 0.5
LIMIT = 3
WINDOW = 7
CLAIM_S = 0.001


class Model:
    """A table whose rows fall due at some time, and one relay that claims from it."""

    def __init__(self, window: int = 10**6) -> None:
        self.scan = Scan()
        self.now = 0.0
        self.due_at: dict[int, float] = {}
        self._window = window
        self._idle = False
        self.looked: list[int] = []
        """How many rows each claim passed by."""

    def claim(self, limit: int = LIMIT) -> list[int]:
        """Do what a claim does: take the first due rows of the window that begins where the scan says."""
        look = start(self.scan, idle=self._idle, now=self.now, rescan_s=RESCAN_S)
        high = look.low + self._window
        ids = sorted(self.due_at)
        end = bisect_left(ids, high)
        inside = ids[bisect_left(ids, look.low) : end]
        taken = [row_id for row_id in inside if self.due_at[row_id] <= self.now][:limit]
        beyond = ids[end] if end < len(ids) else None
        for row_id in taken:
            del self.due_at[row_id]
        self.looked.append(len(inside))
        sight = Sight(taken[-1] if taken else None, len(taken) == limit, beyond, CLAIM_S)
        self.scan = saw(self.scan, look, sight, now=self.now)
        self._idle = not taken if not look.walks or taken else self._idle
        return taken

    def poll(self, limit: int = LIMIT) -> list[int]:
        """Claim as often as the engine would before it rests for a whole step; the rows."""
        taken: list[int] = []
        end = self.now + STEP_S
        while True:
            low = self.scan.low
            some = self.claim(limit)
            taken += some
            rest = 0.0 if len(some) == limit or self.scan.low > low else rest_s(self.scan, STEP_S, now=self.now)
            self.now = min(end, self.now + rest + CLAIM_S)
            if self.now >= end:
                return taken


@given(
    commits=st.lists(st.tuples(st.integers(1, 200), st.integers(0, 60)), max_size=60, unique_by=lambda pair: pair[0]),
    delayed=st.sets(st.integers(1, 200), max_size=100),
    window=st.sampled_from([WINDOW, 50, 10**6]),
)
def test_every_row_is_found_soon_whatever_the_order_of_commits(
    commits: list[tuple[int, int]], delayed: set[int], window: int
) -> None:
    model = Model(window)
    model.due_at |= dict.fromkeys(delayed - {row_id for row_id, _ in commits}, float("inf"))
    for step in range(80):
        for row_id, _ in (pair for pair in commits if pair[1] == step):
            model.due_at[row_id] = model.now
        due_at = dict(model.due_at)
        for row_id in model.poll():
            # Each row waits for a walk, and behind the rows of the backlog that come before it.
            assert model.now - due_at[row_id] <= RESCAN_S + STEP_S * (2 + len(commits) / LIMIT)
    assert set(model.due_at.values()) <= {float("inf")}
    assert max(model.looked) <= window


@given(rows=st.integers(1, 500), limit=st.integers(1, 50))
def test_in_a_steady_drain_no_claim_begins_before_the_rows_that_are_done(rows: int, limit: int) -> None:
    model = Model()
    model.due_at = dict.fromkeys(range(1, rows + 1), 0.0)
    done = 0
    while model.due_at:
        look = start(model.scan, idle=False, now=model.now, rescan_s=RESCAN_S)
        assert (look.low, look.walks) == (done + 1 if done else 0, False)
        done = model.claim(limit)[-1]


@given(seconds=st.integers(3, 200))
def test_a_trickle_of_rows_carries_the_mark_along(seconds: int) -> None:
    model = Model()
    for row_id in range(1, seconds + 1):
        model.now += 1.0
        model.due_at[row_id] = model.now
        taken = model.claim() or model.claim()  # the first may be a step of a walk
        assert taken == [row_id]
    assert seconds - 2 <= model.scan.low <= model.scan.high == seconds + 1


@given(delayed=st.integers(100, 400), at=st.integers(1, 20))
def test_rows_behind_many_that_are_delayed_wait_for_no_walk(delayed: int, at: int) -> None:
    model = Model(WINDOW)
    model.due_at = dict.fromkeys(range(1, delayed + 1), float("inf"))
    for step in range(1, 40):
        fresh = delayed + step
        if step >= at:
            model.due_at[fresh] = model.now
        assert model.poll() == ([fresh] if step >= at else [])


@given(delayed=st.integers(200, 2000))
def test_a_walk_has_its_share_of_the_time_and_no_more(delayed: int) -> None:
    model = Model(WINDOW)
    model.due_at = dict.fromkeys(range(1, delayed + 1), float("inf"))
    model.poll()
    while model.scan.low <= delayed - WINDOW:
        model.poll()
    walked, began = len(model.looked), model.now
    for _ in range(40):
        model.poll()
    assert (len(model.looked) - walked) * CLAIM_S <= 2 * 0.11 * (model.now - began) + 4 * CLAIM_S  # and its claims

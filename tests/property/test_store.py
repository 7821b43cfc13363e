"""Three stores on one table against a model of it: whatever order things happen in, all agree on every row."""

import asyncio
from collections.abc import Coroutine, Iterator
from secrets import token_hex
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from relay import scan
from relay.model import Claim
from relay.store import PostgresStore
from services.postgres import PostgresServer
from tests.property.outbox_model import Kind, Known, Outbox, mark_of
from tests.stores import config

T = TypeVar("T")
LEASE_S = 7200.0
NEARLY_S = 60
"""A lease that is about to run out; no example takes so long."""
RESCAN_S = 5.0
KINDS: tuple[Kind | None, ...] = (
    "sent",
    "failed",
    "release",
    "retry now",
    None,
    "release in doubt",
    "retry later",
    "sent, of another message",
)
"""Marks, dealt to the rows of a claim in turn; None: the row has no answer yet."""
first = st.integers(0, len(KINDS) - 1)
stores = st.integers(0, 2)
limits = st.integers(1, 6)
recent = st.integers(0, 4)
FOUND = """
SELECT
  id, message_id::text, status, claims, failures, claim_token, claimed_until IS NOT NULL,
  coalesce(claimed_until <= now(), false), status = 'pending' AND available_at > now(), last_error, sent_at IS NOT NULL,
  coalesce(sent_at < now() - interval '1 day', false)
FROM outbox.message ORDER BY id
"""
LENGTH = "SELECT extract(epoch FROM claimed_until - now())::float8 FROM outbox.message WHERE id = ANY (%s)"


def some(values: st.SearchStrategy[T]) -> st.SearchStrategy[list[T | None]]:
    """One for each row of a claim, or none: always so many, whatever was claimed."""
    return st.lists(values | st.none(), min_size=6, max_size=6)


class Machine(RuleBasedStateMachine):
    """Everything that happens to an outbox, in any order."""

    url = ""
    loop: asyncio.AbstractEventLoop
    relays: list[PostgresStore]

    def __init__(self) -> None:
        super().__init__()
        self.admin = psycopg.connect(self.url, autocommit=True)
        self.admin.execute("TRUNCATE outbox.message RESTART IDENTITY")
        self.producer = psycopg.connect(self.url)
        self.outbox = Outbox()
        self.uncommitted: dict[int, Known] = {}
        self.claims: list[tuple[UUID, list[int]]] = []
        self.scans = [scan.Scan() for _ in self.relays]
        self.idle = [False for _ in self.relays]
        self.now = 0.0

    @property
    def rows(self) -> dict[int, Known]:
        """What the model believes."""
        return self.outbox.rows

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        """Leave nothing behind for the next example."""
        self.producer.close()
        self.admin.close()
        for store in self.relays:
            store._unanswered.clear()

    # -- producers ----------------------------------------------------------------------------------------------

    def _insert(self, connection: psycopg.Connection[Any], count: int) -> dict[int, Known]:
        query = "INSERT INTO outbox.message (routing_key, payload) SELECT 'a', '{}' FROM generate_series(1, %s)"
        found = connection.execute(query + " RETURNING id, message_id::text", (count,))
        return {row_id: Known(message_id, free_since=self.now) for row_id, message_id in found}

    @initialize()
    def begin(self) -> None:
        """There is something to do."""
        self.insert()

    @rule()
    def insert(self) -> None:
        """A producer commits some rows."""
        self.outbox.rows |= self._insert(self.admin, 4)

    @rule(count=st.integers(1, 2))
    def insert_and_wait(self, count: int) -> None:
        """A producer inserts some rows, and does not commit yet."""
        self.uncommitted |= self._insert(self.producer, count)

    @precondition(lambda self: self.uncommitted)
    @rule(good=st.booleans())
    def end(self, good: bool) -> None:  # noqa: FBT001 - drawn
        """It commits at last, or rolls back."""
        if good:
            self.producer.commit()
            self.outbox.rows |= self.uncommitted
        else:
            self.producer.rollback()
        for row in self.uncommitted.values():
            row.free_since = self.now
        self.uncommitted = {}

    def _recent(self, which: int) -> tuple[UUID, list[int]]:
        """One of the latest claims, the last one first."""
        return self.claims[-1 - which % len(self.claims)]

    # -- relays -------------------------------------------------------------------------------------------------

    def _took(self, taken: Claim, expected: list[int]) -> None:
        """Compare a claim with what it had to be, and believe in it."""
        assert [row.id for row in taken.rows] == expected
        for row in taken.rows:
            known = self.rows[row.id]
            known.take(taken.token)
            seen = (row.claims, row.failures, row.doubtful, row.message_id)
            assert seen == (known.claims, known.failures, known.error is not None, known.message_id)
        self._lasts(expected)
        self.claims.append((taken.token, expected))

    def _lasts(self, ids: list[int]) -> None:
        """A lease lasts as long as it should."""
        for (left_s,) in self.admin.execute(LENGTH, (ids,)):
            assert LEASE_S - NEARLY_S < left_s <= LEASE_S

    @rule(number=stores, limit=limits, low=st.integers(0, 8))
    def claim(self, number: int, limit: int, low: int) -> None:
        """A store claims: exactly the first free rows, in order."""
        taken = self.wait(self.relays[number].claim(limit=limit, low=low))
        free = self.outbox.free(low)
        expected = self.outbox.cut(free, limit)
        assert taken.more == (len(free) >= limit or len(expected) < len(free))
        self._took(taken, expected)

    @rule(number=stores, count=st.integers(1, 3))
    def claim_beside_another(self, number: int, count: int) -> None:
        """What another session is about to take is passed by without waiting."""
        free = self.outbox.free()
        with psycopg.connect(self.url) as other:
            other.execute("SELECT FROM outbox.message WHERE id = ANY (%s) FOR NO KEY UPDATE", (free[:count],))
            taken = self.wait(self.relays[number].claim(limit=3, low=0))
            other.rollback()
        self._took(taken, self.outbox.cut(free[count:], 3))

    @rule(limit=limits)
    def claim_at_once(self, limit: int) -> None:
        """All claim at the same time: no row is taken twice, and none is left while somebody had room."""

        async def all_of_them() -> list[Claim]:
            return await asyncio.gather(*(store.claim(limit=limit, low=0) for store in self.relays))

        free = self.outbox.free()
        together = self.wait(all_of_them())
        for taken in together:
            ids = [row.id for row in taken.rows]
            assert set(ids) <= set(free)
            assert len(ids) <= limit
            self._took(taken, sorted(ids))
        assert sum(len(taken.rows) for taken in together) == len({row.id for taken in together for row in taken.rows})
        assert sum(len(taken.rows) for taken in together) >= len(self.outbox.cut(free, limit))

    @rule(number=stores, limit=limits, seconds=st.floats(0.0, 3.0))
    def poll(self, number: int, limit: int, seconds: float) -> None:
        """A store claims from its low-water mark, which hides no row for longer than the time to the next rescan."""
        self.now += seconds
        self._look(number, limit)
        if self.scans[number].stepped:  # after a step of a walk the mark has its turn, at once
            self._look(number, limit)

    def _look(self, number: int, limit: int) -> None:
        look = scan.start(self.scans[number], idle=self.idle[number], now=self.now, rescan_s=RESCAN_S)
        low = look.low
        taken = self.wait(self.relays[number].claim(limit=limit, low=low))
        self._took(taken, self.outbox.cut(self.outbox.free(low), limit))
        last_id = taken.rows[-1].id if taken.rows else None
        sight = scan.Sight(last_id, taken.more, taken.beyond)
        after = scan.saw(self.scans[number], look, sight, now=self.now)
        self.scans[number], self.idle[number] = after, not taken.rows
        if not taken.more:
            assert all(self.now - self.rows[row_id].free_since < RESCAN_S or low for row_id in self.outbox.free())
            assert self.now - after.rescanned_at < RESCAN_S

    @precondition(lambda self: self.claims)
    @rule(which=recent, number=stores, first=first, again=st.sampled_from([None, 0, 1, 5]))
    def settle(self, which: int, number: int, first: int, again: int | None) -> None:
        """Some store marks rows of a claim: in time or too late, and once more when the reply was lost.

        What was settled stays, even if other marks follow under the same lease.
        """
        self._settle(which, number, first)
        if again is not None:
            self._settle(which, number, first + again)

    def _settle(self, which: int, number: int, first: int) -> None:
        token, ids = self._recent(which)
        dealt = ((row_id, KINDS[(first + place) % len(KINDS)]) for place, row_id in enumerate(ids))
        chosen = {row_id: kind for row_id, kind in dealt if kind is not None and row_id in self.rows}
        written = [mark_of(kind, row_id, self.rows[row_id].message_id) for row_id, kind in chosen.items()]
        ours = {row_id: self.rows[row_id].mark(kind, token) for row_id, kind in chosen.items()}
        for row_id in chosen:
            self.rows[row_id].free_since = self.now
        lost = self.wait(self.relays[number].settle(token, written))
        assert lost == {row_id for row_id, is_ours in ours.items() if not is_ours}

    @precondition(lambda self: self.claims)
    @rule(which=recent, number=stores, first=first)
    def overtake(self, which: int, number: int, first: int) -> None:
        """A relay is so slow that another takes its rows, and it renews and settles them all the same."""
        self.expire(which=which, everything=False)
        self.claim(number=number, limit=6, low=0)
        self.renew(which=which + 1, number=(number + 1) % 3, chosen=["yes"] * 6)
        self.settle(which=which + 1, number=(number + 1) % 3, first=first, again=None)

    @precondition(lambda self: self.claims)
    @rule(which=recent, number=stores, chosen=some(st.just("yes")))
    def renew(self, which: int, number: int, chosen: list[str | None]) -> None:
        """A lease is renewed for the rows that are still held under it, some of them just in time, some too late."""
        token, ids = self._recent(which)
        asked = [row_id for row_id, yes in zip(ids, chosen, strict=False) if yes]
        held = self.outbox.held(token, asked)
        self.admin.execute(
            "UPDATE outbox.message SET claimed_until = least(claimed_until, now() + make_interval(secs => %s)) "
            "WHERE id = ANY (%s)",
            (2 * NEARLY_S, held),
        )
        assert self.wait(self.relays[number].renew(token, asked)) == set(held)
        self._lasts(held)
        for row_id in held:
            self.rows[row_id].expired = False

    @precondition(lambda self: self.claims)
    @rule(which=recent, number=stores, seen=st.sampled_from([2, 100]), from_start=st.booleans())
    def lose_the_answer(self, which: int, number: int, seen: int, from_start: bool) -> None:  # noqa: FBT001 - drawn
        """Nobody heard of a claim: its rows go back as if never claimed, unless they are in other hands."""
        token, ids = self._recent(which)
        low = 0 if from_start else min(ids, default=0)
        self.relays[number]._unanswered.append({"token": token, "low": low, "high": 2**63 - 1, "seen": seen})
        self.wait(self.relays[number].ready())
        self.outbox.give_back(token, low=low, seen=seen)
        for row_id in ids:
            if row_id in self.rows:
                self.rows[row_id].free_since = self.now

    # -- time ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.claims)
    @rule(which=recent, everything=st.booleans())
    def expire(self, which: int, everything: bool) -> None:  # noqa: FBT001 - drawn
        """A relay died, or was slow: a lease runs out, or all, and it does not know."""
        tokens = [token for token, _ in self.claims] if everything else [self._recent(which)[0]]
        self.admin.execute(
            "UPDATE outbox.message SET claimed_until = now() - interval '1 s' "
            "WHERE claimed_until IS NOT NULL AND claim_token = ANY (%s)",
            (tokens,),
        )
        for row in self.rows.values():
            if row.held and row.token in tokens:
                row.expired, row.free_since = True, self.now

    @rule()
    def time_passes(self) -> None:
        """Every wait is over, and what is done grows old."""
        self.admin.execute(
            "UPDATE outbox.message SET sent_at = sent_at - interval '2 days', "
            "available_at = least(available_at, now()) - interval '2 days'"
        )
        for row in self.rows.values():
            row.free_since = self.now if row.waits else row.free_since
            row.waits, row.old = False, row.status != "pending"

    # -- operators ----------------------------------------------------------------------------------------------

    @rule(most=st.integers(0, 3), reason=st.sampled_from([None, "failed", "other"]))
    def requeue(self, most: int, reason: str | None) -> None:
        """An operator gives some failed rows another chance."""
        prefix = {"failed": True, None: True}.get(reason, False)
        self.admin.execute("UPDATE outbox.message SET last_error = 'failed: ' || id WHERE status = 'failed'")
        failed = self.outbox.of("failed")
        ((back,),) = self.admin.execute("SELECT outbox.requeue_failed(%s, NULL, %s)", (most, reason))
        chosen = failed[:most] if prefix else []
        assert back == len(chosen)
        for row_id in failed:
            self.rows[row_id].error = f"failed: {row_id}"
        for row_id in chosen:
            row = self.rows[row_id]
            row.status, row.claims, row.failures, row.free_since = "pending", 0, 0, self.now

    @rule(most=st.integers(1, 3), status=st.sampled_from(["sent", "failed"]))
    def clean_up(self, most: int, status: str) -> None:
        """An operator deletes what has long been done, and nothing else."""
        doomed = self.outbox.of(status, old=True)
        query = (
            "SELECT outbox.delete_sent('1 day', %s)" if status == "sent" else "SELECT outbox.delete_failed('1 day', %s)"
        )
        ((deleted,),) = self.admin.execute(query, (most,))
        assert deleted == min(most, len(doomed))
        left = {row_id for (row_id,) in self.admin.execute("SELECT id FROM outbox.message")}
        gone = self.rows.keys() - left
        assert len(gone) == deleted
        assert gone <= set(doomed)
        for row_id in gone:
            del self.rows[row_id]

    @rule(number=stores)
    def count(self, number: int) -> None:
        """The backlog is what it is said to be."""
        told = self.wait(self.relays[number].backlog())
        pending = self.outbox.of("pending")
        retrying = [row_id for row_id in pending if self.rows[row_id].failures]
        assert (told.pending, told.retrying, told.failed) == (
            len(pending),
            len(retrying),
            len(self.outbox.of("failed")),
        )

    @invariant()
    def all_agree(self) -> None:
        """The table holds what the model believes: no row more, none less, and each in its state."""
        believed = [
            (
                row_id,
                row.message_id,
                row.status,
                row.claims,
                row.failures,
                row.token,
                row.held,
                row.expired and row.held,
                row.waits and row.status == "pending",
                row.error,
                row.status == "sent",
                row.status == "sent" and row.old,
            )
            for row_id, row in sorted(self.rows.items())
        ]
        assert self.admin.execute(FOUND).fetchall() == believed


@pytest.fixture
def url(postgres: PostgresServer, template: str) -> Iterator[str]:
    """A migrated database for a whole run of examples."""
    name = f"relay_machine_{token_hex(4)}"
    postgres.create_database(name, template=template)
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture
def machine(url: str) -> Iterator[type[Machine]]:
    """The machine with three stores that are open for the whole run."""
    with asyncio.Runner() as runner:
        relays = [PostgresStore(config(url, lease_s=LEASE_S)) for _ in range(3)]
        for store in relays:
            runner.run(store.open())
        yield type("Machine", (Machine,), {"url": url, "loop": runner.get_loop(), "relays": relays})
        for store in relays:
            runner.run(store.close())


def test_stores_and_model_agree_whatever_happens(machine: type[Machine]) -> None:
    examples = settings(max_examples=40, stateful_step_count=30)
    run_state_machine_as_test(machine, settings=examples)

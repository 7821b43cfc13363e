"""Two stores on one table against a model of it: whatever order things happen in, both agree on every row."""

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from relay.model import Claim, Failed, Mark, Refusal, Release, Retry
from relay.store import PostgresStore
from services.postgres import PostgresServer
from tests.stores import config, ids, sent

T = TypeVar("T")
KINDS = st.sampled_from(["sent", "retry now", "retry later", "failed", "release", "release in doubt"])


@dataclass
class Known:
    """What the model believes of one row."""

    status: str = "pending"
    claims: int = 0
    failures: int = 0
    token: UUID | None = None
    held: bool = False
    expired: bool = False
    waits: bool = False
    error: str | None = None

    @property
    def free(self) -> bool:
        """A claim may take it."""
        return self.status == "pending" and not self.waits and (self.expired or not self.held)

    def mark(self, kind: str, token: UUID) -> bool:
        """Take a mark; whether it was ours to write."""
        if kind == "sent":
            self.status, self.held = "sent", False
            return True
        if self.token != token or self.status == "sent":
            return False
        if not self.held:  # settled before under the same lease: nothing changes
            return True
        self.held = False
        match kind:
            case "failed":
                self.status, self.failures, self.error = "failed", self.failures + 1, kind
            case "retry now" | "retry later":
                self.failures, self.error, self.waits = self.failures + 1, kind, kind == "retry later"
            case "release":
                self.claims -= 1
            case _:
                self.claims, self.error = self.claims - 1, kind
        return True


def mark_of(kind: str, taken: Claim, row_id: int) -> Mark:
    """The real mark."""
    match kind:
        case "sent":
            return sent(taken, row_id)
        case "failed":
            return Failed(row_id, Refusal.REJECTED, kind)
        case "retry now" | "retry later":
            return Retry(row_id, Refusal.REJECTED, 0.0 if kind == "retry now" else 3600.0, kind)
        case _:
            return Release(row_id, None if kind == "release" else kind)


class Machine(RuleBasedStateMachine):
    """Everything that happens to an outbox, in any order."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.admin = psycopg.connect(self.url, autocommit=True)
        self.admin.execute("TRUNCATE outbox.message RESTART IDENTITY")
        self.stores = [PostgresStore(config(self.url)) for _ in range(2)]
        for store in self.stores:
            self.wait(store.open())
        self.rows: dict[int, Known] = {}
        self.claims: list[Claim] = []

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        """Close everything."""
        for store in self.stores:
            self.wait(store.close())
        self.admin.close()
        self.loop.close()

    @rule(count=st.integers(1, 5))
    def insert(self, count: int) -> None:
        """A producer commits some rows."""
        query = "INSERT INTO outbox.message (routing_key, payload) SELECT 'a', '{}' FROM generate_series(1, %s)"
        self.rows |= {row_id: Known() for (row_id,) in self.admin.execute(query + " RETURNING id", (count,))}

    @rule(number=st.integers(0, 1), limit=st.integers(1, 6), low=st.integers(0, 8))
    def claim(self, number: int, limit: int, low: int) -> None:
        """A store claims: exactly the first free rows, in order."""
        taken = self.wait(self.stores[number].claim(limit=limit, low=low))
        expected = [row_id for row_id, row in sorted(self.rows.items()) if row.free and row_id >= low][:limit]
        assert [row.id for row in taken.rows] == expected
        assert taken.more == (len(expected) == limit)
        for row in taken.rows:
            known = self.rows[row.id]
            known.claims, known.token = known.claims + 1, taken.token
            known.held, known.expired = True, False
            seen = (row.claims, row.failures, row.doubtful)
            assert seen == (known.claims, known.failures, known.error is not None)
        self.claims.append(taken)

    @rule(data=st.data(), number=st.integers(0, 1), times=st.integers(1, 2))
    def settle(self, data: st.DataObject, number: int, times: int) -> None:
        """Some store marks rows of a claim: in time or too late, and once more when the reply was lost."""
        if not self.claims:
            return
        taken = data.draw(st.sampled_from(self.claims[-4:]))
        kinds = {row_id: data.draw(KINDS) for row_id in ids(taken)}
        for _ in range(times):
            ours = {row_id: self.rows[row_id].mark(kind, taken.token) for row_id, kind in kinds.items()}
            marks = [mark_of(kind, taken, row_id) for row_id, kind in kinds.items()]
            lost = self.wait(self.stores[number].settle(taken.token, marks))
            assert lost == {row_id for row_id, is_ours in ours.items() if not is_ours}

    @rule(data=st.data(), number=st.integers(0, 1))
    def overtake(self, data: st.DataObject, number: int) -> None:
        """A relay is so slow that another takes its rows, and it settles them all the same."""
        self.leases_end()
        self.claim(number=number, limit=6, low=0)
        self.settle(data=data, number=1 - number, times=1)

    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        """A lease is renewed for the rows that are still held under it."""
        if not self.claims:
            return
        taken = data.draw(st.sampled_from(self.claims[-4:]))
        held = {row_id for row_id in ids(taken) if self.rows[row_id].token == taken.token and self.rows[row_id].held}
        assert self.wait(self.stores[0].renew(taken.token, ids(taken))) == held
        for row_id in held:
            self.rows[row_id].expired = False

    @rule()
    def leases_end(self) -> None:
        """A relay died, or was slow: its leases run out, and it does not know."""
        self.admin.execute(
            "UPDATE outbox.message SET claimed_until = now() - interval '1 s' WHERE claimed_until > now()"
        )
        for row in self.rows.values():
            row.expired = row.held

    @rule()
    def time_passes(self) -> None:
        """Every wait is over."""
        self.admin.execute("UPDATE outbox.message SET available_at = now() WHERE status = 'pending'")
        for row in self.rows.values():
            row.waits = False

    @rule(most=st.integers(1, 3))
    def requeue(self, most: int) -> None:
        """An operator gives some failed rows another chance."""
        self.admin.execute("SELECT outbox.requeue_failed(%s)", (most,))
        failed = [row for _, row in sorted(self.rows.items()) if row.status == "failed"]
        for row in failed[:most]:
            row.status, row.claims, row.failures, row.waits = "pending", 0, 0, False

    @invariant()
    def both_agree(self) -> None:
        """The table holds what the model believes."""
        columns = "id, status, claims, failures, claimed_until IS NOT NULL, last_error"
        found = self.admin.execute(f"SELECT {columns} FROM outbox.message ORDER BY id").fetchall()
        believed = [
            (row_id, row.status, row.claims, row.failures, row.held, row.error)
            for row_id, row in sorted(self.rows.items())
        ]
        assert found == believed


@pytest.fixture
def url(postgres: PostgresServer, template: str) -> Iterator[str]:
    """A migrated database for a whole run of examples."""
    name = f"relay_machine_{token_hex(4)}"
    postgres.create_database(name, template=template)
    yield postgres.url(name)
    postgres.drop_database(name)


def test_stores_and_model_agree_whatever_happens(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "url", url)
    examples = settings(max_examples=40, stateful_step_count=30, deadline=None)
    run_state_machine_as_test(Machine, settings=examples)

"""Rows that come back: how long they wait, and where they stand among the others."""

from datetime import UTC, datetime, timedelta

import pytest
from psycopg import sql

from relay.model import Refusal, Retry
from tests.builders import Database
from tests.stores import a_store, claim, ids


async def test_a_retry_waits_from_now_on_however_long_its_row_has_been_due(db: Database) -> None:
    """After an outage every row has been due for long: counted from then, no retry would wait at all."""
    (row_id,) = await db.insert(available_at=datetime.now(UTC) - timedelta(hours=1))
    async with a_store(db.url) as store:
        taken = await claim(store)
        await store.settle(taken.token, [Retry(row_id, Refusal.REJECTED, 60.0, "rejected: x")])
        assert (await claim(store)).rows == ()
    ((waits_s,),) = await db.fetch("SELECT extract(epoch FROM available_at - now())::float8 FROM {table}")
    assert waits_s == pytest.approx(60, abs=10)


PLANS = {
    "a loop": ["hashjoin", "mergejoin"],
    "a hash": ["nestloop", "mergejoin"],
    "a merge": ["nestloop", "hashjoin"],
}
"""How the claim may find the rows it updates, and what keeps a planner from the other ways."""


@pytest.mark.parametrize("plan", PLANS)
async def test_a_claim_is_in_order_of_id_with_any_plan(db: Database, plan: str) -> None:
    """RETURNING keeps no order."""
    given = await db.insert(n=100)
    for name in PLANS[plan]:
        setting = sql.SQL("ALTER DATABASE {} SET {} = off")
        await db.fetch(setting.format(sql.Identifier(db.name), sql.Identifier(f"enable_{name}")))
    async with a_store(db.url) as store:
        first = await claim(store, limit=3)
        await store.settle(first.token, [Retry(row_id, Refusal.REJECTED, 0.0, "rejected: x") for row_id in ids(first)])
        # Their new versions now stand behind all the others on disk.
        assert ids(await claim(store)) == given

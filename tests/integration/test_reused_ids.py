"""Ids that are given out once more, as a standby does that was behind when it was promoted."""

from tests.builders import Database
from tests.stores import a_store, claim, sent


async def test_the_mark_of_a_row_that_is_no_more_is_not_written_to_the_one_that_has_its_id(db: Database) -> None:
    (row_id,) = await db.insert()
    async with a_store(db.url) as store:
        taken = await claim(store)
        await db.fetch("DELETE FROM {table}")
        again = "INSERT INTO {table} (id, routing_key, payload) OVERRIDING SYSTEM VALUE VALUES (%s, 'a', '{{}}')"
        await db.fetch(again, (row_id,))
        assert await store.settle(taken.token, [sent(taken, row_id)]) == frozenset()
    assert await db.statuses() == {"pending": 1}

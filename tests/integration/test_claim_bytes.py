"""A claim's limit of bytes: what it hands over, and what it costs the server not to."""

import json

from relay.model import Release
from tests.builders import Database, eventually
from tests.stores import a_store, claim, ids, row

KIB = 1024
MIB = 1024 * KIB


async def insert_noise(db: Database, sizes: list[int]) -> list[int]:
    """Insert payloads `{"x": "…"}` of random text of those sizes; the server makes them up."""
    given = []
    for size in sizes:
        ((row_id,),) = await db.fetch(
            "INSERT INTO {table} (routing_key, payload) "
            "SELECT 'big', jsonb_build_object('x', string_agg(md5(random()::text), '')) "
            "FROM generate_series(1, %s) RETURNING id",
            (size // 32,),
        )
        given.append(row_id)
    return given


async def test_a_claim_stops_before_its_bytes_are_exceeded(db: Database) -> None:
    given = await insert_noise(db, [100 * KIB] * 10)
    async with a_store(db.url, batch_bytes=350 * KIB) as store:
        taken = await claim(store)
    assert (ids(taken), taken.more) == (given[:3], True)
    assert await db.fetch("SELECT count(*) FROM {table} WHERE claims > 0") == [(3,)]


async def test_a_row_larger_than_the_bytes_is_claimed_alone(db: Database) -> None:
    given = await insert_noise(db, [100 * KIB] * 2)
    async with a_store(db.url, batch_bytes=10) as store:
        taken = await claim(store)
        assert (ids(taken), taken.more) == (given[:1], True)
        taken = await claim(store)
        assert (ids(taken), taken.rows[0].payload_bytes) == (given[1:], 100 * KIB + 9)


async def test_compressed_documents_count_as_large_as_they_are_sent(db: Database) -> None:
    given = await db.insert(n=10, payload={"x": "y" * (100 * KIB)})
    async with a_store(db.url, batch_bytes=350 * KIB) as store:
        assert ids(await claim(store)) == given[:3]


async def test_headers_count_too(db: Database) -> None:
    given = await db.insert(n=10, headers={"x": "y" * (100 * KIB)})
    async with a_store(db.url, batch_bytes=350 * KIB) as store:
        assert ids(await claim(store)) == given[:3]


async def test_a_payload_over_the_largest_message_is_told_but_not_fetched(db: Database) -> None:
    small, large, last = await insert_noise(db, [32, 2 * MIB, 32])
    async with a_store(db.url, message_bytes_max=1 * MIB, batch_bytes=1 * MIB) as store:
        taken = await claim(store)
        while len(taken.rows) < 3:
            assert taken.more
            more = await claim(store)
            taken = type(taken)(taken.token, taken.rows + more.rows, taken.taken_at, more.more)
    assert ids(taken) == [small, large, last]
    told = taken.rows[1]
    assert (told.payload, told.payload_bytes, told.headers) == (None, 2 * MIB + 9, "{}")
    assert taken.rows[2].payload is not None


async def test_a_payload_of_exactly_the_largest_message_is_fetched(db: Database) -> None:
    body = json.dumps({"x": "y" * 991})
    await db.insert(payload=lambda _: body)
    for limit, fetched in ((1000, True), (999, False)):
        await db.fetch("UPDATE {table} SET claimed_until = NULL")
        async with a_store(db.url, message_bytes_max=limit) as store:
            (taken,) = (await claim(store)).rows
        assert (taken.payload_bytes, taken.payload is not None) == (1000, fetched)


async def test_headers_over_the_largest_message_blame_their_row(db: Database) -> None:
    await db.insert(headers={"x": "y" * 3000})
    async with a_store(db.url, message_bytes_max=1000) as store:
        (taken,) = (await claim(store)).rows
    assert (taken.payload, taken.headers) == (None, "{}")
    assert taken.payload_bytes > 3000


async def test_names_no_message_can_carry_are_not_fetched_whole(db: Database) -> None:
    await db.insert(routing_key="k" * MIB, exchange="e" * MIB, content_type="c" * MIB, key="o" * MIB)
    async with a_store(db.url) as store:
        (taken,) = (await claim(store)).rows
    names = (taken.routing_key, taken.exchange, taken.content_type, taken.key)
    assert [len(name or "") for name in names] == [1000] * 4


async def test_large_rows_make_the_next_claims_ask_for_fewer(db: Database) -> None:
    """Rows that the bytes cut off were locked for nothing."""
    await insert_noise(db, [100 * KIB] * 20)
    other = await db.connect()
    async with a_store(db.url, batch_bytes=250 * KIB) as store:
        assert len((await claim(store)).rows) == 2
        await db.fetch("SET enable_seqscan = off")
        async with other.transaction():
            # Only the rows that a second claim may look at are free; it must not wait nor fail for the rest.
            await other.execute("SELECT FROM outbox.message WHERE id > 6 FOR UPDATE")
            assert ids(await claim(store)) == [3, 4]
        assert store._portion.of(500) == 4


async def test_small_rows_make_the_claims_grow_again(db: Database) -> None:
    await insert_noise(db, [100 * KIB] * 3)
    await db.insert(n=100)
    async with a_store(db.url, batch_bytes=150 * KIB) as store:
        sizes = []
        while (taken := await claim(store, limit=20)).rows:
            sizes.append(len(taken.rows))
            assert taken.more or sum(sizes) == 103
    assert sizes[:2] == [1, 2] or sizes[:3] == [1, 1, 2]
    assert max(sizes) == 20


async def test_many_large_documents_are_not_spelled_out_to_hand_over_one(db: Database) -> None:
    """Of 40 documents of 4 MB only those in the claim are read out of TOAST."""
    await insert_noise(db, [4 * MIB] * 2)
    for _ in range(2):
        await db.fetch("INSERT INTO {table} (routing_key, payload) SELECT routing_key, payload FROM {table}")
    await db.fetch("INSERT INTO {table} (routing_key, payload) SELECT routing_key, payload FROM {table} LIMIT 32")
    async with a_store(db.url, batch_bytes=4 * MIB) as store:
        await store.ready()
        before = await toast_reads(db)
        assert len((await claim(store)).rows) == 1
        # Sessions tell the statistics when they end.
    chunks_of_one = 4 * MIB // 1996

    async def told() -> bool:
        return chunks_of_one <= await toast_reads(db) - before < 8 * chunks_of_one

    await eventually(told)


async def toast_reads(db: Database) -> int:
    """Chunks of TOASTed values read since the server began, those of this very session included."""
    await db.fetch("SELECT pg_stat_force_next_flush()")
    ((count,),) = await db.fetch(
        "SELECT idx_tup_fetch FROM pg_stat_all_tables WHERE relname = ("
        "SELECT 'pg_toast_' || oid FROM pg_class WHERE relname = 'message' AND relkind = 'r')"
    )
    return int(count)


async def test_released_bytes_leave_no_trace(db: Database) -> None:
    (row_id,) = await insert_noise(db, [100 * KIB])
    async with a_store(db.url, batch_bytes=10) as store:
        taken = await claim(store)
        await store.settle(taken.token, [Release(row_id)])
    assert await row(db, row_id, "claims", "claimed_until", "last_error") == (0, None, None)

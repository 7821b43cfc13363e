"""What a scrape costs."""

from tests.builders import Amqp, Database, eventually
from tests.running import relay


async def test_a_scrape_asks_the_database_nothing(db: Database, amqp: Amqp) -> None:
    """The backlog is counted on a timer: however many look, however often, the table is counted as often as told."""
    await amqp.queue("all", "orders")
    async with relay(db, amqp, BACKLOG_SAMPLE_SECONDS=3600) as process:

        async def samples() -> str:
            lines = (await process.get("/metrics"))[1].splitlines()
            (count,) = [line for line in lines if line.startswith('relay_db_duration_seconds_count{op="backlog"}')]
            return count.split()[-1]

        async def sampled_once() -> None:
            assert await samples() == "1.0"

        await eventually(sampled_once)
        assert [await samples() for _ in range(5)] == ["1.0"] * 5

"""The status page of the real command: what it tells of real rows, what it masks, and how it is left out."""

import json
import re

from tests.builders import Amqp, Database, eventually
from tests.running import command, environment, relay

FAST = {"BACKLOG_SAMPLE_SECONDS": 1, "HEALTH_SAMPLE_SECONDS": 1, "MAX_FAILURES": 1}


async def test_rows_that_come_go_and_fail_are_on_the_page_and_in_the_terminal(db: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    async with relay(db, amqp, **FAST) as process:

        async def sampled() -> None:
            assert (await process.status())["history"]["points"]

        await eventually(sampled)
        await db.insert(n=50)
        await db.insert(exchange="nowhere", routing_key="<b>bold</b>", payload={"secret": "hunter2"})

        async def told() -> None:
            status = await process.status()
            assert max(each["in_per_second"] or 0 for each in status["history"]["points"]) > 10
            assert max(each["out_per_second"] or 0 for each in status["history"]["points"]) > 10
            assert [each["row_id"] for each in status["failures"]] == [51]

        await eventually(told, 20)
        _, page = await process.get("/")
        env = environment(db.url, amqp.url, {"HTTP_PORT": await process.port()})
        code, terminal, _ = await command(env, "top", "--once")

    assert code == 0
    for text in (page, terminal):
        assert "Flowing" in text
        assert "test-relay" in text
        assert "no_exchange" in text
        assert "hunter2" not in text
    assert "<b>bold" not in page


async def test_the_configuration_is_that_of_relay_config_without_passwords(db: Database, amqp: Amqp) -> None:
    async with relay(db, amqp) as process:
        _, page = await process.get("/")
        status = await process.status()
    code, shown, _ = await command(environment(db.url, amqp.url), "config", "--json")

    assert (code, status["config"]) == (0, json.loads(shown))
    [masked] = re.findall(r"<dt>RELAY_AMQP_URL</dt><dd>(.*?)</dd>", page)
    assert masked == status["config"]["RELAY_AMQP_URL"]
    assert ":****@" in masked


async def test_a_team_may_leave_page_and_configuration_out(db: Database, amqp: Amqp) -> None:
    async with relay(db, amqp, STATUS_PAGE="false") as process:
        code, text = await process.get("/")
        status = await process.status()

    assert (code, "/" in json.loads(text)["pages"]) == (404, False)
    assert status["config"] is None
    assert status["name"] == "test-relay"

"""A restored or cloned database: done as the pages tell, each message is sent once; without, some are sent twice."""

from collections import Counter

import psycopg
import pytest

from tests.deploy.runbook import Block, blocks
from tests.deploy.situations import SITUATIONS
from tests.deploy.stage import Stage
from tests.deploy.test_runbook_commands import perform

BLOCKS = {name: [block for block in blocks("operations") if block.situation == name] for name in ("restored", "clone")}


async def drained(stage: Stage) -> Counter[str]:
    """Let a relay send all it finds; how often each message has arrived since the beginning."""
    code, printed = await stage.run("relay run --drain")
    assert code == 0, printed
    return Counter(str(message.message_id) for message in await stage.amqp.drain("billing"))


@pytest.mark.timeout(120)
async def test_a_restored_database_sends_each_message_once(stage: Stage) -> None:
    async with SITUATIONS["restored"](stage):
        lost = await refused(stage, BLOCKS["restored"])
        arrived = await drained(stage)
        rows = await stage.db.fetch("SELECT message_id::text, status FROM {table}")
        [number] = await stage.db.insert()
    assert lost, "the relay's login was never shut out"
    assert set(arrived.values()) == {1}, "something was sent twice"
    assert len(arrived) == 4 + 8 + 6 + 2
    waits = {message for message, status in rows if status == "pending"}
    assert len(waits) == 1, "the row for next week waits for next week"
    assert {message for message, status in rows if status == "sent"} <= set(arrived)
    assert [status for _, status in rows if status == "failed"] == []
    assert number > 21, "an id was given out again"


async def refused(stage: Stage, told: list[Block]) -> bool:
    """Do what the page tells; whether after some step the relay's login was not let in."""
    shut_out = False
    for block in told:
        await perform(stage, block)
        try:
            async with await psycopg.AsyncConnection.connect(stage.urls["look"]):
                pass
        except psycopg.OperationalError:
            shut_out = True
    return shut_out


@pytest.mark.timeout(120)
async def test_without_these_steps_a_restored_database_sends_again(stage: Stage) -> None:
    async with SITUATIONS["restored"](stage):
        arrived = await drained(stage)
    assert sorted(Counter(arrived.values()).items()) == [(1, 4 + 6 + 2), (2, 8)]


@pytest.mark.timeout(120)
async def test_nobody_begins_on_a_clone_before_it_is_opened(stage: Stage) -> None:
    async with SITUATIONS["clone"](stage):
        shut_out = await refused(stage, BLOCKS["clone"])
        code, _ = await stage.run("relay run --drain")
        assert code == 0
    assert shut_out
    assert await stage.amqp.count("billing") == 0, "the clone published to production"

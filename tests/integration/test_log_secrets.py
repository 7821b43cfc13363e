"""Nothing of a message and no password reaches the log, with real libraries talking at their loudest."""

import asyncio
import io
import logging
from collections.abc import Iterator

import aio_pika
import psycopg
import pytest
import structlog
from psycopg.conninfo import make_conninfo

from relay import log
from tests.builders import Amqp, Database

PAYLOAD, HEADER, PASSWORD = "hunter2-payload", "hunter2-header", "hunter2-password"


@pytest.fixture
def loud() -> Iterator[io.StringIO]:
    """Take the log at its most talkative, and leave logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in log.PINNED}
    stream = io.StringIO()
    log.configure(level="debug", stream=stream)
    yield stream
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


async def publish(amqp: Amqp) -> None:
    connection = await aio_pika.connect(amqp.url, timeout=10)
    async with connection:
        channel = await connection.channel()
        message = aio_pika.Message(PAYLOAD.encode(), headers={"x-secret": HEADER})
        await channel.default_exchange.publish(message, routing_key="nowhere", mandatory=False)


async def test_a_publish_at_debug_leaves_nothing_of_the_message_in_the_log(amqp: Amqp, loud: io.StringIO) -> None:
    await publish(amqp)
    structlog.get_logger("relay").debug("tick")

    assert "tick" in loud.getvalue()
    assert PAYLOAD not in loud.getvalue()
    assert HEADER not in loud.getvalue()


async def test_without_our_logging_the_library_does_write_the_payload(
    amqp: Amqp, caplog: pytest.LogCaptureFixture
) -> None:
    """If this turns red the library has changed, and holding it back may be needless."""
    caplog.set_level(logging.DEBUG, logger="aiormq")
    await publish(amqp)

    assert PAYLOAD in caplog.text


async def test_a_wrong_password_at_either_server_is_not_in_the_log(db: Database, amqp: Amqp, loud: io.StringIO) -> None:
    wrong_database = make_conninfo(db.url, user="nobody", password=PASSWORD)
    wrong_broker = amqp.url.replace("://", f"://nobody:{PASSWORD}@", 1) if "@" not in amqp.url else ""
    wrong_broker = wrong_broker or f"amqp://nobody:{PASSWORD}@{amqp.url.rpartition('@')[2]}"
    logger = structlog.get_logger("relay")

    for attempt in (psycopg.AsyncConnection.connect(wrong_database), aio_pika.connect(wrong_broker, timeout=10)):
        try:
            await asyncio.wait_for(attempt, 20)
        except (psycopg.Error, OSError, aio_pika.exceptions.AMQPError) as error:
            logger.exception("relay.crashed", detail=str(error), tried=[wrong_database, wrong_broker])

    assert loud.getvalue().count("relay.crashed") == 2
    assert PASSWORD not in loud.getvalue()


async def test_a_row_that_postgres_repeats_in_its_error_is_not_in_the_log(db: Database, loud: io.StringIO) -> None:
    with pytest.raises(psycopg.errors.NotNullViolation, match=PAYLOAD) as caught:
        await db.fetch("INSERT INTO {table} (routing_key, payload) VALUES (NULL, %s)", (f'"{PAYLOAD}"',))
    structlog.get_logger("relay").error("relay.crashed", exc_info=caught.value)

    assert "null value in column" in loud.getvalue()
    assert PAYLOAD not in loud.getvalue()

"""What tests of the broker side say in one word: an envelope, a publisher, what became of a batch."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from relay.broker import BrokerConfig, RabbitPublisher
from relay.model import Answer, Envelope, HeaderValue, Outcome, Refused
from relay.ports import Publisher

CREATED_AT = datetime(2026, 3, 1, 12, 30, 15, 250_000, tzinfo=UTC)


def envelope(
    row_id: int,
    routing_key: str = "all",
    *,
    exchange: str = "",
    body: bytes = b'{"n": 1}',
    headers: Mapping[str, HeaderValue] | None = None,
    **fields: Any,
) -> Envelope:
    """A sealed row; by default the default exchange carries it to the queue `all`."""
    given: dict[str, Any] = {"message_id": f"message-{row_id}", "content_type": "application/json"}
    sealed: dict[str, HeaderValue] = {**(headers or {}), "x-outbox-id": row_id}
    given |= {"created_at": CREATED_AT.timestamp(), "headers": sealed, "body": body} | fields
    return Envelope(row_id, exchange=exchange, routing_key=routing_key, **given)


def envelopes(count: int, **fields: Any) -> list[Envelope]:
    """Rows 1 to `count`."""
    return [envelope(number, **fields) for number in range(1, count + 1)]


@asynccontextmanager
async def publishing(url: str | Callable[[], str], **config: Any) -> AsyncIterator[RabbitPublisher]:
    """A publisher, closed at the end."""
    given: dict[str, Any] = {"url": url if callable(url) else lambda: url, "name": "tests"} | config
    publisher = RabbitPublisher(BrokerConfig(**given))
    try:
        yield publisher
    finally:
        await publisher.close(3)


async def publish(publisher: Publisher, batch: Sequence[Envelope]) -> dict[int, Outcome]:
    """Publish a batch; what became of each row."""
    answers: list[Answer] = []
    async with aclosing(publisher.publish(batch)) as flight:
        async for some in flight:
            answers += some
    outcomes = {answer.row_id: answer.outcome for answer in answers}
    assert len(answers) == len(outcomes) == len(batch)
    return outcomes


def tally(outcomes: Mapping[int, Outcome]) -> dict[str, int]:
    """Rows by outcome: a refusal's reason, else the outcome's name in small letters."""
    return dict(Counter(word(outcome) for outcome in outcomes.values()))


def word(outcome: Outcome) -> str:
    """A refusal's reason, else the outcome's name in small letters."""
    return str(outcome.reason) if isinstance(outcome, Refused) else type(outcome).__name__.lower()

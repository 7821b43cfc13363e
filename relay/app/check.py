"""`relay check`: would the relay work here? One finding a line, each with what mends it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from enum import StrEnum

from relay.app.wire import publisher_of, store_of
from relay.model import Refused, Unreachable
from relay.ports import StoreUnavailable
from relay.settings import Settings

CLOSE_S = 2.0


class Verdict(StrEnum):
    """How a finding counts."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    subject: str
    verdict: Verdict
    text: str
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return it for JSON."""
        return asdict(self)


async def check(settings: Settings) -> AsyncGenerator[Finding, None]:
    """Look at the configuration, the database and its schema, the broker and the exchange."""
    yield Finding("configuration", Verdict.OK, f"table {settings.schema_}.{settings.table}")
    async with aclosing(_database(settings)) as findings:
        async for finding in findings:
            yield finding
    async with aclosing(_broker(settings)) as findings:
        async for finding in findings:
            yield finding


async def _database(settings: Settings) -> AsyncGenerator[Finding, None]:
    store = store_of(settings)
    await store.open()
    try:
        latency_s = await store.ping()
        yield Finding("database", Verdict.OK, f"reachable in {latency_s * 1000:.1f} ms")
        problems = await store.problems()
        for problem in problems:
            verdict = Verdict.PROBLEM if problem.blocking else Verdict.WARNING
            yield Finding(f"schema {problem.code}", verdict, problem.text, problem.fix)
        if not problems:
            yield Finding("schema", Verdict.OK, "table, columns, index and grants are right")
    except StoreUnavailable as error:
        fix = "check the host, port, user and password in RELAY_DATABASE_URL, and that the server runs"
        yield Finding("database", Verdict.UNREACHABLE, str(error), fix)
    finally:
        await store.close()


async def _broker(settings: Settings) -> AsyncGenerator[Finding, None]:
    publisher = publisher_of(settings)
    name = settings.exchange or "amq.default"
    try:
        lost = await publisher.ready()
        if lost is not None:
            yield _unreachable(lost)
            return
        yield Finding("broker", Verdict.OK, "reachable, a channel with confirms opens")
        match await publisher.check_exchange(settings.exchange):
            case Refused(detail=detail):
                fix = f"declare the exchange {name}, or set RELAY_EXCHANGE to one that exists"
                yield Finding("exchange", Verdict.PROBLEM, detail, fix)
            case Unreachable() as lost:
                yield _unreachable(lost)
            case None:
                yield Finding("exchange", Verdict.OK, f"{name} exists")
    finally:
        await publisher.close(CLOSE_S)


def _unreachable(lost: Unreachable) -> Finding:
    fix = "check the host, port, user, password and virtual host in RELAY_AMQP_URL, and that the broker runs"
    return Finding("broker", Verdict.UNREACHABLE, f"{lost.fault}: {lost.detail}", fix)

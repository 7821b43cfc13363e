"""`relay check`: would the relay work here? One finding a line, each with what mends it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from enum import StrEnum

from relay.app.mend import back_by_itself, broker_fix, database_fix
from relay.app.wire import command_config, command_store_of, publisher_of
from relay.model import Refused, Unreachable
from relay.ports import StoreUnavailable
from relay.settings import Settings, effective
from relay.store import Facts, PostgresStore, pooled
from relay.store.queries import quoted

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
    """configuration · database · schema · doorbell · sessions · broker · exchange."""
    verdict: Verdict
    text: str
    fix: str = ""
    """What mends it: SQL, a command, or where to look."""
    code: str = ""
    """What is wrong in one word: a fault of a server, or a code of the schema such as `column.missing`."""

    def as_dict(self) -> dict[str, str]:
        """Return it for JSON."""
        return asdict(self)


async def check(settings: Settings) -> AsyncGenerator[Finding, None]:
    """Look at the configuration, the database and its schema, the broker and the exchange."""
    yield Finding("configuration", Verdict.OK, "every setting can be used")
    for look in (_database, _broker):
        async with aclosing(look(settings)) as findings:
            async for finding in findings:
                yield finding


async def _database(settings: Settings) -> AsyncGenerator[Finding, None]:
    where = effective(settings)["RELAY_DATABASE_URL"]
    store = command_store_of(settings)
    await store.open()
    try:
        facts = await store.facts()
        version = f"{facts.version // 10_000}.{facts.version % 10_000}"
        latency_ms = await store.ping() * 1000
        yield Finding("database", Verdict.OK, f"{where} answers in {latency_ms:.1f} ms: Postgres {version}")
        problems = await store.problems()
        for problem in problems:
            verdict = Verdict.PROBLEM if problem.blocking else Verdict.WARNING
            yield Finding("schema", verdict, problem.text, problem.fix, problem.code)
        if not problems:
            text = f"table {settings.schema_}.{settings.table}: columns, indexes and grants are right"
            yield Finding("schema", Verdict.OK, text)
        if not any(problem.blocking for problem in problems):
            yield await _doorbell(store, settings)
            yield _sessions(facts)
    except StoreUnavailable as error:
        verdict = Verdict.UNREACHABLE if back_by_itself(error.fault, error.detail) else Verdict.PROBLEM
        fix = database_fix(error.fault)
        yield Finding("database", verdict, f"{where}: {error.detail}", fix, error.fault.value)
    finally:
        await store.close()


async def _doorbell(store: PostgresStore, settings: Settings) -> Finding:
    found, between = await store.doorbell(), await pooled(command_config(settings))
    if not found.installed:
        return Finding("doorbell", Verdict.OK, "none: an idle relay finds new rows by its poll")
    if not found.enabled:
        text, fix = "its trigger is disabled: new rows are found by the poll", "relay doorbell disable, then enable"
        return Finding("doorbell", Verdict.WARNING, text, fix, "doorbell.disabled")
    if between:
        text = "a pooler stands before the database, and nothing is heard through it: new rows are found by the poll"
        fix = "point RELAY_DATABASE_URL at the database itself, or relay doorbell disable"
        return Finding("doorbell", Verdict.WARNING, text, fix, "doorbell.pooled")
    held = "nobody holds it now" if found.holder is None else f"held by {found.holder}"
    return Finding("doorbell", Verdict.OK, f"new rows ring; {held}")


def _sessions(facts: Facts) -> Finding:
    if facts.sees_sessions:
        return Finding("sessions", Verdict.OK, "this login sees for how long others keep vacuum from the table")
    text = "for how long other logins' transactions keep vacuum from the table is hidden from this one"
    fix = f"GRANT pg_monitor TO {quoted(facts.login)};  -- if you want to see it: nothing else needs it"
    return Finding("sessions", Verdict.OK, text, fix, "sessions.hidden")


async def _broker(settings: Settings) -> AsyncGenerator[Finding, None]:
    shown = effective(settings)
    where, name = shown["RELAY_AMQP_URL"], shown["RELAY_EXCHANGE"]
    publisher = publisher_of(settings)
    try:
        lost = await publisher.ready()
        if lost is not None:
            yield _lost(lost, where)
            return
        yield Finding("broker", Verdict.OK, f"{where} answers: a channel with confirms opens")
        match await publisher.check_exchange(settings.exchange):
            case Refused(reason=reason, detail=detail):
                fix = f"declare the exchange {name}, or set RELAY_EXCHANGE to one that exists"
                yield Finding("exchange", Verdict.PROBLEM, detail, fix, reason.value)
            case Unreachable() as lost:
                yield _lost(lost, where)
            case None:
                yield Finding("exchange", Verdict.OK, f"{name} exists")
    finally:
        await publisher.close(CLOSE_S)


def _lost(lost: Unreachable, where: str) -> Finding:
    verdict = Verdict.UNREACHABLE if back_by_itself(lost.fault, lost.detail) else Verdict.PROBLEM
    return Finding("broker", verdict, f"{where}: {lost.detail}", broker_fix(lost.fault, lost.detail), lost.fault.value)

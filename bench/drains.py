"""One measured drain: the queue emptied, the processes run, and the look afterwards."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from bench import table
from bench.figures import Run, Seen, Who, refusal
from bench.meter import Broken, Metered, meter_together
from bench.stage import DATABASE, RELAY, Stage


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be drained, and by whom."""

    who: Who = "relay"
    database: str = DATABASE
    copies: int = 1
    """Processes side by side."""
    enough: int | None = None
    """Stop after that many rows; None: until none is left."""
    settings: Mapping[str, object] | None = None
    """Of the relay, without their prefix."""


def drain(stage: Stage, order: Order) -> Run:
    """Carry rows as ordered. Raises Broken when a message is missing or too many."""
    stage.empty_queue()
    with stage.connected(order.database) as connection:
        sent_before, waiting = table.counts(connection)
        counted = stage.counted(order.database)
        metered = meter_together(*_command(stage, order), copies=order.copies, enough=order.enough)
        every, _, transactions = (now - then for now, then in zip(stage.counted(order.database), counted, strict=True))
        sent, not_sent = table.counts(connection)
    seen = Seen(sent=sent - sent_before, not_sent=not_sent if order.enough is None else 0, queued=stage.queued())
    why = refusal(seen, waiting if order.enough is None else seen.sent)
    if why is not None:
        raise Broken(f"The figures of this run of {order.who} count for nothing: {why}.")
    return _run(order.who, metered, (every, transactions))


def drained(stage: Stage, who: Who, rows: int, *, copies: int = 1, settings: Mapping[str, object] | None = None) -> Run:
    """Fill the table and drain it whole."""
    with stage.connected() as connection:
        table.fill(connection, rows)
    return drain(stage, Order(who, copies=copies, settings=settings))


def _command(stage: Stage, order: Order) -> tuple[tuple[str, ...], dict[str, str]]:
    if order.who == "naive":
        return (sys.executable, "-m", "bench.naive"), stage.naive_environment(order.database)
    drain = ("--drain",) if order.enough is None else ()
    return (str(RELAY), "run", *drain), stage.environment(order.database, order.settings)


def _run(who: Who, metered: list[Metered], counted: tuple[int, int]) -> Run:
    before, after = (
        min((each.before for each in metered), key=lambda seen: seen.at),
        max((each.after for each in metered), key=lambda seen: seen.at),
    )
    postgres_s, rabbitmq_s = after.postgres_s - before.postgres_s, after.rabbitmq_s - before.rabbitmq_s
    cpu_s = sum(each.last.cpu_s - each.ready.cpu_s for each in metered)
    others_s = after.busy_s - before.busy_s - postgres_s - rabbitmq_s - cpu_s
    return Run(
        who=who,
        copies=len(metered),
        rows=sum(each.rows for each in metered),
        seconds=max(each.last.at for each in metered) - min(each.ready.at for each in metered),
        cpu_s=cpu_s,
        startup_s=max(each.ready.at - each.started.at for each in metered),
        startup_cpu_s=sum(each.ready.cpu_s for each in metered),
        statements=counted[0],
        transactions=counted[1],
        memory_mib=max(each.last.memory_mib for each in metered),
        postgres_cpu_s=postgres_s,
        rabbitmq_cpu_s=rabbitmq_s,
        elsewhere=max(0.0, others_s) / ((after.at - before.at) * (os.cpu_count() or 1)),
        first_s=metered[0].first.at - metered[0].ready.at,
        first_rows=int(metered[0].batches[0].get("claimed", 0)) if metered[0].batches else 0,
        claims_s=tuple(float(batch["claim_s"]) for each in metered for batch in each.batches if "claim_s" in batch),
    )

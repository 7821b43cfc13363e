"""Histories made by hand: a good one, and what is changed in it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from chaos.checker import Verdict, check
from chaos.history import Arrival, Attempt, Fate, Fault, FinalRow, History, Run

KILL = Fault("relay SIGKILL", "relay-1", 3.0, 3.0, repeats_max=2)
CUT = Fault("cut", "broker", 2.0, 6.0, repeats_max=2, stalls=True)


def attempt(number: int, fate: Fate = Fate.COMMITTED, **fields: Any) -> Attempt:
    """Row `number`, tried in that second."""
    given: dict[str, Any] = {"key": "k", "sequence": number, "labels": "l", "row_id": number} | fields
    return Attempt(f"m{number}", f"body {number}", "orders", "order.placed", fate, float(number), **given)


def arrival(number: int, position: int, **fields: Any) -> Arrival:
    """Row `number` as it should come, half a second after its position."""
    given: dict[str, Any] = {"labels": "l", "row_id": number} | fields
    return Arrival(position, f"m{number}", f"body {number}", "orders", "order.placed", position + 0.5, **given)


def row(number: int, status: str = "sent", **fields: Any) -> FinalRow:
    """Row `number` at the end; marked when everything had come."""
    given: dict[str, Any] = {
        "failures": 0,
        "claims": 1,
        "last_error": None,
        "sent_at": 9.0 if status == "sent" else None,
    } | fields
    return FinalRow(number, f"m{number}", status, **given)


def good(count: int = 4, **fields: Any) -> History:
    """Rows 1 to `count`, each committed, sent and delivered once."""
    numbers = range(1, count + 1)
    run = Run(7, began=0.0, ended=20.0, replicas=2, in_flight_max=2, emptied=10.0)
    given: dict[str, Any] = {
        "attempts": tuple(attempt(number) for number in numbers),
        "arrivals": tuple(arrival(number, number) for number in numbers),
        "rows": tuple(row(number) for number in numbers),
    }
    return History(run, **(given | fields))


def of_run(history: History, **fields: Any) -> History:
    """The same with other facts of the run."""
    return replace(history, run=replace(history.run, **fields))


def with_rows(history: History, *rows: FinalRow) -> History:
    """The same with those rows in the place of theirs."""
    other = {each.message_id: each for each in rows}
    kept = tuple(other.pop(each.message_id, each) for each in history.rows)
    return replace(history, rows=(*kept, *other.values()))


def with_attempts(history: History, *attempts: Attempt) -> History:
    """The same with those attempts in the place of theirs, or more."""
    other = {each.message_id: each for each in attempts}
    kept = tuple(other.pop(each.message_id, each) for each in history.attempts)
    return replace(history, attempts=(*kept, *other.values()))


def arriving(history: History, *arrivals: Arrival) -> History:
    """The same with those arrivals more."""
    return replace(history, arrivals=sorted((*history.arrivals, *arrivals), key=lambda each: each.position))


def without(history: History, *numbers: int) -> History:
    """The same without any arrival of those rows."""
    gone = {f"m{number}" for number in numbers}
    return replace(history, arrivals=tuple(each for each in history.arrivals if each.message_id not in gone))


def faulty(history: History, *faults: Fault) -> History:
    """The same with those faults."""
    return replace(history, faults=faults)


def broken(verdict: Verdict) -> list[str]:
    """The promises that were broken."""
    return [each.promise for each in verdict.judgements if each.problems]


def wrong(history: History) -> tuple[list[str], dict[str, Sequence[str]]]:
    """The broken promises, and everything that was found."""
    verdict = check(history)
    return broken(verdict), {name: found for name, found in verdict.found.items() if found}

"""The lower half of the page: failures, replicas, the table's health, the configuration. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from relay.page.loose import fields, items, number, number_or_none
from relay.page.reading import Reading
from relay.page.tag import Markup, join, tag
from relay.page.words import UNKNOWN, clock, count, duration, moment, plain, size, times

DEGRADED = "Grant pg_monitor to see other logins' sessions: the age of their transactions is hidden from this one."
HOLDERS: Mapping[str, str] = {
    "transaction": "transaction",
    "standby": "standby",
    "prepared_transaction": "prepared transaction",
    "replication_slot": "replication slot",
}


def failures(seen: Reading) -> Markup:
    """Tell the newest rows that were given up, and why; never what is in them."""
    if not seen.failures:
        nothing = "Not looked at yet." if seen.table is None else "No row has failed."
        return _card("Newest failures", tag("p", nothing, class_="soft"))
    rows = [
        tag(
            "tr",
            tag("th", each.get("row_id", ""), scope="row", role="rowheader"),
            tag("td", each.get("reason", ""), role="cell"),
            tag("td", times(each.get("failures", "")), role="cell"),
            tag("td", _when(each.get("at"), seen.now), role="cell"),
            tag("td", each.get("error", ""), class_="error", role="cell"),
            role="row",  # a phone shows it as a block, and browsers then forget what it is
        )
        for each in seen.failures
    ]
    return _card(
        "Newest failures", _table(("Row", "Reason", "Refused", "Given up", "Last error"), rows), kind="failures"
    )


def replicas(seen: Reading) -> Markup:
    """Tell which relays are connected to the database."""
    if not seen.replicas:
        return _card("Replicas", tag("p", "None seen yet.", class_="soft"))
    rows = [
        tag("tr", tag("th", name, " (this one)" if name == seen.name else "", scope="row"), tag("td", version))
        for name, version in seen.replicas
    ]
    return _card(f"Replicas: {len(rows)}", _table(("Name", "Version"), rows))


def table_health(seen: Reading) -> Markup:
    """Tell how the table does inside Postgres, and who holds its dead rows alive."""
    if seen.table is None:
        text = "Not looked at yet; the first look comes within RELAY_HEALTH_SAMPLE_SECONDS of the start."
        return _card("Table", tag("p", text, class_="soft"))
    parts = [tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts(seen)), class_="facts")]
    if holders := held(seen):
        names = ("Oldest snapshots", "Age", "Transactions", "Process")
        rows = [tag("tr", tag("th", each[0], scope="row"), *(tag("td", cell) for cell in each[1:])) for each in holders]
        parts.append(_table(names, rows))
    else:
        parts.append(tag("p", "No old snapshot keeps dead rows alive.", class_="soft"))
    if not seen.table.get("complete", True):
        parts.append(tag("p", DEGRADED, class_="note"))
    return _card("Table", *parts)


def facts(seen: Reading) -> Sequence[tuple[str, str]]:
    """Return what is known of the table, each with its name."""
    table = seen.table or {}
    live, dead = number(table.get("live_tuples")), number(table.get("dead_tuples"))
    share = f" ({100 * dead / (live + dead):.0f} %)" if live + dead else ""
    return (
        ("Live rows", count(live)),
        ("Dead rows", f"{count(dead)}{share}"),
        ("Table", size(number(table.get("table_bytes")))),
        ("Indexes", size(number(table.get("index_bytes")))),
        ("Last autovacuum", _ago(table.get("last_autovacuum_at"), seen.now, "none known")),
        ("Oldest sent row", _ago(table.get("oldest_sent_at"), seen.now, "none")),
        ("Looked at", _ago(table.get("sampled_at"), seen.now, UNKNOWN)),
    )


def held(seen: Reading) -> Sequence[tuple[str, str, str, str]]:
    """Return who keeps dead rows alive, the oldest first: what it is, its age, its transactions, which process."""
    return [_holder(fields(each)) for each in items((seen.table or {}).get("snapshots"))]


def _holder(told: Mapping[str, Any]) -> tuple[str, str, str, str]:
    kind, age_s, pid = plain(told.get("holder", "")), number_or_none(told.get("age_seconds")), told.get("pid")
    whose = plain(told.get("name") or told.get("application") or "")
    return (
        " ".join(filter(None, (HOLDERS.get(kind, kind), whose))),
        UNKNOWN if age_s is None else duration(age_s),
        count(number(told.get("transactions"))),
        UNKNOWN if pid is None else f"pid {plain(pid)}",
    )


def configuration(seen: Reading) -> Markup:
    """Tell the settings in force, passwords masked."""
    if not seen.config:
        return join()
    pairs = [tag("div", tag("dt", name), tag("dd", value)) for name, value in seen.config.items()]
    return _card("Configuration", tag("dl", *pairs), kind="config")


def _card(title: str, *content: Markup, kind: str = "") -> Markup:
    return tag("section", tag("h2", title), *content, class_=f"card {kind}".strip())


def _table(names: Sequence[str], rows: Sequence[Markup]) -> Markup:
    head = tag("tr", *(tag("th", name, scope="col") for name in names))
    return tag("table", tag("thead", head), tag("tbody", *rows))


def _when(text: object, now: datetime) -> str:
    at = moment(text)
    return UNKNOWN if at is None else clock(at, today=now)


def _ago(text: object, now: datetime, none: str) -> str:
    at = moment(text)
    return none if at is None else f"{duration(max(0.0, (now - at).total_seconds()))} ago"

"""`relay check`, `relay config` and `relay status`: looking without touching."""

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import rich_click as click

from relay.cli import health
from relay.cli.exits import DONE, FAILURE, PROBLEMS, UNREACHABLE
from relay.cli.local import NOT_OURS
from relay.cli.says import as_json, paint
from relay.page.words import duration

if TYPE_CHECKING:
    from relay.app import Server, Status
    from relay.settings import Settings

SIGNS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "problem": ("✗", "red"), "unreachable": ("✗", "red")}
WATCH_S = 2.0


@click.command()
@as_json
def check(*, as_json: bool) -> int:
    """Look at the configuration, both servers, the table, the grants and the exchange; say what mends each problem.

    Exit codes: 0 all is well (warnings aside), 2 configuration, 3 problems found, 4 a server is unreachable.
    """
    import asyncio

    from relay import settings

    return asyncio.run(_check(settings.load(), as_json=as_json))


async def _check(known: "Settings", *, as_json: bool) -> int:
    from relay import app

    findings = []
    async for finding in app.check(known):
        findings.append(finding)
        if not as_json:
            sign, color = SIGNS[finding.verdict]
            click.echo(f"{paint(sign, color)} {finding.subject:<13}  {finding.text}")
            for line in finding.fix.splitlines():
                click.echo(f"{'':<17}{line}")
    if as_json:
        click.echo(json.dumps([finding.as_dict() for finding in findings], indent=2))
    verdicts = {str(finding.verdict) for finding in findings}
    if "unreachable" in verdicts:
        return UNREACHABLE
    return PROBLEMS if "problem" in verdicts else DONE


@click.command()
@as_json
@click.option("--reference", is_flag=True, help="List every setting instead: default, what it takes, what it is for.")
def config(*, as_json: bool, reference: bool) -> int:
    """Print the effective configuration, passwords masked; with --reference every setting there is."""
    from relay import settings

    if reference:
        entries = settings.reference()
        if as_json:
            click.echo(json.dumps([entry._asdict() for entry in entries], indent=2))
        else:
            for entry in entries:
                click.echo(f"{entry.name}  {f'(default: {entry.default})' if entry.default else ''}".rstrip())
                click.echo(f"    {entry.description}\n    Takes: {entry.allowed}")
        return DONE
    shown = settings.effective(settings.load())
    click.echo(json.dumps(shown, indent=2) if as_json else _table(shown.items()))
    return DONE


@click.command()
@as_json
@click.option("--watch", is_flag=True, help="Look again every two seconds until interrupted.")
def status(*, as_json: bool, watch: bool) -> int:
    """Show the backlog, both servers, and the relay on this host if one answers.

    Exit codes: 0 all could be seen, 1 the backlog could not be counted, 2 configuration, 4 a server is unreachable.
    """
    from relay import settings

    known = settings.load()
    if watch:
        return _watch(lambda: _look(known, as_json=as_json), clear=not as_json)
    text, code = _look(known, as_json=as_json)
    click.echo(text)
    return code


def _watch(look: Callable[[], tuple[str, int]], *, clear: bool) -> int:
    """Look until interrupted; on a terminal each look takes the place of the one before."""
    import signal
    import time

    stopped: list[int] = []

    # A plain flag: KeyboardInterrupt in the midst of a callback is lost, and an Event's lock may be held right now.
    signal.signal(signal.SIGINT, lambda number, _: stopped.append(number))
    while not stopped:
        text, _ = look()
        if clear:
            click.clear()  # does nothing when stdout is no terminal
        click.echo(text)
        until = time.monotonic() + WATCH_S
        while not stopped and time.monotonic() < until:
            time.sleep(WATCH_S / 20)
    return DONE


def _look(known: "Settings", *, as_json: bool) -> tuple[str, int]:
    import asyncio

    from relay import app

    seen, relay = asyncio.run(app.status(known)), _local()
    if not (seen.database.reachable and seen.broker.reachable):
        code = UNREACHABLE
    else:
        code = FAILURE if seen.backlog is None else DONE
    if as_json:
        return json.dumps(seen.as_dict() | {"relay": relay if isinstance(relay, dict) else None}), code
    return _table(_lines(seen, relay)), code


def _local() -> dict[str, Any] | str:
    """Return what the relay on this host tells of itself, or why there is none."""
    from relay.cli import local

    try:
        return local.status()
    except local.NoAnswer as error:
        return str(error)


def _lines(seen: "Status", relay: dict[str, Any] | str) -> Iterable[tuple[str, str]]:
    yield "database", _server(seen.database)
    yield "broker", _server(seen.broker)
    yield "relay", relay if isinstance(relay, str) else _summary(relay)
    if (backlog := seen.backlog) is not None:
        more = "at least " if backlog.capped else ""
        oldest = f", the oldest due for {duration(backlog.oldest_age_s)}" if backlog.pending else ""
        yield "pending", f"{more}{backlog.pending}{oldest}"
        yield "retrying", f"{backlog.retrying}"
        yield "failed", f"{backlog.failed}"
    if seen.health is not None:
        yield from health.lines(seen.health)


def _server(server: "Server") -> str:
    latency = "" if server.latency_seconds is None else f"answers in {server.latency_seconds * 1000:.1f} ms"
    trouble = "" if server.reason is None else f"{server.reason}: {server.detail}"
    return "; ".join(filter(None, (latency, trouble)))


def _summary(page: dict[str, Any]) -> str:
    try:
        sides = ", ".join(f"{side} {page[side]['state']}" for side in ("database", "broker"))
        return f"{page['name']} {page['version']}, up {duration(float(page['uptime_seconds']))}: {sides}"
    except (KeyError, TypeError, ValueError):
        return NOT_OURS


def _table(rows: Iterable[tuple[str, str]]) -> str:
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)

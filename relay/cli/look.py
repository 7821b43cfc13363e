"""`relay check`, `relay config` and `relay status`: looking without touching."""

import asyncio
import json
import time
from typing import TYPE_CHECKING

import rich_click as click

from relay.cli.exits import DONE, PROBLEMS, UNREACHABLE
from relay.cli.operate import as_json

if TYPE_CHECKING:
    from relay.app.status import Status
    from relay.settings import Settings

SIGNS = {"ok": "✓", "warning": "!", "problem": "✗", "unreachable": "✗"}


@click.command()
@as_json
def check(*, as_json: bool) -> int:
    """Look at the configuration, both servers, the table, the grants and the exchange; say what mends each problem.

    Exit codes: 0 all is well, 2 configuration, 3 problems found, 4 a server is unreachable.
    """
    from relay import settings

    return asyncio.run(_check(settings.load(), as_json=as_json))


async def _check(known: "Settings", *, as_json: bool) -> int:
    from relay import app

    findings = []
    async for finding in app.check(known):
        findings.append(finding)
        if not as_json:
            click.echo(f"{SIGNS[finding.verdict]} {finding.subject}: {finding.text}")
            for line in finding.fix.splitlines():
                click.echo(f"    {line}")
    if as_json:
        click.echo(json.dumps([finding.as_dict() for finding in findings], indent=2))
    verdicts = {str(finding.verdict) for finding in findings}
    if "unreachable" in verdicts:
        return UNREACHABLE
    return PROBLEMS if "problem" in verdicts else DONE


@click.command()
@as_json
def config(*, as_json: bool) -> int:
    """Print the effective configuration, passwords masked."""
    from relay import settings

    shown = settings.effective(settings.load())
    if as_json:
        click.echo(json.dumps(shown, indent=2))
    else:
        width = max(map(len, shown))
        for name, value in shown.items():
            click.echo(f"{name:<{width}}  {value}")
    return DONE


@click.command()
@as_json
@click.option("--watch", is_flag=True, help="Look again every two seconds until interrupted.")
def status(*, as_json: bool, watch: bool) -> int:
    """Show the backlog, both servers, and the relay on this host if one answers."""
    from relay import app, settings

    known = settings.load()
    try:
        while True:
            seen = asyncio.run(app.status(known))
            click.echo(json.dumps(seen.as_dict()) if as_json else _lines(seen))
            if not watch:
                return DONE if seen.reachable else UNREACHABLE
            time.sleep(2)
    except KeyboardInterrupt:
        return DONE


def _lines(seen: "Status") -> str:
    lines = [f"database  {seen.database}", f"broker    {seen.broker}", f"relay     {seen.relay}"]
    if seen.backlog is not None:
        more = "at least " if seen.backlog.capped else ""
        lines += [
            f"pending   {more}{seen.backlog.pending}, oldest due for {seen.backlog.oldest_age_s:.1f} s",
            f"retrying  {seen.backlog.retrying}",
            f"failed    {seen.backlog.failed}",
        ]
    return "\n".join(lines)

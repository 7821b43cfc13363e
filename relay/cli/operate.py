"""`relay migrate`, `relay cleanup` and `relay retry`: what a person does to the table."""

import json
import re
import sys
from datetime import timedelta

import rich_click as click

from relay.cli.exits import DONE
from relay.cli.says import as_json, rows

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Duration(click.ParamType[timedelta]):
    """A whole number with a unit: 90s, 15m, 12h, 30d, 2w."""

    name = "duration"

    def convert(self, value: str | timedelta, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read it, or blame the option."""
        if isinstance(value, timedelta):
            return value
        match = re.fullmatch(r"([0-9]{1,6})([smhdw])", value)
        if match is None:
            self.fail(f"{value!r} is not a duration; write a number and a unit: 90s, 15m, 12h, 30d, 2w", param, ctx)
        return timedelta(seconds=int(match[1]) * UNITS[match[2]])


@click.group()
def migrate() -> None:
    """Make and change the outbox table (never done by `relay run`)."""


opt_in = click.argument("opt_in", required=False, metavar="[OPT-IN]")


@migrate.command()
@opt_in
def up(*, opt_in: str | None) -> int:
    """Apply what is missing, and the named opt-in."""
    from relay import migrate as runner
    from relay import settings

    known = settings.load(table_only=True)
    for step in runner.up(known.database_url(), schema=known.schema_, table=known.table, only=opt_in):
        click.echo(f"applied {step}")
    click.echo(f"{known.schema_}.{known.table} is up to date", err=True)
    return DONE


@migrate.command()
@opt_in
@click.option("--steps", type=click.IntRange(min=1), default=1, show_default=True, help="Migrations to take back.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def down(*, opt_in: str | None, steps: int, yes: bool) -> int:
    """Take back the newest migrations, opt-ins first, or just the named opt-in; the first one drops the table."""
    from relay import migrate as runner
    from relay import settings

    known = settings.load(table_only=True)
    where, url = f"{known.schema_}.{known.table}", known.database_url()
    if not yes:
        states = reversed(runner.status(url, schema=known.schema_, table=known.table))
        applied = [state for state in states if state.applied_at and opt_in in {None, state.name}]
        names = [f"{state.version:04}_{state.name}" for state in applied[:steps]]
        if names:
            _confirm(names, where)
    taken = runner.down(url, schema=known.schema_, table=known.table, steps=steps, only=opt_in)
    for step in taken:
        click.echo(f"took back {step}")
    if not taken:
        click.echo(f"nothing of {where} is applied" if opt_in is None else f"{opt_in} is not applied", err=True)
    return DONE


def _confirm(names: list[str], where: str) -> None:
    """Ask a person; without one to ask, refuse."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"this takes back {', '.join(names)} of {where}; there is nobody to ask, so pass --yes")
    loss = f" This drops {where} with every row in it." if any(name.startswith("0001_") for name in names) else ""
    click.confirm(f"Take back {', '.join(names)} of {where}?{loss}", abort=True, err=True)


@migrate.command("status")
@as_json
def migrate_status(*, as_json: bool) -> int:
    """Show which migrations are applied."""
    from relay import migrate as runner
    from relay import settings

    known = settings.load(table_only=True)
    states = runner.status(known.database_url(), schema=known.schema_, table=known.table)
    if as_json:
        click.echo(json.dumps([state.as_dict() for state in states], indent=2))
    else:
        for state in states:
            click.echo(str(state))
    return DONE


@migrate.command("sql")
@opt_in
@click.option("--schema", default="outbox", show_default=True, envvar="RELAY_SCHEMA", help="Schema of the table.")
@click.option("--table", default="message", show_default=True, envvar="RELAY_TABLE", help="Name of the table.")
@click.option("--down", "backwards", is_flag=True, help="Print the statements that take them back.")
def migrate_sql(*, opt_in: str | None, schema: str, table: str, backwards: bool) -> int:
    """Print the migrations, or the named opt-in, as plain SQL for a team's own tool; needs no server, no setting."""
    from relay import migrate as runner

    click.echo(runner.sql(schema=schema, table=table, only=opt_in, backwards=backwards), nl=False)
    return DONE


@click.command()
@click.option("--older-than", type=Duration(), default="30d", show_default=True, help="Keep rows younger than this.")
@click.option("--failed", is_flag=True, help="Delete failed rows instead of sent ones.")
@click.option("--batch", type=click.IntRange(1, 100_000), default=5000, show_default=True, help="Rows a transaction.")
@click.option("--dry-run", is_flag=True, help="Count what would be deleted.")
@as_json
def cleanup(*, older_than: timedelta, failed: bool, batch: int, dry_run: bool, as_json: bool) -> int:
    """Delete old sent rows, a batch a transaction; pending rows are never touched."""
    import asyncio

    from relay import app, settings

    work = app.cleanup(
        settings.load(table_only=True), older_than=older_than, failed=failed, batch=batch, dry_run=dry_run
    )
    count = asyncio.run(work)
    state = "failed" if failed else "sent"
    if as_json:
        click.echo(json.dumps({"rows": count, "state": state, "dry_run": dry_run}))
    else:
        click.echo(f"{'would delete' if dry_run else 'deleted'} {rows(count, state)}")
    return DONE


@click.command()
@click.option("--limit", type=click.IntRange(min=1), default=None, help="Requeue at most this many, oldest first.")
@click.option("--batch", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="Rows a transaction.")
@click.option("--dry-run", is_flag=True, help="Count what would be requeued.")
@as_json
def retry(*, limit: int | None, batch: int, dry_run: bool, as_json: bool) -> int:
    """Make failed rows pending again, with their counters at zero."""
    import asyncio

    from relay import app, settings

    count = asyncio.run(app.requeue(settings.load(table_only=True), limit=limit, batch=batch, dry_run=dry_run))
    if as_json:
        click.echo(json.dumps({"rows": count, "dry_run": dry_run}))
    else:
        click.echo(f"{'would requeue' if dry_run else 'requeued'} {rows(count, 'failed')}")
    return DONE

"""`relay doorbell`: whether an INSERT wakes a relay that sleeps."""

import json
from typing import TYPE_CHECKING

import rich_click as click

from relay.cli.exits import DONE
from relay.cli.says import as_json

if TYPE_CHECKING:
    from relay.app import Bell

OPT_IN = "doorbell"


@click.group()
def doorbell() -> None:
    """Let an INSERT wake an idle relay at once, instead of its next poll."""


@doorbell.command()
def enable() -> int:
    """Make the trigger, and what is missing of the table; running relays notice by themselves."""
    from relay import migrate as runner
    from relay import settings

    known = settings.load(table_only=True)
    for step in runner.up(known.database_url(), schema=known.schema_, table=known.table, only=OPT_IN):
        click.echo(f"applied {step}")
    click.echo(f"inserts into {known.schema_}.{known.table} ring; relays hear it within 30 s", err=True)
    return DONE


@doorbell.command()
def disable() -> int:
    """Drop the trigger; relays go on by their poll."""
    from relay import migrate as runner
    from relay import settings

    known = settings.load(table_only=True)
    for step in runner.down(known.database_url(), schema=known.schema_, table=known.table, only=OPT_IN):
        click.echo(f"took back {step}")
    click.echo(f"inserts into {known.schema_}.{known.table} do not ring", err=True)
    return DONE


@doorbell.command("status")
@as_json
def doorbell_status(*, as_json: bool) -> int:
    """Tell whether the trigger is there and fires, and which relay holds the bell now."""
    import asyncio

    from relay import app, settings

    found = asyncio.run(app.doorbell(settings.load(table_only=True)))
    click.echo(json.dumps(found.as_dict(), indent=2) if as_json else _told(found))
    return DONE


def _told(found: "Bell") -> str:
    bell = found.doorbell
    if not bell.installed:
        return "off: there is no trigger (relay doorbell enable)"
    if not bell.enabled:
        return "off: the trigger is disabled"
    held = "nobody holds it now" if bell.holder is None else f"held by {bell.holder}"
    return f"on: {held}" + ("; not to be heard from here: a pooler stands between" if found.pooled else "")

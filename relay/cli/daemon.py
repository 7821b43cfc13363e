"""`relay run` and `relay healthcheck`."""

import signal
import sys

import rich_click as click

from relay.cli.exits import DONE, FAILURE


@click.command()
@click.option("--drain", is_flag=True, help="Relay until no row is due, then exit 0; outages are waited out.")
def run(*, drain: bool) -> int:
    """Relay rows until SIGTERM (finish what is in flight) or a second one (now)."""
    # Until the loop takes it over: process 1 of a container does not even notice a signal that it has no handler for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(DONE))

    import asyncio

    from relay import app, settings

    return asyncio.run(app.run(settings.load(), drain=drain))


@click.command()
def healthcheck() -> int:
    """Ask the relay on this host whether its loop turns; exit 0 if it does, 1 if not.

    Reads only RELAY_HTTP_HOST and RELAY_HTTP_PORT, so that a container's health check needs no secret.
    """
    from relay.cli import local

    try:
        status, text = local.ask("/livez")
    except local.NoAnswer as error:
        click.echo(str(error), err=True)
        return FAILURE
    if status != 200:  # noqa: PLR2004 -- HTTP's word for yes
        click.echo(f"not live: {status} {text}", err=True)
        return FAILURE
    click.echo(text)
    return DONE

"""`relay run` and `relay healthcheck`."""

import asyncio
import os
import urllib.error
import urllib.request

import rich_click as click

from relay.cli.exits import DONE, FAILURE

HEALTH_TIMEOUT_S = 3.0


@click.command()
@click.option("--drain", is_flag=True, help="Relay until no row is due, then exit 0.")
def run(*, drain: bool) -> int:
    """Relay rows until SIGTERM (finish what is in flight) or a second one (now)."""
    from relay import app, settings

    return asyncio.run(app.run(settings.load(), drain=drain))


@click.command()
def healthcheck() -> int:
    """Ask the relay on this host whether its loop turns; exit 0 if it does, 1 if not.

    Reads only RELAY_HTTP_HOST and RELAY_HTTP_PORT, so that a container's health check needs no secret.
    """
    host = os.environ.get("RELAY_HTTP_HOST", "0.0.0.0")
    port = os.environ.get("RELAY_HTTP_PORT", "9464")
    target = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    try:
        with urllib.request.urlopen(f"http://{target}:{port}/livez", timeout=HEALTH_TIMEOUT_S) as answer:
            click.echo(answer.read().decode().strip())
    except urllib.error.HTTPError as error:
        click.echo(f"not live: {error.read().decode(errors='replace').strip()}", err=True)
        return FAILURE
    except (OSError, ValueError) as error:
        click.echo(f"no relay answers on {target}:{port}: {error}", err=True)
        return FAILURE
    return DONE

"""Words on the shell. stdout is data, stderr is talk; the heavy imports wait until a command needs them.

Exit codes: 0 done · 1 failure · 2 configuration or usage · 3 check found problems · 4 a server is unreachable.
"""

import sys
from collections.abc import Sequence
from typing import NoReturn

import rich_click as click

from relay import __version__
from relay.cli.daemon import healthcheck, run
from relay.cli.doorbell import doorbell
from relay.cli.exits import DONE, FAILURE, exit_for
from relay.cli.look import check, config, status
from relay.cli.operate import cleanup, migrate, retry
from relay.cli.says import flush, prepare
from relay.cli.top import top

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=CONTEXT)
@click.version_option(__version__, "--version", prog_name="relay", message="%(prog)s %(version)s")
def cli() -> None:
    """Carry committed outbox rows from Postgres to RabbitMQ, each one at least once.

    Everything is set by environment variables, RELAY_DATABASE_URL, RELAY_AMQP_URL and RELAY_EXCHANGE first; `relay
    config --reference` lists them all.
    """


@cli.command()
def version() -> None:
    """Print the version."""
    click.echo(__version__)


for command in (run, check, config, status, top, migrate, doorbell, cleanup, retry, healthcheck):
    cli.add_command(command)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run a command and leave with its exit code; an operator's mistake never ends in a traceback."""
    prepare()
    code = _code_of(args)
    flush()
    sys.exit(code)


def _code_of(args: Sequence[str] | None) -> int:
    try:
        return cli.main(args=args, prog_name="relay", standalone_mode=False) or DONE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("\nAborted.", err=True)
        return FAILURE
    except Exception as error:
        known = exit_for(error)
        if known is None:
            raise
        if known.text:
            click.echo(known.text, err=True)
        return known.code

"""How the commands speak: the common option, colours, and streams that take every text."""

import io
import logging
import os
import sys
from pathlib import Path

import rich_click as click

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


def paint(text: str, color: str) -> str:
    """Colour a text; click takes the colour away again when stdout is no terminal."""
    return text if os.environ.get("NO_COLOR") else click.style(text, fg=color)


def rows(count: int, state: str) -> str:
    """Write a number of rows of a state."""
    return f"{count} {state} row{'' if count == 1 else 's'}"


def prepare() -> None:
    """Let a stream take what its encoding cannot, and the libraries be silent: the command tells what matters.

    `relay run` sets its log up after this.
    """
    logging.getLogger().addHandler(logging.NullHandler())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def flush() -> None:
    """Write what is left on stdout; when nobody reads it or the disk is full, give it up: Python would try again."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)

"""How the commands speak: the common option, colours, durations, and streams that take every text."""

import io
import logging
import os
import sys
from pathlib import Path

import rich_click as click

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60))


def paint(text: str, color: str) -> str:
    """Colour a text; click takes the colour away again when stdout is no terminal."""
    return text if os.environ.get("NO_COLOR") else click.style(text, fg=color)


def duration(seconds: float) -> str:
    """Write seconds as a person would: 0.4 s, 12 s, 3 min 20 s, 5 h 2 min, 3 d 4 h."""
    if seconds < 60:  # noqa: PLR2004 -- a minute
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004 -- a tenth matters below
    whole = int(seconds)
    names = [name for name, _ in _UNITS] + ["s"]
    sizes = [size for _, size in _UNITS] + [1]
    first = next(place for place, size in enumerate(sizes) if whole >= size)
    rest = whole % sizes[first] // sizes[first + 1]
    head = f"{whole // sizes[first]} {names[first]}"
    return f"{head} {rest} {names[first + 1]}" if rest else head


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

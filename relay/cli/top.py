"""`relay top`: the relay on this host, watched in the terminal."""

import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import rich_click as click

from relay.cli.exits import DONE, UNREACHABLE

if TYPE_CHECKING:
    from rich.console import Console

    from relay.page.reading import Reading

EVERY_S = 2.0
STEP_S = 0.1
"""How soon a key or a signal is noticed."""
QUIT = frozenset("qQ\x03\x04")


@click.command()
@click.option("--once", is_flag=True, help="Show it once and leave.")
def top(*, once: bool) -> int:
    """Watch the relay on this host: state, the six numbers, the last hour, failures; q or Ctrl-C ends it.

    Reads only RELAY_HTTP_HOST and RELAY_HTTP_PORT, so it works inside the relay's container. Without a terminal it
    prints a line every two seconds. Exit code 4 when no relay answers at the start.
    """
    from rich.console import Console

    from relay.cli import local

    console = Console(highlight=False, markup=False)
    try:
        first = look()
    except local.NoAnswer as error:
        click.echo(str(error), err=True)
        return UNREACHABLE
    if once:
        _draw(console, first)
    elif console.is_terminal and not console.is_dumb_terminal:
        _watch(console, first)
    else:
        _lines(first)
    return DONE


def look() -> "Reading":
    """Ask the relay. Raises NoAnswer."""
    from relay.cli import local
    from relay.page.reading import read

    return read(local.status())


def _looks(first: "Reading", stopped: Callable[[], bool]) -> Iterator[tuple["Reading", str]]:
    """Give what is seen, every two seconds until stopped: the latest reading, and why there is no newer one."""
    from relay.cli import local

    seen, trouble = first, ""
    while True:
        yield seen, trouble
        until = time.monotonic() + EVERY_S
        while time.monotonic() < until:
            if stopped():
                return
        try:
            seen, trouble = look(), ""
        except local.NoAnswer as error:
            trouble = str(error)


def _draw(console: "Console", seen: "Reading") -> None:
    from rich.live import Live

    from relay.cli.screen import picture

    drawn = picture(seen, console.width, keys=False)
    with Live(drawn, console=console, auto_refresh=False, vertical_overflow="visible"):
        pass  # it stays


def _watch(console: "Console", first: "Reading") -> None:
    from rich.live import Live

    from relay.cli.screen import picture

    with _signals() as signalled, _keys() as pressed:

        def stopped() -> bool:
            return bool(pressed() & QUIT) or signalled()

        with Live(console=console, screen=True, auto_refresh=False) as live:
            for seen, trouble in _looks(first, stopped):
                live.update(picture(seen, console.width, trouble=trouble), refresh=True)


def _lines(first: "Reading") -> None:
    from relay.cli.screen import line

    with _signals() as signalled:

        def stopped() -> bool:
            time.sleep(STEP_S)
            return signalled()

        for seen, trouble in _looks(first, stopped):
            click.echo(trouble or line(seen), err=bool(trouble))


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Note a signal to end instead of dying by it: the terminal is to be left as it was."""
    got: list[int] = []
    before = {number: signal.signal(number, lambda which, _: got.append(which)) for number in (2, 15)}
    try:
        yield lambda: bool(got)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _keys() -> Iterator[Callable[[], set[str]]]:
    """Give what waits for keys for a moment; without a keyboard it only waits."""
    if not sys.stdin.isatty():

        def none() -> set[str]:
            time.sleep(STEP_S)
            return set()

        yield none
        return
    import os
    import termios
    import tty

    stdin = sys.stdin.fileno()
    before = termios.tcgetattr(stdin)

    def pressed() -> set[str]:
        ready, _, _ = select.select([stdin], [], [], STEP_S)
        return set(os.read(stdin, 64).decode(errors="replace") or "q") if ready else set()

    tty.setcbreak(stdin)
    try:
        yield pressed
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)

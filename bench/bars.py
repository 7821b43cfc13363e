"""What must be reached, and whether it was. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bar:
    """Something that must be reached."""

    what: str
    wanted: str
    got: str
    met: bool


def at_least(what: str, least: float, got: float, digits: int = 0) -> Bar:
    """Hold a figure to a lower bound."""
    return Bar(what, f">= {least:,.{digits}f}", f"{got:,.{digits}f}", got >= least)


def at_most(what: str, most: float, got: float, digits: int = 0) -> Bar:
    """Hold a figure to an upper bound."""
    return Bar(what, f"<= {most:,.{digits}f}", f"{got:,.{digits}f}", got <= most)


def all_met(bars: Sequence[Bar]) -> bool:
    """Whether nothing was missed."""
    return all(bar.met for bar in bars)

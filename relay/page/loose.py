"""JSON that another version may have written, taken as what is expected, or as nothing. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any


def number(value: object) -> float:
    """Return a number, 0 for what is none."""
    return float(value) if isinstance(value, int | float) else 0.0


def number_or_none(value: object) -> float | None:
    """Return a number, None for what is none."""
    return float(value) if isinstance(value, int | float) else None


def fields(value: object) -> Mapping[str, Any]:
    """Return an object, an empty one for what is none."""
    return value if isinstance(value, Mapping) else {}


def items(value: object) -> Sequence[Any]:
    """Return a list, an empty one for what is none."""
    return value if isinstance(value, list | tuple) else ()

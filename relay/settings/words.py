"""Settings in words: what each one takes, what was wrong with it, and the whole table."""

from typing import Any, Literal, NamedTuple, get_args, get_origin

from annotated_types import Ge, Le
from pydantic_core import ErrorDetails

from relay.settings.model import Settings

WHOLE, FRACTION = "a whole number", "a number of seconds"
_SAID = {
    "missing": "is required",
    "greater_than_equal": "is too small",
    "less_than_equal": "is too large",
    "finite_number": "is not a finite number",
}


class Entry(NamedTuple):
    """One line of the settings table."""

    name: str
    default: str
    allowed: str
    description: str


def allowed(field: str) -> str:
    """Say what a setting takes, such as “a whole number from 1 to 16”."""
    info = Settings.model_fields[field]
    if isinstance(info.json_schema_extra, dict):
        return str(info.json_schema_extra["allowed"])
    if get_origin(info.annotation) is Literal:
        return " or ".join(get_args(info.annotation))
    low = next(str_of(item.ge) for item in info.metadata if isinstance(item, Ge))
    high = next(str_of(item.le) for item in info.metadata if isinstance(item, Le))
    return f"{WHOLE if info.annotation is int else FRACTION} from {low} to {high}"


def default_text(field: str) -> str:
    """Say what holds when the setting is left out; empty for a required one."""
    info = Settings.model_fields[field]
    if info.is_required():
        return ""
    return "the host name" if info.default_factory is not None else str_of(info.default)


def advice(field: str) -> str:
    """Say what to do about a value that cannot be used."""
    return f"allowed: {allowed(field)}"


def str_of(value: Any) -> str:
    """Write a setting's value as a person would type it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def sentence(error: ErrorDetails) -> str:
    """Say in our words what pydantic found, without the value."""
    kind = error["type"]
    if kind == "value_error":
        return str(error["ctx"]["error"])  # raised in model.py, where no text holds the value
    if kind.startswith("int"):
        return f"is not {WHOLE}"
    if kind.startswith("float"):
        return "is not a number"
    if kind.startswith("bool"):
        return "is neither true nor false"
    return _SAID.get(kind, "is not allowed")

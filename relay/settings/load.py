"""Environment → Settings, or every problem at once; a problem names the variable and never repeats a value."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from relay.settings import urls
from relay.settings.model import Settings
from relay.settings.relations import broken
from relay.settings.secret import Check, Secret
from relay.settings.strangers import PREFIX, strangers
from relay.settings.words import advice, allowed, default_text, sentence

CHECKS: Mapping[str, Check] = {"database_url": urls.database_problems, "amqp_url": urls.amqp_problems}
_STAND_INS: Mapping[str, Any] = {
    "database_url": Secret("", check=lambda _: []),
    "amqp_url": Secret("", check=lambda _: []),
    "exchange": "stand-in",
}
"""Values for required settings that are wrong, so that the rest can still be checked against each other."""
BROKER_SIDE = ("amqp_url", "exchange")
"""What a command that works on the table alone does without."""


class SettingsError(Exception):
    """The environment cannot be used; the text has one line for each problem."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def variable(field: str) -> str:
    """Return the variable a field is read from."""
    return PREFIX + field.rstrip("_").upper()


def variables() -> list[str]:
    """Return every variable the relay reads, in the order of the table."""
    names = []
    for field in Settings.model_fields:
        names.append(variable(field))
        if field in CHECKS:
            names.append(f"{variable(field)}_FILE")
    return names


def load(env: Mapping[str, str] | None = None, *, table_only: bool = False) -> Settings:
    """Read the settings from `env`, by default the process's environment; `table_only` asks for none of the broker.

    Raises SettingsError.
    """
    env = os.environ if env is None else env
    values, problems = _read(env)
    for field in BROKER_SIDE if table_only else ():
        if env.keys().isdisjoint({variable(field), f"{variable(field)}_FILE"}):
            values[field] = _STAND_INS[field]
            problems.pop(field, None)
    try:
        settings = Settings(**values)
    except ValidationError as error:
        items = error.errors(include_url=False, include_input=False)
        wrong = {str(item["loc"][0]): [f"{sentence(item)}; {advice(str(item['loc'][0]))}"] for item in items}
        problems = wrong | problems  # what _read says of a field is more to the point than “is required”
        sound = {field: value for field, value in values.items() if field not in wrong}
        settings = Settings(**sound | {field: value for field, value in _STAND_INS.items() if field in wrong})
    lines = [f"{variable(field)}: {text}" for field in Settings.model_fields for text in problems.get(field, ())]
    lines += broken(settings, unknown=problems.keys())
    lines += strangers(env, variables())
    if lines:
        raise SettingsError(tuple(lines))
    return settings


def _read(env: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Collect the values that are set, and by field what is wrong before any type is looked at."""
    values: dict[str, Any] = {}
    problems: dict[str, list[str]] = {}
    for field in Settings.model_fields:
        text = env.get(variable(field))
        if field in CHECKS:
            found = _secret(field, env)
            if isinstance(found, Secret):
                values[field] = found
            else:
                problems[field] = found
        elif text is not None and not _encodable(text):
            problems[field] = ["is not UTF-8 text"]
        elif text == "" and not Settings.model_fields[field].is_required():
            problems[field] = [f"is empty; leave it out for {default_text(field)}, or set {allowed(field)}"]
        elif text is not None:
            values[field] = text
    return values, problems


def _secret(field: str, env: Mapping[str, str]) -> Secret | list[str]:
    """Make the secret of a field, or say why there is none."""
    name = variable(field)
    value, file = env.get(name), env.get(f"{name}_FILE")
    if value is not None and file is not None:
        return [f"{name}_FILE is set as well; set one of the two"]
    if value is None and file is None:
        return [f"is required; set it, or {name}_FILE, to {allowed(field)}"]
    if value is not None and not _encodable(value):
        return ["is not UTF-8 text"]
    secret = Secret(name, value=value, path=None if file is None else Path(file), check=CHECKS[field])
    return secret.problems() or secret


def _encodable(text: str) -> bool:
    """Return whether the bytes of a variable were UTF-8; Python keeps others as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

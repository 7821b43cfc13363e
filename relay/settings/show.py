"""The settings for people: the table of all of them, and the effective ones with every password hidden."""

from relay.settings.load import CHECKS, variable
from relay.settings.model import DEFAULT_EXCHANGE, Settings
from relay.settings.secret import Secret
from relay.settings.urls import HIDDEN, mask
from relay.settings.words import Entry, allowed, default_text, str_of


def reference() -> list[Entry]:
    """Return the table of all variables: name, default (empty: required), what is allowed, one sentence."""
    entries = []
    for field, info in Settings.model_fields.items():
        entries.append(Entry(variable(field), default_text(field), allowed(field), str(info.description)))
        if field in CHECKS:
            text = f"File that holds {variable(field)} instead; read anew at every connect."
            entries.append(Entry(f"{variable(field)}_FILE", "", "a path", text))
    return entries


def effective(settings: Settings) -> dict[str, str]:
    """Return what is in force, by variable: hosts, databases and users are shown, passwords never."""
    shown: dict[str, str] = {}
    for field in Settings.model_fields:
        value = getattr(settings, field)
        if isinstance(value, Secret):
            shown[value.name] = _masked(value)
            if value.path is not None:
                shown[value.source] = str(value.path)
        elif field == "exchange":
            shown[variable(field)] = value or DEFAULT_EXCHANGE
        else:
            shown[variable(field)] = str_of(value)
    return shown


def _masked(secret: Secret) -> str:
    try:
        return mask(secret())
    except (OSError, ValueError):
        return f"{HIDDEN} (cannot be read now)"

"""The environment, checked whole: every problem at once, no secret in any text."""

from relay.settings.load import SettingsError, load, variables
from relay.settings.model import Settings
from relay.settings.relations import LEASE_ABOVE_CONFIRM_S
from relay.settings.show import effective, reference
from relay.settings.urls import mask
from relay.settings.words import Entry

__all__ = [
    "LEASE_ABOVE_CONFIRM_S",
    "Entry",
    "Settings",
    "SettingsError",
    "effective",
    "load",
    "mask",
    "reference",
    "variables",
]

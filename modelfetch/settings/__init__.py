"""Settings: their table, loading them with the origin of each value, and editing the user's file.

Every setting is a row of :data:`SETTINGS`. :func:`load` merges defaults, files, environment and flags and
records where each value comes from. :mod:`modelfetch.settings.edit` changes the user's file.
"""

from modelfetch.settings.load import Loaded, load
from modelfetch.settings.locations import user_config_path
from modelfetch.settings.redaction import redact
from modelfetch.settings.table import SETTINGS
from modelfetch.settings.types import Setting, Value
from modelfetch.settings.values import Secret, Settings, shown

__all__ = [
    "SETTINGS",
    "Loaded",
    "Secret",
    "Setting",
    "Settings",
    "Value",
    "load",
    "redact",
    "shown",
    "user_config_path",
]

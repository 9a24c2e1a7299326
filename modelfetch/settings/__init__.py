"""Settings: one table of them, where they come from, and how the user's file is changed.

Every setting is a row of :data:`SETTINGS`; :func:`load` lays defaults, files, environment and flags over each
other and says for each value where it comes from. The user's file is
changed by :mod:`modelfetch.settings.edit`.
"""

from modelfetch.settings.load import Loaded, load
from modelfetch.settings.locations import user_config_path
from modelfetch.settings.redaction import redact
from modelfetch.settings.table import SETTINGS, SOURCE_KINDS
from modelfetch.settings.types import Setting, Value
from modelfetch.settings.values import Secret, Settings, shown

__all__ = [
    "SETTINGS",
    "SOURCE_KINDS",
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

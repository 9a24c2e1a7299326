"""What one row of the table of settings says."""

from __future__ import annotations

from typing import Literal

from modelfetch.settings.forms import Form, Plain, Value
from modelfetch.values import dataclass

Reach = Literal["any", "at most", "at least", "never"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table."""

    section: str
    """The TOML table it stands in; empty for what no file may set."""
    key: str
    """Its key there."""
    form: Form
    """What its value must look like."""
    written: Plain
    """The default, as one would write it in TOML."""
    meaning: str
    """What it does, with the unit, in one line."""
    reason: str
    """Why the default is what it is."""
    flag: str = ""
    """The command-line option that sets it, if there is one."""
    project: Reach = "any"
    """Which values a project's file may give it, compared with the user's own."""
    is_idle: bool = False
    """Whether nothing reads it yet: it is known, so that a configuration is valid for later versions, too."""

    @property
    def name(self) -> str:
        """Its name on the command line and in messages: ``network.files``."""
        return f"{self.section}.{self.key}" if self.section else self.key

    @property
    def variable(self) -> str:
        """The environment variable that sets it: ``MODELFETCH_NETWORK_FILES``."""
        return f"MODELFETCH_{self.name}".replace(".", "_").upper()

    @property
    def default(self) -> Value:
        """The default as the program uses it."""
        return self.form.check(self.written)

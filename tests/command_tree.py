"""The command as a tree of commands, of which several tests read names, options and texts."""

from __future__ import annotations

from functools import cache
from typing import Any

import typer

from modelfetch.cli.app import command_line


@cache
def command_tree() -> Any:
    """Build it once for all tests of a worker, as that takes 50 ms. It is shared: do not change it."""
    return typer.main.get_command(command_line())

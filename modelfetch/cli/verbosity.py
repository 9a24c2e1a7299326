"""``-v`` and ``-vv``: every command and group has the option, and it counts wherever it is given.

``modelfetch -v ensure demo`` and ``modelfetch ensure demo -v`` mean the same; the option may be repeated, and
``MODELFETCH_VERBOSE`` sets the least level, for a CI job whose command line cannot be changed. Verbose lines
are printed on stderr by :mod:`modelfetch.tracing`, also with ``--quiet`` and ``--json``: both together give
the result on stdout, and a log beside it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, Final

from typer.core import TyperOption

from modelfetch import tracing
from modelfetch.errors import UsageError
from modelfetch.model.text import quote

VARIABLE: Final = "MODELFETCH_VERBOSE"
_NAMES: Final = ("--verbose", "-v")


def add_verbose_option(command: Any) -> None:
    """Give a command or group the option, unless it has it."""
    if not any(parameter.name == "verbose" for parameter in command.params):
        command.params.append(_option())


def _option() -> TyperOption:
    return TyperOption(
        param_decls=list(_NAMES),
        type=int,  # else the help states a range
        count=True,
        default=0,
        is_eager=True,  # before other callbacks, which may read settings
        expose_value=False,
        callback=_given,
        help="Print each HTTP request on stderr; -vv prints details too.",
    )


def _given(context: Any, _parameter: Any, count: int) -> int:
    if count and not context.resilient_parsing:
        raise_level(count)
    return count


def without_verbose(words: Sequence[str]) -> Sequence[str]:
    """Remove the option from the start of the arguments, where it comes before the command."""
    start = 0
    while start < len(words) and _is_verbose(words[start]):
        start += 1
    return words[start:]


def _is_verbose(word: str) -> bool:
    return word == "--verbose" or (word != "-" and word.rstrip("v") == "-")


def start_by_environment() -> None:
    """Start verbose output if the environment requests it, else stop that of an earlier command.

    Raises:
        UsageError: The variable has another value than 0, 1 or 2.
    """
    tracing.active = None
    value = os.environ.get(VARIABLE, "").strip()
    if value not in ("", "0", "1", "2"):
        raise UsageError(f"{VARIABLE} is {quote(value)}", hint="Set it to 1 or 2, as -v or -vv, or unset it.")
    if value in ("", "0"):
        return
    from modelfetch.cli.completion import VARIABLE as COMPLETION

    if COMPLETION not in os.environ:  # lines would fill the prompt of a shell that requests completion
        raise_level(int(value))


def raise_level(count: int) -> None:
    """Print more: as many levels more as the option was given."""
    if tracing.active is None:
        _start(count)
    else:
        tracing.active.level += count


def _start(level: int) -> None:
    import platform

    from modelfetch.settings.secret_values import KnownSecrets
    from modelfetch.version import __version__

    tracing.active = tracing.Trace(level, KnownSecrets())
    tracing.active.detail(
        f"modelfetch {__version__}, Python {platform.python_version()} on {sys.platform} {platform.machine()}"
    )

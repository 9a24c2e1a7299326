"""The command ``modelfetch`` and its subcommands, as a typer application.

:func:`call` parses the arguments of this process and runs the command. Errors of usage are reported here, so
that they look like all other errors; errors of commands pass through to :mod:`modelfetch.cli.entry`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Annotated, Any, Final

import typer

from modelfetch.cli.help import ALIASES, EXIT_USAGE, Commands, epilog
from modelfetch.cli.output import print_line, prints_events, report_error
from modelfetch.cli.verbosity import without_verbose
from modelfetch.errors import UsageError
from modelfetch.model.text import sanitize
from modelfetch.signal_exit_codes import SIGINT_EXIT
from modelfetch.version import __version__

# Base class of all usage errors. From 0.26 on typer contains its own copy of click, so the class is taken
# from the bases of a typer class instead of an import of click.
_ClickException: type[Exception] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)


def _version(value: bool) -> None:
    if value:
        print_line(f"modelfetch {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


_MORE: Final = (
    "`modelfetch COMMAND --help` explains a command, `modelfetch config show` lists the settings, and "
    "`modelfetch man | man -l -` has the exit codes."
)

_NUMBERS: Final[Mapping[str, str]] = {
    "a valid float range": "a number",
    "a valid float": "a number",
    "a valid int range": "a whole number",
    "a valid integer range": "a whole number",
    "a valid integer": "a whole number",
}
"""Plain words for the terms of click, whose messages name types of Python."""

_MANUAL: Final = "man"
"""The command that reads the parameters of all others."""

_COMMANDS: Final[Mapping[str, str]] = {
    "ensure": "ensure",
    "plan": "ensure",
    "verify": "verify",
    "add": "add",
    "adopt": "adopt",
    "list": "models.list_models",
    "show": "models",
    "path": "models",
    "find": "find",
    "cid": "cid",
    "publish": "publish",
    "remove": "remove",
    "gc": "gc",
    "outdated": "outdated",
    "upgrade": "upgrade",
    "diff": "upgrade",
    "history": "history",
    "log": "history",
    "metrics": "metrics",
    "sources": "sources",
    "doctor": "doctor",
    "serve": "serve",
    "jobs": "jobs",
    "attach": "jobs",
    "cancel": "jobs",
    "retry": "jobs",
    "cache-key": "cache_key.cache_key",
    "ci": "ci",
    "completion": "completion",
    _MANUAL: "man",
}
"""The module in this package of each subcommand, and its function if that has another name."""

_GROUPS: Final = ("bundle", "config", "quarantine", "swarm")
"""The modules in this package whose ``app`` is a group of subcommands."""

_ANSWERS_WITH_1: Final = frozenset({"outdated", "doctor"})
"""Commands that exit with 1 for a result: something moved (``--exit-code``), or a check failed. Commands that
print events do so if a bug ended a run on a server."""


def command_line(words: Sequence[str] = ()) -> typer.Typer:
    """Build the command and its subcommands.

    Args:
        words: The arguments of the process. Typer takes 12 ms to inspect the parameters of all subcommands,
            so only the named subcommand is imported and added, and for the help of the command itself none
            has parameters.
    """
    app = typer.Typer(
        name="modelfetch",
        cls=Commands,
        help="Fetch pinned models from several kinds of sources, and verify every byte.",
        epilog=f"{epilog()}\n\n{_MORE}",
        rich_markup_mode=None,  # else the help imports rich, which takes longer than everything else
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    known = {*_COMMANDS, *_GROUPS}
    named = {ALIASES.get(word, word) for word in without_verbose(words)[:1]}
    wanted = named & (known - {_MANUAL}) or known
    for name in _COMMANDS:
        if name in wanted:
            function = _function(name)
            command = _without_parameters(function) if words in (["--help"], ["-h"]) else function
            app.command(name, epilog=epilog(name))(command)
    for name in _GROUPS:
        if name in wanted:
            app.add_typer(import_module(f"modelfetch.cli.{name}").app, name=name)
    return app


def _is_known(word: str) -> bool:
    """Whether a word is the name of a subcommand or of a group, or another name of one."""
    return word in _COMMANDS or word in _GROUPS or word in ALIASES


@cache
def _command(named: tuple[str, ...], is_help: bool) -> Any:
    """Inspect a subcommand, once in a process that calls it often.

    Args:
        named: The subcommand; empty for all of them.
        is_help: Whether the arguments ask for the help of the command itself, and for nothing else.
    """
    return typer.main.get_command(command_line(["--help"] if is_help else named))


def _function(name: str) -> Callable[..., None]:
    """Import the function of a subcommand."""
    module, _, function = _COMMANDS[name].partition(".")
    found: Callable[..., None] = getattr(import_module(f"modelfetch.cli.{module}"), function or name)
    return found


def _without_parameters(function: Callable[..., None]) -> Callable[[], None]:
    """A stand-in without parameters, for the list of commands."""

    def command() -> None:
        pass

    command.__doc__ = function.__doc__
    return command


def call() -> int:
    """Parse the arguments of this process and run the command. Usage errors are reported here.

    Returns:
        The exit code.

    Raises:
        ModelfetchError: The command failed.
    """
    try:
        named = tuple(word for word in without_verbose(sys.argv[1:])[:1] if _is_known(word))
        command = _command(named, sys.argv[1:] in (["--help"], ["-h"]))
        code = int(command(prog_name="modelfetch", standalone_mode=False) or 0)
    except SystemExit as leaving:  # raised by shell completion, which exits by itself
        code = int(str(leaving.code or 0))
    except typer.Abort:
        return SIGINT_EXIT
    except _ClickException as error:
        return _report_usage_error(error)
    # typer exits with 1 on completion for a shell that it does not support; here 1 means a bug, except for
    # commands whose result it is.
    words = without_verbose(sys.argv[1:])
    is_result = prints_events(words) or not _ANSWERS_WITH_1.isdisjoint(words[:1])
    return EXIT_USAGE if code == 1 and not is_result else code


def _command_path(words: Sequence[str]) -> str:
    """Name the command in arguments: for an option without its value, the error of click has no context."""
    name = ALIASES.get(words[0], words[0]) if words else ""
    path = ["modelfetch", *({name} & {*_COMMANDS, *_GROUPS})]
    return " ".join([*path, *words[1:2]] if name in _GROUPS else path)


def _report_usage_error(error: Exception) -> int:
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    message = " ".join(message.split())  # click puts each choice on a line of its own
    for term, words in _NUMBERS.items():
        message = message.replace(term, words)
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else _command_path(without_verbose(sys.argv[1:]))
    hint = f"Run `{command} --help`."
    if context is not None and hasattr(error, "possibilities"):  # click's NoSuchOption
        from modelfetch.cli.foreign_options import option_hint

        own = {name for parameter in context.command.params for name in parameter.opts}
        option = str(getattr(error, "option_name", ""))
        message = f"no such option: {sanitize(option)}"
        hint = f"{option_hint(option, own)} {hint}".strip()
    report_error(UsageError.code, EXIT_USAGE, message[:1].lower() + message[1:], hint)
    return EXIT_USAGE

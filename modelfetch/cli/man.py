"""``man``: print the manual page, for packages of an operating system.

The page is made from the commands themselves, like ``--help``: their texts, arguments, options and examples.
So it cannot differ from the program that prints it, and it has no date, so that a package is built the same
twice::

    modelfetch man > modelfetch.1
    man ./modelfetch.1

The format is that of man(7), with the macros that groff and mandoc have in common.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import typer

from modelfetch.cli import options
from modelfetch.cli.help import EXAMPLES
from modelfetch.cli.output import print_json
from modelfetch.version import __version__

EXIT_STATUS: Final[Mapping[int, str]] = {
    0: "Done.",
    1: "A bug in modelfetch; or a check of doctor failed, or with outdated --exit-code something moved.",
    2: "The call or a setting is wrong.",
    3: "Unknown model or bad manifest.",
    4: "Not present, and the network may not be used.",
    5: "Integrity: only wrong bytes were received, or verify found a bad or missing file.",
    6: "No source could deliver.",
    7: "The disk is full, read-only or damaged, or access is denied; or stdout could not be written.",
    8: "Another process held a lock for too long.",
    9: "Authorization is needed.",
    10: "--timeout was reached.",
    129: "The terminal was closed (SIGHUP).",
    130: "Ctrl-C (SIGINT).",
    141: "The reader of stdout closed the pipe.",
    143: "Ended by SIGTERM.",
}
_ENVIRONMENT: Final[Mapping[str, str]] = {
    "MODELFETCH_CACHE_DIR": "Root of the cache.",
    "MODELFETCH_OFFLINE": "1 is like --offline, for every command.",
    "MODELFETCH_CONFIG": "The configuration file of the user.",
    "MODELFETCH_CATALOG": "More catalogs: directories or manifests, separated as in PATH.",
    "MODELFETCH_VERBOSE": "1 or 2 is like -v or -vv, for every command.",
    "MODELFETCH_<SECTION>_<KEY>": "Any setting; modelfetch config show lists them.",
    "HF_TOKEN": "Token for Hugging Face.",
    "HTTPS_PROXY, HTTP_PROXY, NO_PROXY": "Proxies.",
    "NO_COLOR, CI": "No colors; plain lines instead of bars.",
}
_WIDTH: Final = 70
"""Longest line of the source, before escapes; man(7) recommends less than 80 bytes."""


def man(context: typer.Context, json: options.Json = False) -> None:
    """Print the manual page, for packages."""
    page = "\n".join(_page(context.find_root()))
    if json:
        print_json({"page": page})
    else:
        print(page)  # not by print_line: this is text of the program, and its lines are roff


def _page(root: Any) -> Iterator[str]:
    yield f'.TH MODELFETCH 1 "" "modelfetch {__version__}" "User Commands"'
    yield from _section("NAME", "modelfetch - fetch pinned models and verify every byte")
    yield ".SH SYNOPSIS"
    yield r".B modelfetch"
    yield _text("[--version] [--help] COMMAND [ARGUMENTS]...")
    yield from _section("DESCRIPTION", root.command.help)
    yield _text("Data goes to stdout, messages go to stderr. Every command has --help.")
    yield ".SH COMMANDS"
    for name, command, context in _commands(root, ""):
        yield from _command(name, command, context)
    yield ".SH EXIT STATUS"
    yield from _definitions({str(code): meaning for code, meaning in EXIT_STATUS.items()})
    yield ".SH ENVIRONMENT"
    yield from _definitions(_ENVIRONMENT)
    yield ".SH EXAMPLES"
    yield from _examples("")


def _commands(context: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Every command with its name and a context; those of a group in place of the group."""
    for name, command in context.command.commands.items():
        below = type(context)(command, info_name=name, parent=context)
        if hasattr(command, "commands"):
            yield from _commands(below, f"{path}{name} ")
        else:
            yield f"{path}{name}", command, below


def _command(name: str, command: Any, context: Any) -> Iterator[str]:
    yield f'.SS "modelfetch {_escaped(name)}"'
    yield f".B modelfetch {_escaped(name)}"
    yield _text(" ".join(command.collect_usage_pieces(context)))
    for paragraph in command.help.split("\n\n"):
        yield ".PP"
        yield _text(" ".join(paragraph.split()))
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    yield from _definitions(dict(record for record in records if record is not None))
    yield ".PP"
    yield from _examples(name)


def _section(title: str, text: str) -> Iterator[str]:
    yield f".SH {title}"
    yield _text(text)


def _definitions(entries: Mapping[str, str]) -> Iterator[str]:
    for term, text in entries.items():
        yield ".TP"
        yield rf"\fB{_escaped(term)}\fR"
        yield _text(text)


def _examples(command: str) -> Iterator[str]:
    yield ".nf"
    yield from (f".RS 4\n{_escaped(example)}\n.RE" for example in EXAMPLES.get(command, ()))
    yield ".fi"


def _text(text: str) -> str:
    """Text in short lines, as roff wants them; a point or an apostrophe at a start would be a request."""
    from textwrap import wrap

    lines = wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(r"\&" * line.startswith((".", "'")) + _escaped(line) for line in lines)


def _escaped(text: str) -> str:
    # A plain "-" may be shown as a hyphen, which cannot be copied into a shell; "`" and "'" become quotes.
    for character, escape in (("\\", r"\e"), ("-", r"\-"), ("'", r"\(aq"), ("`", r"\(ga")):
        text = text.replace(character, escape)
    return text

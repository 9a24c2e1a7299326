"""Output of commands: messages on stderr, data on stdout.

Everything printed here passes :func:`~modelfetch.model.text.sanitize`: names and messages come from manifests
and servers, and must not send control sequences to a terminal. With ``--json``, stdout has JSON only.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelfetch.model.text import inert, sanitize

if TYPE_CHECKING:
    from modelfetch.workspace import Workspace


_SIGNS = frozenset({"So", "Mn", "Cf"})
"""Unicode categories of emoji and of the characters that modify them."""


def say(text: str) -> None:
    """Write a message to stderr, without control characters."""
    print(sanitize(text), file=sys.stderr)


def say_row(text: str) -> None:
    """Write a row of a table to stderr; on a terminal it is cut at the edge, so that it does not wrap."""
    row = sanitize(text)
    if sys.stderr.isatty():
        import shutil

        from modelfetch.reporters import symbols_for
        from modelfetch.reporters.bars_layout import cut_end

        row = cut_end(row, shutil.get_terminal_size().columns, symbols_for(sys.stderr.encoding).ellipsis)
    say(row)


def say_error(message: str, hint: str) -> None:
    """Write an error and a hint what to do next to stderr."""
    from modelfetch.reporters import failure_lines, symbols_for

    for line in failure_lines(message, hint, symbols_for(sys.stderr.encoding)):
        say(line)


def report_error(code: str, message: str, hint: str, details: Sequence[str] = ()) -> None:
    """Report an error that ends a command: as lines on stderr or, with ``--json``, as a document on stdout.

    Args:
        code: Code of the error, as in ``docs/reference/errors.md``.
        message: What went wrong.
        hint: What to do next, or empty.
        details: Each error, if there are several.
    """
    if "--json" in sys.argv:  # not a parsed option: the error may be that the arguments cannot be parsed
        several = {"details": [detail.strip() for detail in details]} if details else {}
        print_json({"error": {"code": code, "message": sanitize(message), "hint": sanitize(hint), **several}})
        return
    for detail in details:
        say(detail)
    say_error(message, hint)


def notes(workspace: Workspace) -> None:
    """Print notices about settings, catalogs and the requested models."""
    for notice in workspace.opening_notices:
        say(f"note: {notice}")
    warn(workspace)


def warn(workspace: Workspace) -> None:
    """Print a warning if the cache cannot be trusted."""
    if doubt := workspace.doubt:
        say(f"warning: {doubt}")


def print_line(line: str) -> None:
    """Print a line on stdout, without control characters and without emoji that its encoding lacks.

    Tabs are kept: they separate the fields of lines that programs read.
    """
    encoding = sys.stdout.encoding or "utf-8"
    line = "\t".join(map(sanitize, line.split("\t")))
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        # Leaving out an emoji at the start of a line leaves the space behind it: strip that, too.
        line = "".join(character for character in line if not _is_lost_sign(character, encoding)).lstrip()
    print(line)


def _is_lost_sign(character: str, encoding: str) -> bool:
    if unicodedata.category(character) not in _SIGNS:
        return False
    return not character.encode(encoding, "ignore")


def print_json(document: object) -> None:
    """Print one JSON document on stdout: indented on a terminal, else in one line."""
    import json

    indent = 2 if sys.stdout.isatty() else None
    print(inert(json.dumps(document, indent=indent)))

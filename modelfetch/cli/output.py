"""Words on stderr, data on stdout."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelfetch.model.text import inert, sanitise

if TYPE_CHECKING:
    from modelfetch.workspace import Workspace


_SIGNS = frozenset({"So", "Mn", "Cf"})
"""Unicode categories of pictures, and of what belongs to one."""


def say(text: str) -> None:
    """Write a line to stderr, harmless whatever it tells of."""
    print(sanitise(text), file=sys.stderr)


def say_row(text: str) -> None:
    """Write a row to stderr; on a terminal its end is cut rather than wrapped."""
    row = sanitise(text)
    if sys.stderr.isatty():
        from modelfetch.reporters import symbols_for
        from modelfetch.reporters.bars_layout import cut_end

        row = cut_end(row, shutil.get_terminal_size().columns, symbols_for(sys.stderr.encoding).ellipsis)
    say(row)


def say_error(message: str, hint: str) -> None:
    """Write what went wrong and what to do next."""
    from modelfetch.reporters import failure_lines, symbols_for

    for line in failure_lines(message, hint, symbols_for(sys.stderr.encoding)):
        say(line)


def complain(code: str, message: str, hint: str, details: Sequence[str] = ()) -> None:
    """Say why nothing was done: to a person in lines, with ``--json`` to a program in a document.

    Args:
        code: As in ``docs/reference/errors.md``.
        message: What went wrong.
        hint: What to do next, or empty.
        details: Where several things are wrong, each.
    """
    if "--json" in sys.argv:  # asked of the words themselves: they may be what is wrong
        several = {"details": [detail.strip() for detail in details]} if details else {}
        print_json({"error": {"code": code, "message": sanitise(message), "hint": sanitise(hint), **several}})
        return
    for detail in details:
        say(detail)
    say_error(message, hint)


def notes(workspace: Workspace) -> None:
    """What a person should know about settings, catalogs and the models asked for."""
    for notice in workspace.opening_notices:
        say(f"note: {notice}")
    warn(workspace)


def warn(workspace: Workspace) -> None:
    """Say why the cache cannot be trusted, if it cannot."""
    if doubt := workspace.doubt:
        say(f"warning: {doubt}")


def put(line: str) -> None:
    """Print a line on stdout, harmless whatever it tells of; signs that it cannot show are left out.

    Tabs stay: they part the fields of lines that programs read.
    """
    encoding = sys.stdout.encoding or "utf-8"
    line = "\t".join(map(sanitise, line.split("\t")))
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        line = "".join(character for character in line if not _is_lost_sign(character, encoding)).lstrip()
    print(line)


def _is_lost_sign(character: str, encoding: str) -> bool:
    if unicodedata.category(character) not in _SIGNS:
        return False
    return not character.encode(encoding, "ignore")


def print_json(document: object) -> None:
    """Print one JSON document on stdout: indented for a terminal, in one line for a program."""
    import json

    indent = 2 if sys.stdout.isatty() else None
    print(inert(json.dumps(document, indent=indent)))

"""Output of commands: messages on stderr, data on stdout.

Everything printed here passes :func:`~modelfetch.model.text.sanitize`: names and messages come from manifests
and servers, and must not send control sequences to a terminal. With ``--json``, stdout has JSON only: one
document, or the events of a run. So has a command that fails before it has printed any, in the form that its
readers expect::

    {"error": {"code": "unknown_model", "message": ..., "hint": ...}, "exit_code": 3}
    {"v": 1, "run": ..., "n": 0, "at": ..., "event": "run_finished", "outcome": "failed", "exit_code": 3, ...}
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from modelfetch.model.text import inert, sanitize

if TYPE_CHECKING:
    from modelfetch.engine.events import RunFinished
    from modelfetch.workspace import Workspace


_SIGNS = frozenset({"So", "Mn", "Cf"})
"""Unicode categories of emoji and of the characters that modify them."""

EVENT_COMMANDS: Final = frozenset({"attach", "bundle pull", "ensure", "get", "pull", "verify"})
"""The commands whose JSON is events, with their further names; that of all others is one document. Commands
of a group are named by two words."""


class _Stdout:
    """What is known of stdout beyond the stream itself.

    Attributes:
        has_json: Whether the document or the events of this command were begun. A later error must not add
            a second document, or a second end of the run.
    """

    has_json = False


_STDOUT: Final = _Stdout()


def begin_json(*, is_begun: bool = True) -> None:
    """Note that stdout gets the JSON of the command now; or, at the start of a command, that it has none."""
    _STDOUT.has_json = is_begun


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


def report_error(code: str, exit_code: int, message: str, hint: str, details: Sequence[str] = ()) -> None:
    """Report an error that ends a command: as lines on stderr or, with ``--json``, as JSON on stdout.

    Args:
        code: Code of the error, as in ``docs/reference/errors.md``.
        exit_code: Exit code of the command.
        message: What went wrong.
        hint: What to do next, or empty.
        details: Each error, if there are several.
    """
    if expects_json(sys.argv[1:]):
        print_error_json(code, exit_code, message, hint, details)
        return
    for detail in details:
        say(detail)
    say_error(message, hint)


def expects_json(arguments: Sequence[str]) -> bool:
    """Whether stdout must get an error of a command as JSON, and has no JSON yet.

    This reads the arguments instead of a parsed option, because the error may be that they cannot be parsed.

    Args:
        arguments: Those of the process. What follows ``--`` is no option.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return "--json" in arguments[:end] and not _STDOUT.has_json


def prints_events(arguments: Sequence[str]) -> bool:
    """Whether arguments of the process name a command whose JSON is events; options may come before it."""
    words = [word for word in arguments if not word.startswith("-")]
    return not EVENT_COMMANDS.isdisjoint((" ".join(words[:1]), " ".join(words[:2])))


def print_error_json(code: str, exit_code: int, message: str, hint: str, details: Sequence[str] = ()) -> None:
    """Print an error on stdout in the form in which the command prints its results.

    That is ``run_finished`` for commands that print events, so that their readers need one code path only. A
    reader of documents finds ``error`` and ``exit_code`` at the same place.
    """
    error = {"code": code, "message": sanitize(message), "hint": sanitize(hint)}
    several = {"details": [sanitize(detail.strip()) for detail in details]} if details else {}
    if prints_events(sys.argv[1:]):
        from modelfetch.engine.events import ErrorInfo, RunFinished

        print_end(RunFinished("failed", exit_code, 0.0, (), ErrorInfo(**error)), several)
    else:
        print_json({"error": {**error, **several}, "exit_code": exit_code})


def print_end(finished: RunFinished, several: Mapping[str, Any] | None = None) -> None:
    """Print the end of a run that has no other events here, in one line.

    Args:
        finished: The end.
        several: More properties of its error: ``details``, if there are several errors.
    """
    import json
    import os
    from datetime import UTC, datetime

    from modelfetch.engine.record import Record, to_json
    from modelfetch.engine.state import RunState

    document = to_json(Record(os.urandom(6).hex(), 0, datetime.now(UTC), finished, RunState()))
    if several:
        document["error"] |= several
    begin_json()
    print(inert(json.dumps(document, separators=(",", ":"))))


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

    begin_json()
    indent = 2 if sys.stdout.isatty() else None
    print(inert(json.dumps(document, indent=indent)))

"""Words on stderr, data on stdout."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from modelfetch.model.text import inert, sanitise

if TYPE_CHECKING:
    from modelfetch.workspace import Workspace


def say(text: str) -> None:
    """Write a line to stderr, harmless whatever it tells of; a closed stderr is no reason to fail."""
    with contextlib.suppress(OSError):
        print(sanitise(text), file=sys.stderr)


def say_error(message: str, hint: str) -> None:
    """Write what went wrong and what to do next."""
    from modelfetch.reporters import failure_lines, symbols_for

    for line in failure_lines(message, hint, symbols_for(sys.stderr.encoding)):
        say(line)


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
    """Print a line on stdout, harmless whatever it tells of; signs that it cannot show are left out."""
    encoding = sys.stdout.encoding or "utf-8"
    print(sanitise(line).encode(encoding, "ignore").decode(encoding))


def print_json(document: object) -> None:
    """Print one JSON document on stdout: indented for a terminal, in one line for a program."""
    import json

    indent = 2 if sys.stdout.isatty() else None
    print(inert(json.dumps(document, indent=indent)))

"""Explains for ``-vv`` why ``ensure`` did not answer from the note of the last run.

:mod:`modelfetch.warm` answers in a few milliseconds if nothing changed since a model became ready. It only
decides; it does not say why not, because that would slow it down. Here the same facts are compared again, in
the same order, and the first one that differs is named::

    cache: m: no quick answer: a.bin was changed or replaced since it was verified

The files may be of another user: everything unexpected is a reason, and never an error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from modelfetch.model.regular_file import read_regular
from modelfetch.tracing import Trace
from modelfetch.warm import FORMAT, circumstances, stamp_of

_LARGEST: Final = 64 << 20
"""Most bytes read of a note or a receipt: the limit of :mod:`modelfetch.warm`."""
_UNREADABLE: Final = "the note or the receipt of its last run cannot be read"


def report_warm_reasons(trace: Trace, root: Path, names: Sequence[str]) -> None:
    """Print for each model why there was no quick answer, if details were requested."""
    if trace.is_detailed:
        for name in names:
            trace.detail(f"cache: {name}: no quick answer: {why_no_answer(root, name)}")


def why_no_answer(root: Path, name: str) -> str:
    """Return the first fact about a model that differs from the note of its last run.

    Args:
        root: Root of the cache.
        name: Name of the model.
    """
    directory = root / "models" / name
    if not os.path.lexists(directory / ".ready"):
        return "no earlier run made it ready in this cache"
    try:
        note = read_regular(directory / ".ready", _LARGEST).decode().split("\n")
        return _why(directory, note) or _why_receipt(directory, note[1])
    except (OSError, ValueError, IndexError, KeyError, TypeError, RecursionError):
        return _UNREADABLE


def _why(directory: Path, note: Sequence[str]) -> str:
    """The first fact of the note itself that does not hold; empty if all of them do."""
    if note[0] != FORMAT or note[-1] != "end":
        return "the note of its last run is of another version of modelfetch, or incomplete"
    now = circumstances()
    for was, is_now in zip(note[2:], now, strict=False):
        if was != is_now:
            return f"{is_now.split(' ')[1]} is another one than in its last run"
    for line in note[2 + len(now) : -1]:
        kind, stamp, path = line.split(" ", 2)
        if kind == "absent" and os.path.lexists(path):
            return f"{path} exists now"
        if kind == "read" and _stamp(Path(path)) != stamp:
            return f"{path} was changed or removed"
    _, stamp, label = note[1].split(" ", 2)
    return "" if _stamp(directory / f"{label}.json") == stamp else "its receipt was changed or removed"


def _why_receipt(directory: Path, line: str) -> str:
    """The first file that is not as the receipt says."""
    label = line.split(" ", 2)[2]
    receipt = json.loads(read_regular(directory / f"{label}.json", _LARGEST))
    for file in receipt["files"]:
        try:
            found = (directory / label / file["path"]).lstat()
        except OSError:
            return f"{file['path']} is missing"
        if (found.st_size, found.st_mtime_ns, found.st_ino) != (
            file["size"],
            file["mtime_ns"],
            file["inode"],
        ):
            return f"{file['path']} was changed or replaced since it was verified"
    return "an option or a variable needs the full check"


def _stamp(path: Path) -> str:
    try:
        return stamp_of(path.stat())
    except OSError:
        return ""

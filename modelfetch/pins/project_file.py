"""Edits a project's ``modelfetch.toml``: the names in ``models``, and the directories in ``catalog``.

Comments, other keys and their order are kept (tomlkit). For example, ``add`` turns the first line into the
second one::

    models = ["whisper-base"]              # for the subtitles
    models = ["whisper-base", "my-model"]  # for the subtitles
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, MutableSequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modelfetch.errors import ConfigError
from modelfetch.model.text import sanitize

if TYPE_CHECKING:
    from tomlkit import TOMLDocument


_LOCK_SECONDS: Final = 10.0
"""Longest wait for another process that edits the file, which takes it milliseconds."""


def add_to_project(path: Path, name: str, catalog: str = "") -> bool:
    """Add a name to ``models`` of a project's file, and a directory to its ``catalog``.

    Args:
        path: The project's ``modelfetch.toml``.
        name: The model.
        catalog: A directory, relative to the file; empty to leave ``catalog`` as it is.

    Returns:
        Whether the file was changed.

    Raises:
        ConfigError: The file is not valid, or cannot be written; it is unchanged.
    """

    def change(document: TOMLDocument) -> TOMLDocument | None:
        wanted = {"catalog": catalog, "models": name} if catalog else {"models": name}
        arrays = {key: _array(document, path, key) for key in wanted}
        missing = {key: value for key, value in wanted.items() if arrays[key] is None}
        lacking = [(array, wanted[key]) for key, array in arrays.items() if array is not None]
        lacking = [(array, value) for array, value in lacking if value not in array]
        for array, value in lacking:
            array.append(value)
        if missing:
            return _with_keys(document, missing)
        return document if lacking else None

    return _edit(path, change)


def remove_from_project(path: Path, name: str) -> bool:
    """Remove a name from ``models`` of a project's file; see :func:`add_to_project`."""

    def change(document: TOMLDocument) -> TOMLDocument | None:
        names = _array(document, path, "models")
        if names is None or name not in names:
            return None
        names.remove(name)
        return document

    return _edit(path, change)


def _edit(path: Path, change: Callable[[TOMLDocument], TOMLDocument | None]) -> bool:
    """Replace the file by what ``change`` returns; None leaves it as it is."""
    from modelfetch.settings.edit import read_document, write_document

    check_inside(path)
    with _alone_in(path.parent):
        changed = change(read_document(path))
        if changed is None:
            return False
        write_document(path, changed, is_private=False)
    return True


def is_in_project(path: Path, project: Path) -> bool:
    """Whether a path is inside the directory of a project's file, links followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(project.parent))


def check_inside(path: Path) -> None:
    """Refuse to edit a file that is a link out of its directory.

    A project comes with somebody else's repository: its file could be a link to any TOML file of the user,
    such as the user's own settings.

    Raises:
        ConfigError: It is one.
    """
    if not is_in_project(path, path):
        target = os.path.realpath(path)
        raise ConfigError(
            f"{sanitize(str(path))} is a link out of the project, to {sanitize(target)}",
            hint="Replace the link by a file, or choose another catalog with --to-catalog.",
        )


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Let one process at a time edit the file of a project: of two at once, one would lose its name.

    The lock is on the directory, because the file itself is replaced. Where there are no such locks, or after
    some seconds, the edit is made without.
    """
    from modelfetch.store.flock import lock_file

    fd = -1
    try:
        with suppress(OSError):
            fd = os.open(directory, os.O_RDONLY)  # fails on Windows, where a directory cannot be opened
            until = time.monotonic() + _LOCK_SECONDS
            while not lock_file(fd) and time.monotonic() < until:
                time.sleep(0.01)
        yield
    finally:
        if fd >= 0:
            os.close(fd)


def _with_keys(document: TOMLDocument, missing: Mapping[str, str]) -> TOMLDocument:
    """Add arrays of one value each at the top of a document, below a comment about the whole file.

    As text: tomlkit would put them in front of the first table, between that table and its comment.
    """
    import tomlkit

    added = [tomlkit.dumps({key: [value]}) for key, value in missing.items()]
    text = tomlkit.dumps(document)
    lines = (text if text.endswith("\n") or not text else f"{text}\n").splitlines(keepends=True)
    end = next((index for index, each in enumerate(lines) if not each.startswith("#")), len(lines))
    # A comment that a blank line follows is about the file; else it is about the line below it.
    start = end if end == len(lines) else end + 1 if end and not lines[end].strip() else 0
    return tomlkit.parse("".join([*lines[:start], *added, *lines[start:]]))


def _array(document: TOMLDocument, path: Path, key: str) -> MutableSequence[Any] | None:
    values = document.get(key)
    if values is None or isinstance(values, MutableSequence):
        return values
    raise ConfigError(
        f"{sanitize(str(path))}: {key}: expected a list", hint="Correct the file first; nothing was changed."
    )

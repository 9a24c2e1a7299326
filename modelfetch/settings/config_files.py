"""Configuration files: where they are, and how their bytes become tables.

Whose files of a project are believed: those of the user who runs, and of root.

A project's file decides which bytes a program loads, and it is found by walking upwards from wherever the
command happens to run. Git met the same trap (CVE-2022-24765).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.regular_file import read_regular
from modelfetch.model.text import sanitise
from modelfetch.model.toml import parse_toml, why_not_text

PROJECT_FILE: Final = "modelfetch.toml"
"""Name of a project's file, looked for in the working directory and every directory above it."""

SIZE_CAP: Final = 1 << 20
"""Bytes of a configuration file that are read at most; a real one has a few hundred."""
_ROOT: Final = 0

Owners = Collection[int] | None
"""User ids that are believed; None where the system has no such numbers, and everybody is."""


def trusted_owners(environ: Mapping[str, str]) -> Owners:
    """Give the users whose files of a project count: who runs this, root, and who called ``sudo``."""
    find = getattr(os, "geteuid", None)
    if find is None:
        return None
    user: int = find()
    caller = environ.get("SUDO_UID", "") if user == _ROOT else ""
    return {user, _ROOT, *([int(caller)] if caller.isascii() and caller.isdecimal() else [])}


def is_trusted(path: Path, owners: Owners) -> bool:
    """Whether a file belongs to one of these users: the name itself, and what it leads to if it is a link.

    The directory that holds it is not looked at: who owns the file wrote the words, and directories of other
    users (a group's checkout, a mounted volume) are common.
    """
    if owners is None:
        return True
    try:
        return path.lstat().st_uid in owners and path.stat().st_uid in owners
    except (OSError, ValueError):
        return False


def passed_over(what: str) -> str:
    """Say that a project's file does not count, and what makes it count."""
    return (
        f"{what} belongs to another user and is ignored; run as that user, or name its catalog with "
        "MODELFETCH_CATALOG if you trust it."
    )


@dataclass(frozen=True, slots=True)
class Search:
    """What a search for a project's file found."""

    found: Path | None
    """The nearest project file that may be used."""
    visited: tuple[Path, ...]
    """Every place looked at, in order; the last one is ``found`` if there is one."""
    notices: tuple[str, ...]
    """A line for each file that was passed over, see :func:`passed_over`."""


def find_project(directory: Path | None, owners: Owners) -> Search:
    """Look for ``modelfetch.toml`` in a directory and upwards.

    Args:
        directory: Where to begin; absolute. None where there is no such directory.
        owners: Whose files count.
    """
    visited: list[Path] = []
    notices: list[str] = []
    for parent in (directory, *directory.parents) if directory is not None else ():
        candidate = parent / PROJECT_FILE
        visited.append(candidate)
        if not _is_file(candidate):
            continue
        if is_trusted(candidate, owners):
            return Search(candidate, tuple(visited), tuple(notices))
        notices.append(passed_over(sanitise(str(candidate))))
    return Search(None, tuple(visited), tuple(notices))


def read_toml(path: Path, owners: Owners = None) -> dict[str, object] | None:
    """Read a TOML file.

    Args:
        path: The file.
        owners: Whose files count; asked of the open file, since the name may lead elsewhere by now.

    Returns:
        Its tables, or None when there is no such file, or none that this user can reach.

    Raises:
        ValueError: It belongs to somebody else, cannot be read, is too large, or is not valid TOML in UTF-8;
            the message says where.
    """
    data = _read(path, owners)
    if data is None:
        return None
    try:
        return parse_toml(data.decode())
    except UnicodeDecodeError as error:
        raise ValueError(why_not_text(error)) from error
    except ValueError as error:
        raise ValueError(f"is not valid TOML: {error}") from error


def _read(path: Path, owners: Owners) -> bytes | None:
    try:
        data = _read_own(path) if owners is None else read_regular(path, SIZE_CAP + 1, _of(owners))
    except (OSError, ValueError) as error:
        if not is_there(path):
            return None
        raise ValueError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > SIZE_CAP:
        raise ValueError(f"is larger than {SIZE_CAP} bytes, too large for a configuration file")
    return data


def _read_own(path: Path) -> bytes:
    """Read a file that the user named; it may be a pipe (``MODELFETCH_CONFIG=<(...)``), and is waited for."""
    with path.open("rb") as file:
        return file.read(SIZE_CAP + 1)


def _of(owners: Collection[int]) -> Callable[[os.stat_result], None]:
    def check(found: os.stat_result) -> None:
        if found.st_uid not in owners:
            raise ValueError("it belongs to another user")

    return check


def is_there(path: Path) -> bool:
    """Whether there is such a file, for this user: where a directory on the way may not be entered is none.

    So a home or a working directory that belongs to somebody else (``sudo -u``, a container's random user)
    counts as one without any file of ours.
    """
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False

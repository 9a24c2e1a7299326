"""Configuration files: where they are, and how their bytes become tables."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

from modelfetch.model.tables import parse_toml, why_not_text
from modelfetch.model.text import sanitise
from modelfetch.values import dataclass

PROJECT_FILE: Final = "modelfetch.toml"
"""Name of a project's file, looked for in the working directory and every directory above it."""

SIZE_CAP: Final = 1 << 20
"""Bytes of a configuration file that are read at most; a real one has a few hundred."""

_ROOT: Final = 0

_PASSED_OVER: Final = "{} is ignored: another user put it in a directory everybody may write to."


@dataclass(frozen=True, slots=True)
class Search:
    """What a search for a project's file found."""

    found: Path | None
    """The nearest project file that may be used."""
    visited: tuple[Path, ...]
    """Every place looked at, in order; the last one is ``found`` if there is one."""
    notices: tuple[str, ...]
    """A line for each file that was passed over, see :func:`is_planted`."""


def find_project(directory: Path | None, user: int | None) -> Search:
    """Look for ``modelfetch.toml`` in a directory and upwards.

    Args:
        directory: Where to begin; absolute. None where there is no such directory.
        user: User id of this process; None where the system has none.
    """
    visited: list[Path] = []
    notices: list[str] = []
    for parent in (directory, *directory.parents) if directory is not None else ():
        candidate = parent / PROJECT_FILE
        visited.append(candidate)
        if not _is_file(candidate):
            continue
        if not _is_planted(candidate, user):
            return Search(candidate, tuple(visited), tuple(notices))
        notices.append(_PASSED_OVER.format(sanitise(str(candidate))))
    return Search(None, tuple(visited), tuple(notices))


def is_planted(owner: int, directory_mode: int, user: int) -> bool:
    """Whether a project file may have been put there by a stranger, to change what is run below it.

    A project file can replace the pins of a model. In a directory everybody may write to (``/tmp``) it is
    believed only from the user and from root. Git met the same trap (CVE-2022-24765).

    Args:
        owner: User id of the file (of the link itself, if it is one).
        directory_mode: Mode of the directory that holds it.
        user: User id of this process.
    """
    return bool(directory_mode & stat.S_IWOTH) and owner not in (user, _ROOT)


def read_toml(path: Path) -> dict[str, object] | None:
    """Read a TOML file.

    Returns:
        Its tables, or None when there is no such file, or none that this user can reach.

    Raises:
        ValueError: It cannot be read, is too large, or is not valid TOML in UTF-8; the message says where.
    """
    data = _read(path)
    if data is None:
        return None
    try:
        return parse_toml(data.decode())
    except UnicodeDecodeError as error:
        raise ValueError(why_not_text(error)) from error
    except ValueError as error:
        raise ValueError(f"is not valid TOML: {error}") from error


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_CAP + 1)
    except (OSError, ValueError) as error:
        if not is_there(path):
            return None
        raise ValueError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > SIZE_CAP:
        raise ValueError(f"is larger than {SIZE_CAP} bytes, too large for a configuration file")
    return data


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


def _is_planted(path: Path, user: int | None) -> bool:
    if user is None:
        return False
    return is_planted(path.lstat().st_uid, path.parent.stat().st_mode, user)

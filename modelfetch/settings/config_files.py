"""Configuration files: finding a project's file, checking its owner, and reading TOML.

A project's file is the nearest ``modelfetch.toml`` in the working directory or above it. It decides which
bytes a program loads, and in a shared directory such as ``/tmp`` another user may have put it there (Git had
this vulnerability, CVE-2022-24765). So only files owned by the current user, by root, or by the user who
called ``sudo`` are trusted. Other files are ignored with a notice. The owner of the user's own
file is not checked, because the user named it or it lies in the user's directory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.regular_file import read_regular
from modelfetch.model.text import sanitize
from modelfetch.model.toml import parse_toml, why_not_text

PROJECT_FILE: Final = "modelfetch.toml"
"""Name of a project's file."""

SIZE_CAP: Final = 1 << 20
"""Largest configuration file, in bytes; a real one has a few hundred."""
_ROOT: Final = 0
"""User id of root."""

Owners = Collection[int] | None
"""User ids whose files are trusted; None trusts everyone: on Windows files have no user ids."""


def trusted_owners(environ: Mapping[str, str]) -> Owners:
    """Return the users whose project files are trusted: the current user, root, and who called ``sudo``."""
    find = getattr(os, "geteuid", None)
    if find is None:
        return None
    user: int = find()
    # sudo sets SUDO_UID to the user who called it. Other users could set it to any value, so it counts for
    # root only.
    caller = environ.get("SUDO_UID", "") if user == _ROOT else ""
    return {user, _ROOT, *([int(caller)] if caller.isascii() and caller.isdecimal() else [])}


def is_trusted(path: Path, owners: Owners) -> bool:
    """Return whether a file belongs to one of these users; of a symbolic link, both the link and its target.

    The directory is not checked: the owner of the file wrote its content, and directories of other users (a
    group's checkout, a mounted volume) are common.
    """
    if owners is None:
        return True
    try:
        return path.lstat().st_uid in owners and path.stat().st_uid in owners
    except (OSError, ValueError):
        return False


def ignored_notice(what: str) -> str:
    """Return the notice that a project's file is ignored, with what to do if it is trusted."""
    return (
        f"{what} belongs to another user and is ignored; run as that user, or name its catalog with "
        "MODELFETCH_CATALOG if you trust it."
    )


@dataclass(frozen=True, slots=True)
class Search:
    """Result of the search for a project's file."""

    found: Path | None
    """The nearest project file with a trusted owner."""
    visited: tuple[Path, ...]
    """Every path that was checked, in order; ends with ``found`` if there is one."""
    notices: tuple[str, ...]
    """One line for each ignored file, see :func:`ignored_notice`."""


def find_project(directory: Path | None, owners: Owners) -> Search:
    """Search ``modelfetch.toml`` in a directory and in all directories above it.

    Args:
        directory: Where to start; an absolute path, or None if there is no working directory.
        owners: Users whose files are trusted.
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
        notices.append(ignored_notice(sanitize(str(candidate))))
    return Search(None, tuple(visited), tuple(notices))


def read_toml(path: Path, owners: Owners = None) -> dict[str, object] | None:
    """Read a TOML file.

    Args:
        path: The file.
        owners: Users whose files are trusted. The open file is checked, since the path may have been replaced
            after the search.

    Returns:
        Its tables, or None if the file does not exist or the user may not enter its directory.

    Raises:
        ValueError: The file belongs to another user, cannot be read, is too large, or is not valid TOML in
            UTF-8; the message says where.
    """
    text = read_text(path, owners)
    return None if text is None else parse_settings(text)


def read_text(path: Path, owners: Owners = None) -> str | None:
    """Read the text of a TOML file, as :func:`read_toml` does.

    Raises:
        ValueError: The file belongs to another user, cannot be read, is too large, or is not UTF-8.
    """
    data = _read(path, owners)
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(why_not_text(error)) from error


def parse_settings(text: str) -> dict[str, object]:
    """Parse the text of a TOML file.

    Raises:
        ValueError: It is not valid TOML; the message says where.
    """
    try:
        return parse_toml(text)
    except ValueError as error:
        raise ValueError(f"is not valid TOML: {error}") from error


def _read(path: Path, owners: Owners) -> bytes | None:
    try:
        # One byte more than allowed, to detect a larger file.
        data = _read_own(path) if owners is None else read_regular(path, SIZE_CAP + 1, _owned_by(owners))
    except (OSError, ValueError) as error:
        if not is_there(path):
            return None
        raise ValueError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > SIZE_CAP:
        raise ValueError(f"is larger than {SIZE_CAP} bytes, too large for a configuration file")
    return data


def _read_own(path: Path) -> bytes:
    """Read the user's file; it may be a pipe (``MODELFETCH_CONFIG=<(...)``), which may block."""
    with path.open("rb") as file:
        return file.read(SIZE_CAP + 1)


def _owned_by(owners: Collection[int]) -> Callable[[os.stat_result], None]:
    def check(found: os.stat_result) -> None:
        if found.st_uid not in owners:
            raise ValueError("it belongs to another user")

    return check


def is_there(path: Path) -> bool:
    """Return whether a file exists and this user can reach it.

    A file in a directory that the user may not enter counts as absent, so that commands work in the home or
    working directory of another user (``sudo -u``, a container with a random user).
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

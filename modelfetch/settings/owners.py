"""Whose files of a project are believed: those of the user who runs, and of root.

A project's file decides which bytes a program loads, and it is found by walking upwards from wherever the
command happens to run. Git met the same trap (CVE-2022-24765).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

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

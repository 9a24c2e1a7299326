"""Finds the models of projects: those that a ``modelfetch.toml`` below given directories names.

Everything below a root is searched, hidden directories too; links are not followed. A file that cannot be
read is an error, because without it nothing is known about the models that must stay. A file of another user
counts like any other: it can only keep models, never remove them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from modelfetch.errors import ConfigError, UsageError
from modelfetch.model.regular_file import read_regular
from modelfetch.model.text import quote, sanitize
from modelfetch.settings.config_files import PROJECT_FILE, SIZE_CAP, parse_settings


def names_of_projects(roots: Sequence[Path], leave_out: Path) -> tuple[set[str], list[str]]:
    """Return the names of the models of all projects, and the directories that could not be searched.

    Args:
        roots: Absolute directories.
        leave_out: A directory that is not searched: the cache itself.

    Raises:
        UsageError: A root is no directory.
        ConfigError: A project's file cannot be read, or is wrong.
    """
    names: set[str] = set()
    closed: list[str] = []
    for root in roots:
        if not root.is_dir():
            raise UsageError(
                f"--root: {quote(str(root))} is not a directory", hint="Give a directory to search."
            )
        for file in _project_files(root, leave_out, closed):
            names |= _names(file)
    return names, closed


def _project_files(root: Path, leave_out: Path, closed: list[str]) -> Iterator[Path]:
    waiting = [str(root)]  # no recursion: a tree may be deeper than the stack of Python
    while waiting:
        directory = waiting.pop()
        try:
            with os.scandir(directory) as entries:
                found = list(entries)
        except OSError:
            closed.append(directory)
            continue
        for entry in found:
            if entry.name == PROJECT_FILE and not entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)
            elif entry.is_dir(follow_symlinks=False) and Path(entry.path) != leave_out:
                waiting.append(entry.path)


def _names(file: Path) -> set[str]:
    try:
        content = read_regular(file, SIZE_CAP + 1)
        if len(content) > SIZE_CAP:
            raise ValueError("is too large")
        models = parse_settings(content.decode()).get("models", [])
        if not isinstance(models, list) or not all(isinstance(name, str) for name in models):
            raise ValueError("models: expected a list of names")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"{sanitize(str(file))}: {sanitize(str(why))}",
            hint="Its models must stay, so nothing was removed. Correct the file, or search another root.",
        ) from error
    return set(models)

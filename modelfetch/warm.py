"""The already-there answer: ``modelfetch ensure NAME...`` with nothing to do, in no time.

When a model becomes ready, facts are noted in ``models/<name>/.ready``, a line each. Here they are compared
with what holds now, by ``stat`` alone. Any doubt is no answer, and the full path answers instead. Standard
library only, and the lightest part of it: importing ``json``, ``re`` or ``pathlib`` costs more than the work.
"""

import os
import sys
import time

from modelfetch.plain import plain_names

FORMAT = "modelfetch-ready 1"
HITS = "hits"
"""Below the root of the cache: a line for each run that found everything there; see :func:`count`."""
HITS_LIMIT = 64 << 10
"""Bytes after which the lines so far become the earlier ones, of which as many are kept: some 3000 runs."""
_ALLOWED = ("MODELFETCH_CACHE_DIR", "MODELFETCH_CATALOG")
_DECIDING = (*_ALLOWED, "HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")


def circumstances() -> list[str]:
    """What decides, besides files, which files a name stands for: some variables, and the nearest project."""
    directory, project = os.getcwd(), "none"
    while project == "none":
        if os.path.lexists(os.path.join(directory, "modelfetch.toml")):
            project = directory
        parent = os.path.dirname(directory)
        if parent == directory:
            break
        directory = parent
    return [f"where {name} {os.environ.get(name)!r}" for name in _DECIDING] + [f"where project {project!r}"]


def answer(arguments: list[str]) -> list[tuple[str, str]] | None:
    """Directory and a word about each model that ``arguments`` ask for; None if that takes a closer look."""
    names = plain_names(arguments, "ensure")
    if not names:
        return None
    if any(name.startswith("MODELFETCH_") and name not in _ALLOWED for name in os.environ):
        return None
    root, catalogs = _root(), os.environ.get("MODELFETCH_CATALOG", "").split(os.pathsep)
    if root is None or not all(os.path.isabs(path) for path in catalogs if path):
        return None
    try:
        now = circumstances()
        found = [_look(f"{root}/models/{name}", now) for name in names]
    except (OSError, ValueError, IndexError):
        return None
    return [model for model in found if model is not None] if None not in found else None


def count(root: str, directories: list[str], *, create: bool = False) -> None:
    """Note that models were found there: for ``metrics``, where such a run leaves no other trace.

    Where there is no file for it nothing is counted: history is off, or the cache is somebody else's. No
    failure to count matters. The line is appended in one write, which no other process can come between.

    Args:
        root: Of the cache.
        directories: Of the models that were found there: ``<root>/models/<name>/<version>``.
        create: Whether to make the file.
    """
    path = f"{root}/{HITS}"
    # A link that somebody planted is not followed, and a pipe not waited for.
    flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    now = int(time.time())
    lines = "".join(f"{now} {'/'.join(each.rsplit(os.sep, 2)[1:])}\n" for each in directories)
    try:
        file = os.open(path, flags | (os.O_CREAT if create else 0), 0o666)
        try:
            if os.lseek(file, 0, os.SEEK_END) < HITS_LIMIT:
                os.write(file, lines.encode())
                return
        finally:
            os.close(file)
        os.replace(path, f"{path}.1")
    except OSError:
        return
    count(root, directories, create=True)


def _root() -> str | None:
    """The root of the cache, where that takes no library to know."""
    given = os.environ.get("MODELFETCH_CACHE_DIR")
    if given or sys.platform != "linux":
        return given if given and os.path.isabs(given) else None
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.environ.get("HOME", ""), ".cache")
    return os.path.join(home, "modelfetch") if os.path.isabs(home) else None


def _look(model: str, now: list[str]) -> tuple[str, str] | None:
    """What is noted of a model whose every noted fact still holds."""
    with open(f"{model}/.ready", encoding="utf-8") as stamp:
        lines = stamp.read().split("\n")
    directory, words = lines[1].removeprefix("model "), lines[2].removeprefix("words ")
    if lines[0] != FORMAT or lines[-1] != "end" or os.path.dirname(directory) != model:
        return None
    facts = len(now) + 3
    holds = lines[3:facts] == now and all(map(_holds, lines[facts:-1]))
    return (directory, words) if holds else None


def _holds(line: str) -> bool:
    """Whether ``file``, ``read`` or ``absent`` is still true of its path."""
    kind, size, mtime, inode, path = line.split(" ", 4)
    if kind == "absent":
        return not os.path.exists(path)
    found = os.lstat(path) if kind == "file" else os.stat(path)
    is_right = kind == "read" or found.st_mode & 0o170000 == 0o100000  # a plain file, no link
    return is_right and f"{found.st_size} {found.st_mtime_ns} {found.st_ino}" == f"{size} {mtime} {inode}"

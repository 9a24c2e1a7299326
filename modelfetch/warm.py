"""The already-there answer: ``modelfetch ensure NAME...`` with nothing to do, in no time.

When a model becomes ready, facts are noted in ``models/<name>/.ready``, a line each. Here they are compared
with what holds now, by ``stat`` alone. Any doubt is no answer, and the full path answers instead. Standard
library only, and the lightest part of it: importing ``json``, ``re`` or ``pathlib`` costs more than the work.
"""

import os
import stat
import sys

from modelfetch.plain import plain_names

FORMAT = "modelfetch-ready 1"
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
    if doubt_about(root):  # the full path tells of it
        return None
    try:
        now = circumstances()
        found = [_look(f"{root}/models/{name}", now) for name in names]
    except (OSError, ValueError, IndexError):
        return None
    return [model for model in found if model is not None] if None not in found else None


def _root() -> str | None:
    """The root of the cache, where that takes no library to know."""
    given = os.environ.get("MODELFETCH_CACHE_DIR")
    if given or sys.platform != "linux":
        return given if given and os.path.isabs(given) else None
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.environ.get("HOME", ""), ".cache")
    return os.path.join(home, "modelfetch") if os.path.isabs(home) else None


def doubt(found: os.stat_result, user: int) -> str:
    """Say what speaks against the root of a cache.

    Who may write to it can take away or replace whatever is in it, also what was verified. Its group is left
    out: a cache that is shared on purpose is a group's.

    Args:
        found: What ``stat`` says of the root, through links.
        user: Number of the user who runs this.

    Returns:
        A clause that continues the sentence "the cache ...", or an empty string.
    """
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        return "is writable by every user of this machine"
    if found.st_uid not in (user, 0):
        return f"belongs to another user ({found.st_uid})"
    return ""


def doubt_about(root: str) -> str:
    """Say what speaks against a root; nothing where there is none yet, or where files have no modes."""
    if sys.platform == "win32":
        return ""
    try:
        return doubt(os.stat(root), os.geteuid())
    except OSError:
        return ""


def _look(model: str, now: list[str]) -> tuple[str, str] | None:
    """What is noted of a model whose every noted fact still holds."""
    lines = _read(f"{model}/.ready").split("\n")
    directory, words = lines[1].removeprefix("model "), lines[2].removeprefix("words ")
    if lines[0] != FORMAT or lines[-1] != "end" or os.path.dirname(directory) != model:
        return None
    facts = len(now) + 3
    holds = lines[3:facts] == now and all(map(_holds, lines[facts:-1]))
    return (directory, words) if holds else None


def _read(path: str) -> str:
    """The text of a plain file. Anybody may have planted it: no link is followed, no pipe waited for."""
    flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    with open(os.open(path, os.O_RDONLY | flags), encoding="utf-8") as file:
        if os.fstat(file.fileno()).st_mode & 0o170000 != 0o100000:
            raise ValueError
        return file.read()


def _holds(line: str) -> bool:
    """Whether ``file``, ``read`` or ``absent`` is still true of its path."""
    kind, size, mtime, inode, path = line.split(" ", 4)
    if kind == "absent":
        return not os.path.exists(path)
    found = os.lstat(path) if kind == "file" else os.stat(path)
    is_right = kind == "read" or found.st_mode & 0o170000 == 0o100000  # a plain file, no link
    return is_right and f"{found.st_size} {found.st_mtime_ns} {found.st_ino}" == f"{size} {mtime} {inode}"

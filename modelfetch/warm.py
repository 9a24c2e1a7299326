"""The already-there answer: ``modelfetch ensure NAME...`` with nothing to do, in no time.

When a model becomes ready, ``models/<name>/.ready`` notes, a line each, which receipt speaks of it and what
decided that. Here this is compared with what holds now, and each line of the receipt with its file, by
``stat`` alone. Any doubt is no answer, and the full path answers instead. Both files are input, which anybody
may have planted who can write there: nothing of them is printed, and no directory but that of the receipt.
Standard library only, and the lightest part of it: importing ``json``, ``re`` or ``pathlib`` costs more than
the work.
"""

import os
import sys

from modelfetch.plain import format_size, plain_names

FORMAT = "modelfetch-ready 2"
_ALLOWED = ("MODELFETCH_CACHE_DIR", "MODELFETCH_CATALOG")
_WORD = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._+-")
"""Characters of names, versions and identities, and of the directories called by them."""
_FILE = ' {"path": "'
"""How the line of a file begins in a receipt; digest, size, time and inode follow in this order."""
_DIGEST = '", "sha256": "'
_DIGITS = 64
_CONSULTED = '"consulted": ['
"""How the line behind the files begins."""
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
        found = [_look(f"{root}/models", name, now) for name in names]
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


def _look(models: str, name: str, now: list[str]) -> tuple[str, str] | None:
    """The directory of a model of which every noted fact still holds, and a word about it."""
    lines = _read(f"{models}/{name}/.ready").split("\n")
    kind, look, label = lines[1].split(" ", 2)
    facts = len(now) + 2
    if (lines[0], lines[-1], kind) != (FORMAT, "end", "receipt") or lines[2:facts] != now:
        return None
    if not _WORD.issuperset(name + label) or not all(map(_holds, lines[facts:-1])):
        return None
    directory = f"{models}/{name}/{label}"
    receipt = _read(f"{directory}.json", look).split("\n")
    if not _speaks_of(receipt[0], name, label):
        return None
    count, size = _add_up(receipt, directory)
    files = "1 file" if count == 1 else f"{count} files"
    return directory, f"{name} is ready - {files}, {format_size(size)}, already here"


def _read(path: str, look: str = "") -> str:
    """The text of a plain file. Anybody may have planted it: no link is followed, no pipe waited for.

    Args:
        path: The file.
        look: What it must look like; empty for anything.

    Raises:
        OSError: There is none.
        ValueError: It is no plain file, or looks different.
    """
    flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    with open(os.open(path, os.O_RDONLY | flags), encoding="utf-8") as file:
        found = os.fstat(file.fileno())
        if found.st_mode & 0o170000 != 0o100000 or look not in ("", stamp_of(found)):
            raise ValueError
        return file.read()


def stamp_of(found: os.stat_result) -> str:
    """Write down what a file looks like."""
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ino}"


def _speaks_of(head: str, name: str, label: str) -> bool:
    """Whether the first line of a receipt is that of a directory; see ``labels`` of the store's layout."""
    words = head.split('"')
    version, identity = words[9], words[13]
    is_form = head == (f'{{"format": 1, "name": "{name}", "version": "{version}", "identity": "{identity}",')
    return is_form and label in (version, f"{version}+{identity[:12]}", f"{version}+{identity}")


def _add_up(receipt: list[str], directory: str) -> tuple[int, int]:
    """Compare each file with its line in the receipt; how many there are, and their bytes.

    Raises:
        OSError: One is not there.
        ValueError: One looks different, or the receipt has another form than this version gives it.
    """
    count = size = 0
    for line in receipt[2:]:
        if line.startswith(_CONSULTED):
            return count, size
        head, _, tail = line.partition(_DIGEST)
        found = os.lstat(f"{directory}/{_path(head)}")
        looks = f'", "size": {found.st_size}, "mtime_ns": {found.st_mtime_ns}, "inode": {found.st_ino}, '
        if found.st_mode & 0o170000 != 0o100000 or not tail.startswith(looks, _DIGITS):
            raise ValueError
        count, size = count + 1, size + found.st_size
    raise ValueError


def _path(head: str) -> str:
    """The path in the line of a file; letters beyond ASCII stand there as JSON escapes them."""
    path = head.removeprefix(_FILE)
    if path == head or ".." in path.split("/"):
        raise ValueError
    if "\\" in path:  # only \\u and four digits: a safe path has neither quotes nor backslashes
        return path.encode().decode("unicode-escape").encode("utf-16", "surrogatepass").decode("utf-16")
    return path


def _holds(line: str) -> bool:
    """Whether ``read`` or ``absent`` is still true of its path."""
    kind, look, path = line.split(" ", 2)
    if kind == "absent":
        return not os.path.exists(path)
    return kind == "read" and stamp_of(os.stat(path)) == look

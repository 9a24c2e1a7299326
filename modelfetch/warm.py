"""The already-there answer: ``modelfetch ensure NAME...`` with nothing to do, in no time.

When a model becomes ready, ``models/<name>/.ready`` notes, a line each, which receipt speaks of it and what
decided that. Here this is compared with what holds now, and each line of the receipt with its file, by
``stat`` alone. Any doubt is no answer, and the full path answers instead. Both files are input, which anybody
may have planted who can write there: nothing of them is printed, and no directory but that of the receipt.
Standard library only, and the lightest part of it: importing ``json``, ``re`` or ``pathlib`` costs more than
the work.

What the plainest runs need, without a library: loading one takes longer than many of them.
"""

import os
import stat
import sys
import time

FORMAT = "modelfetch-ready 2"
HITS = "hits"
"""Below the root of the cache: a line for each run that found everything there; see :func:`count`."""
HITS_LIMIT = 64 << 10
"""Bytes after which the lines so far become the earlier ones, of which as many are kept: some 3000 runs."""
_ALLOWED = ("MODELFETCH_CACHE_DIR", "MODELFETCH_CATALOG")
_WORD = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._+-")
"""Characters of names, versions and identities, and of the directories called by them."""
_FILE = ' {"path": "'
"""How the line of a file begins in a receipt; digest, size, time and inode follow in this order."""
_DIGEST = len('", "sha256": "') + 64
"""Characters between the path and what the file looks like."""
_FILES = '\n"files": [\n'
"""What begins the list of files."""
_CONSULTED = '],\n"consulted": ['
"""What ends the list of files."""
_LARGEST = 64 << 20
"""Bytes of the largest file read: as of a receipt in the store."""
_SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
"""How files are opened: never through a planted link, never waiting for the other end of a pipe."""
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
        found = [_look(f"{root}/models", name, now) for name in names]
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
            found = os.fstat(file)
            # Nor is anything written that has another name elsewhere: whoever linked it here chose it.
            if found.st_mode & 0o170000 != 0o100000 or found.st_nlink > 1:
                return
            if found.st_size < HITS_LIMIT:
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


def _look(models: str, name: str, now: list[str]) -> tuple[str, str] | None:
    """The directory of a model of which every noted fact still holds, and a word about it."""
    if os.path.islink(models) or os.path.islink(f"{models}/{name}"):  # the last part is looked at below
        return None
    lines = _read(f"{models}/{name}/.ready").split("\n")
    kind, look, label = lines[1].split(" ", 2)
    facts = len(now) + 2
    if (lines[0], lines[-1], kind) != (FORMAT, "end", "receipt") or lines[2:facts] != now:
        return None
    if not _WORD.issuperset(name + label) or not all(map(_holds, lines[facts:-1])):
        return None
    directory = f"{models}/{name}/{label}"
    head, _, listed = _read(f"{directory}.json", look).partition(_FILES)
    if not _speaks_of(head, name, label):
        return None
    count, size = _compare(listed, directory)
    files = "1 file" if count == 1 else f"{count} files"
    return directory, f"{name} is ready - {files}, {format_size(size)}, already present"


def _read(path: str, look: str = "") -> str:
    """The text of a plain file, which anybody may have planted.

    Args:
        path: The file.
        look: What it must look like; empty for anything.

    Raises:
        OSError: There is none.
        ValueError: It is no plain file, too large, or looks different.
    """
    with open(os.open(path, os.O_RDONLY | _SAFE), "rb", buffering=0) as file:
        found = os.fstat(file.fileno())
        if found.st_mode & 0o170000 != 0o100000 or found.st_size > _LARGEST:
            raise ValueError
        if look not in ("", stamp_of(found)):
            raise ValueError
        return file.read().decode()


def stamp_of(found: os.stat_result) -> str:
    """Write down what a file looks like."""
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ino}"


def _speaks_of(head: str, name: str, label: str) -> bool:
    """Whether the first line of a receipt is that of a directory; see ``labels`` of the store's layout."""
    words = head.split('"')
    version, identity = words[9], words[13]
    is_form = head == (f'{{"format": 1, "name": "{name}", "version": "{version}", "identity": "{identity}",')
    return is_form and label in (version, f"{version}+{identity[:12]}", f"{version}+{identity}")


def _compare(listed: str, directory: str) -> tuple[int, int]:
    """Like :func:`_add_up`; by handle where that can be: each look is then a fifth quicker."""
    if os.stat not in os.supports_dir_fd:
        return _add_up(listed, None, f"{directory}/")
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | _SAFE)
    try:
        return _add_up(listed, fd, "")
    finally:
        os.close(fd)


def _add_up(listed: str, directory: int | None, prefix: str) -> tuple[int, int]:
    """Compare each file with its line in the receipt; how many there are, and their bytes.

    Raises:
        OSError: One is not there.
        ValueError: One looks different, or the receipt has another form than this version gives it.
    """
    listed, end, _ = listed.partition(_CONSULTED)
    if not end:
        raise ValueError
    lines, size, start, is_escaped = listed.split("\n"), 0, len(_FILE), "\\" in listed
    for line in lines:
        stop = line.index('"', start)
        path = line[start:stop]
        path = prefix + (_unescaped(path) if is_escaped else path)
        found = os.stat(path, dir_fd=directory, follow_symlinks=False)
        size += (length := found.st_size)
        looks = f'", "size": {length}, "mtime_ns": {found.st_mtime_ns}, "inode": {found.st_ino}, '
        if not line.startswith(looks, stop + _DIGEST) or line[:start] != _FILE:
            raise ValueError
        if found.st_mode & 0o170000 != 0o100000:
            raise ValueError
    return len(lines), size


def _unescaped(path: str) -> str:
    """A path as JSON escapes it: letters beyond ASCII only, as a safe path has no quotes or backslashes."""
    return path.encode().decode("unicode-escape").encode("utf-16", "surrogatepass").decode("utf-16")


def _holds(line: str) -> bool:
    """Whether ``read`` or ``absent`` is still true of its path."""
    kind, look, path = line.split(" ", 2)
    if kind == "absent":
        return not os.path.exists(path)
    return kind == "read" and stamp_of(os.stat(path)) == look


def plain_names(arguments: list[str], command: str) -> list[str] | None:
    """The names in ``COMMAND [NAME...] [--quiet]``, each once; None if that is not all ``arguments`` say."""
    names = list(dict.fromkeys(name for name in arguments[1:] if name not in ("--quiet", "-q")))
    return names if arguments[:1] == [command] and all(map(_is_plain, names)) else None


def _is_plain(name: str) -> bool:
    return bool(name) and name[0] not in "-." and "/" not in name


_UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")


def format_size(n: int) -> str:
    """Show a number of bytes with three significant digits, in at most seven characters: ``82.5 MB``."""
    if n < 1000:
        return f"{n} B"
    value: float = n
    for unit in _UNITS:
        value /= 1000
        if value < 999.5:
            return f"{_three_digits(value)} {unit}"
    return f"{value:.0f} {_UNITS[-1]}"


def _three_digits(value: float) -> str:
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"

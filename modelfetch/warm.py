"""The warm path: answer ``modelfetch ensure NAME...`` without loading the rest of the package.

When a model becomes ready, the store writes ``models/<name>/.ready``: which receipt belongs to the model, and
everything that decided that. This module compares those notes with the present state, and each file that the
receipt lists with the disk, by ``stat`` alone. If anything differs or is not understood there is no answer,
and the full path runs instead. A note with its fields in order, one a line::

    modelfetch-ready 2
    receipt 812-1764300000000000000-1311 1
    where HOME '/home/ann'
    where project 'none'
    read 240-1764290000000000000-977 /home/ann/.config/modelfetch/config.toml
    absent - /etc/modelfetch/config.toml
    end

Both files are input: another user may have written them. So nothing of them is printed, and the only
directory that is printed is that of the receipt.

Only the lightest modules of the standard library are imported: importing ``json``, ``re`` or ``pathlib``
takes longer than the whole answer. For the same reason, helpers that the full path shares with this one
(:func:`plain_names`, :func:`already_present`) are defined here.
"""

import os
import stat
import sys
import time

FORMAT = "modelfetch-ready 2"
"""First line of ``.ready``; another version of the format has another line."""
HITS = "hits"
"""File in the root of the cache: one line for each run that found a model present; see :func:`count`."""
HITS_LIMIT = 64 << 10
"""Size in bytes at which ``hits`` is renamed to ``hits.1``, replacing it: each has some 3000 runs."""
USE_SECONDS = 86_400
"""Seconds between two records of the use of one model (a day): ages are compared in days."""
_ALLOWED = ("MODELFETCH_CACHE_DIR", "MODELFETCH_CATALOG")
"""Variables that are evaluated here; any other ``MODELFETCH_`` variable is left to the full path."""
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._+-")
"""Characters of names, versions and identities, and of directories named after them."""
_FILE = ' {"path": "'
"""Start of a file's line in a receipt; digest, size, time and inode follow in this order."""
_DIGEST = len('", "sha256": "') + 64
"""Characters between the path and the size of a file."""
_FILES = '\n"files": [\n'
"""Start of the list of files in a receipt."""
_CONSULTED = '],\n"consulted": ['
"""End of the list of files in a receipt."""
_LARGEST = 64 << 20
"""Size limit of files that are read, in bytes: that of a receipt in the store."""
_SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
"""Flags for opening files: never follow a link, never wait for the other end of a named pipe."""
_QUIET = frozenset({"--quiet", "-q"})
"""The only option of command lines that are parsed without typer."""
_DECIDING = (*_ALLOWED, "HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
"""Variables that decide which files are read as settings and catalogs."""


def circumstances() -> list[str]:
    """List what decides, besides files, which manifest a name stands for: variables and the project."""
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
    """Find the models that ``arguments`` name, if all of them are present and unchanged.

    Returns:
        Directory and message of each model; None if the full path has to run.
    """
    names = plain_names(arguments, "ensure")
    root = _usable_root() if names else None
    if not names or root is None:
        return None
    try:
        now = circumstances()
        found = [_find(f"{root}/models", name, now) for name in names]
    except (OSError, ValueError, IndexError):  # a file is missing, changed, or not as this version writes it
        return None
    return [model for model in found if model is not None] if None not in found else None


def _usable_root() -> str | None:
    """The root of the cache, unless the full path has to evaluate settings or warn about the root."""
    if any(name.startswith("MODELFETCH_") and name not in _ALLOWED for name in os.environ):
        return None
    catalogs = os.environ.get("MODELFETCH_CATALOG", "").split(os.pathsep)
    if not all(os.path.isabs(path) for path in catalogs if path):
        return None
    root = _root()
    return None if root is None or doubt_about(root) else root


def count(root: str, directories: list[str], *, create: bool = False) -> None:
    """Count models that were found present, for ``metrics``: such a run leaves no other trace.

    Nothing is counted where the file does not exist: history is turned off, or the cache belongs to another
    user. Errors are ignored. The lines are appended in one write, so those of other processes stay whole.

    Args:
        root: Root of the cache.
        directories: Directories of the models: ``<root>/models/<name>/<version>``.
        create: Whether to create the file.
    """
    path = f"{root}/{HITS}"
    # Another user may have put a link or a named pipe here: do not follow it, do not wait for it.
    flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    now = int(time.time())
    lines = "".join(f"{now} {'/'.join(each.rsplit(os.sep, 2)[1:])}\n" for each in directories)
    try:
        file = os.open(path, flags | (os.O_CREAT if create else 0), 0o666)
        try:
            found = os.fstat(file)
            # A second hard link would mean that a file from elsewhere was linked here: do not write to it.
            if found.st_mode & 0o170000 != 0o100000 or found.st_nlink > 1:
                return
            if found.st_size < HITS_LIMIT:
                os.write(file, lines.encode())
                return
        finally:
            os.close(file)
        # The file is full: it becomes the older one, and the lines go to a new file.
        os.replace(path, f"{path}.1")
    except OSError:
        return
    count(root, directories, create=True)  # only here: without a first file, nothing is to be counted


def note_use(directories: list[str]) -> None:
    """Record that models were used now: as the modification time of their directories, which nothing reads.

    At most once in :data:`USE_SECONDS` for each, so most answers only compare the time. Errors are ignored:
    the cache may be read-only, or belong to another user.
    """
    now = time.time()
    for directory in directories:
        try:
            # Not through a link: another user could make one to a directory that has nothing to do with this.
            if now - os.lstat(directory).st_mtime > USE_SECONDS:
                os.utime(directory, follow_symlinks=os.utime not in os.supports_follow_symlinks)
        except OSError:
            continue


def _root() -> str | None:
    """The root of the cache, if it is known without loading a library; only Linux has a simple default."""
    given = os.environ.get("MODELFETCH_CACHE_DIR")
    if given or sys.platform != "linux":
        return given if given and os.path.isabs(given) else None
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.environ.get("HOME", ""), ".cache")
    return os.path.join(home, "modelfetch") if os.path.isabs(home) else None


def doubt(found: os.stat_result, user: int) -> str:
    """Explain why a cache cannot be trusted, if another user can change it.

    A user who may write to the root can remove or replace any file in the cache, also after it was verified.
    Write access of the group is not checked: caches are shared with a group on purpose.

    Args:
        found: Result of ``stat`` for the root, with links followed.
        user: Id of the user who runs this process.

    Returns:
        A clause that continues the sentence "the cache ...", or an empty string.
    """
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        return "is writable by every user of this machine"
    if found.st_uid not in (user, 0):
        return f"belongs to another user ({found.st_uid})"
    return ""


def doubt_about(root: str) -> str:
    """Explain why a root cannot be trusted; empty if it does not exist or the system has no file modes."""
    if sys.platform == "win32":
        return ""
    try:
        return doubt(os.stat(root), os.geteuid())
    except OSError:
        return ""


def _find(models: str, name: str, now: list[str]) -> tuple[str, str] | None:
    """Directory and message of a model, if every fact in its note still holds; else None."""
    # _SAFE refuses a link as the last part of a path only, so the parts before it are checked here.
    if os.path.islink(models) or os.path.islink(f"{models}/{name}"):
        return None
    lines = _read(f"{models}/{name}/.ready").split("\n")
    kind, stamp, label = lines[1].split(" ", 2)
    facts = len(now) + 2
    # Without its last line, the note was not written completely.
    if (lines[0], lines[-1], kind) != (FORMAT, "end", "receipt") or lines[2:facts] != now:
        return None
    if not _NAME_CHARACTERS.issuperset(name + label) or not all(map(_holds, lines[facts:-1])):
        return None
    directory = f"{models}/{name}/{label}"
    head, _, listed = _read(f"{directory}.json", stamp).partition(_FILES)
    if not _belongs_to(head, name, label):
        return None
    count, size = _check_files(listed, directory)
    return directory, f"{name} is ready - {already_present(count, size)}"


def already_present(count: int, size: int) -> str:
    """Summary of a model of which nothing was fetched: ``2 files, 5.20 kB, already present``."""
    files = "1 file" if count == 1 else f"{count} files"
    return f"{files}, {format_size(size)}, already present"


def _read(path: str, stamp: str = "") -> str:
    """Read the text of a regular file that another user may have written.

    Args:
        path: The file.
        stamp: Result of :func:`stamp_of` that it must have; empty for any.

    Raises:
        OSError: The file does not exist or cannot be read.
        ValueError: It is no regular file, is too large, or has another stamp.
    """
    with open(os.open(path, os.O_RDONLY | _SAFE), "rb", buffering=0) as file:
        found = os.fstat(file.fileno())
        if found.st_mode & 0o170000 != 0o100000 or found.st_size > _LARGEST:
            raise ValueError
        if stamp not in ("", stamp_of(found)):
            raise ValueError
        return file.read().decode()


def stamp_of(found: os.stat_result) -> str:
    """Size, modification time and inode of a file: they differ if it was changed or replaced."""
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ino}"


def _belongs_to(head: str, name: str, label: str) -> bool:
    """Whether a receipt with this first line belongs to a directory; see ``labels`` of the store's layout."""
    words = head.split('"')
    version, identity = words[9], words[13]
    is_form = head == (f'{{"format": 1, "name": "{name}", "version": "{version}", "identity": "{identity}",')
    return is_form and label in (version, f"{version}+{identity[:12]}", f"{version}+{identity}")


def _check_files(listed: str, directory: str) -> tuple[int, int]:
    """Like :func:`_check_each`, by directory descriptor if possible: each ``stat`` takes 20 % less."""
    if os.stat not in os.supports_dir_fd:
        return _check_each(listed, None, f"{directory}/")
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | _SAFE)
    try:
        return _check_each(listed, fd, "")
    finally:
        os.close(fd)


def _check_each(listed: str, directory: int | None, prefix: str) -> tuple[int, int]:
    """Compare each file with its line in the receipt.

    The lines are compared as text, as this version writes them: parsing JSON would load a library.

    Returns:
        The number of files, and their bytes together.

    Raises:
        OSError: A file is missing.
        ValueError: A file was changed, or the receipt is not as this version writes it.
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
        facts = f'", "size": {length}, "mtime_ns": {found.st_mtime_ns}, "inode": {found.st_ino}, '
        if not line.startswith(facts, stop + _DIGEST) or line[:start] != _FILE:
            raise ValueError
        if found.st_mode & 0o170000 != 0o100000:  # no regular file (stat.S_IFMT, S_IFREG)
            raise ValueError
    return len(lines), size


def _unescaped(path: str) -> str:
    """Undo the JSON escapes of a path: of non-ASCII characters only, as paths have no quote or backslash."""
    return path.encode().decode("unicode-escape").encode("utf-16", "surrogatepass").decode("utf-16")


def _holds(line: str) -> bool:
    """Whether a ``read`` or ``absent`` line of a note is still true."""
    kind, stamp, path = line.split(" ", 2)
    if kind == "absent":
        return not os.path.exists(path)
    return kind == "read" and stamp_of(os.stat(path)) == stamp


def plain_names(arguments: list[str], command: str) -> list[str] | None:
    """The names in ``COMMAND [NAME...] [--quiet]``, each once; None if ``arguments`` have any other form."""
    names = list(dict.fromkeys(name for name in arguments[1:] if name not in _QUIET))
    return names if arguments[:1] == [command] and all(map(_is_plain, names)) else None


def is_quiet(arguments: list[str]) -> bool:
    """Whether arguments of that form ask for the result only."""
    return not _QUIET.isdisjoint(arguments)


def _is_plain(name: str) -> bool:
    return bool(name) and name[0] not in "-." and "/" not in name


_UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")


def format_size(n: int) -> str:
    """Format a number of bytes with three significant digits, in at most seven characters: ``82.5 MB``."""
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

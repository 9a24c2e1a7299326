"""The directories of ``sources.local``: their files by size, for example of LM Studio, ComfyUI or a NAS.

Each directory is listed at most once a run, when a file is first looked for, and within limits of its own.
Links are not followed, so a listing ends; other file systems below are listed too. A directory that cannot be
read is skipped; if it is one of the settings, that is reported, as it may be misspelled or not mounted.

Of the files of one size those come first whose name contains the SHA-256 (stores of other programs use it as
a name), then those with the name of the pinned file.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.model.text import sanitize

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest

MOST_FILES: Final = 500_000
"""Most files of one directory of the settings; the sizes and paths of so many take about 100 MB of memory."""
MOST_DEPTH: Final = 32
"""Most levels of directories; deeper ones are skipped."""
MOST_SECONDS: Final = 15.0
"""Longest time for one listing. A local disk lists about 100,000 files a second."""
UNFINISHED: Final = ("-partial", ".crdownload", ".downloadinprogress", ".incomplete", ".part", ".tmp")
"""Suffixes of unfinished downloads; some have the full size from their start."""


class LocalDirectory:
    """The files below one directory, listed when a file is first looked for. Thread-safe.

    Args:
        root: The directory; it may not exist.
        notice: Receives a line for the user if the directory cannot be listed, or not whole.
        skipped: A directory that is left out: this cache, whose partial files have their full size.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        root: Path,
        notice: Callable[[str], None] = lambda _: None,
        skipped: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._notice = notice
        self._skipped = skipped
        self._clock = clock
        self._lock = threading.Lock()
        self._by_size: dict[int, list[str]] | None = None

    def of_size(self, _manifest: Manifest, file: FileSpec) -> Iterator[Path]:
        """Yield the files of this size, the most likely ones first."""
        found = self._listed().get(file.size, [])
        base = file.path.rpartition("/")[2]
        yield from map(Path, sorted(found, key=lambda path: _search_key(path, base, file.sha256)))

    def _listed(self) -> dict[int, list[str]]:
        with self._lock:
            if self._by_size is None:
                self._by_size = self._list()
            return self._by_size

    def _list(self) -> dict[int, list[str]]:
        by_size: dict[int, list[str]] = {}
        until, left = self._clock() + MOST_SECONDS, MOST_FILES
        if why := _why_unreadable(self._root):
            self._notice(f"sources.local: {sanitize(str(self._root))} is not searched: {why}")
        for entry in files_below(self._root, _status(self._skipped)):
            if left <= 0 or self._clock() > until:
                self._notice(f"sources.local: {sanitize(str(self._root))} is too large to be searched whole")
                break
            left -= 1
            size = _size(entry)
            if size and not entry.name.lower().endswith(UNFINISHED):
                by_size.setdefault(size, []).append(entry.path)
        return by_size


def files_below(root: Path, skipped: os.stat_result | None = None) -> Iterator[os.DirEntry[str]]:
    """Yield the regular files below a directory, not those behind links, in the order of their names.

    Args:
        root: The directory.
        skipped: Status of a directory that is left out.
    """
    waiting: list[tuple[str, int]] = [(os.fspath(root), 0)]
    while waiting:
        directory, depth = waiting.pop()
        below: list[tuple[str, int]] = []
        for entry in _entries(directory):
            try:
                if entry.is_file(follow_symlinks=False):
                    yield entry
                elif entry.is_dir(follow_symlinks=False) and depth < MOST_DEPTH:
                    if skipped is not None and os.path.samestat(entry.stat(), skipped):
                        continue
                    below.append((entry.path, depth + 1))
            except OSError:  # it cannot be examined: the same as not there
                continue
        waiting += reversed(below)


def _entries(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as found:
            return sorted(found, key=lambda entry: entry.name)
    except (OSError, ValueError):
        return []


def _why_unreadable(directory: Path) -> str:
    """The reason why a directory cannot be listed; empty if it can."""
    try:
        os.scandir(directory).close()
    except (OSError, ValueError) as error:
        return (getattr(error, "strerror", None) or "not a valid path").lower()
    return ""


def _status(path: Path | None) -> os.stat_result | None:
    try:
        return None if path is None else path.stat()
    except OSError:
        return None


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except OSError:
        return 0


def _search_key(path: str, base: str, sha256: str) -> tuple[bool, bool, str]:
    """Sort key of files of one size: the most likely one first, else by path."""
    name = os.path.basename(path)  # noqa: PTH119 - thousands of paths of one size may be sorted
    return sha256 not in name, name != base, path

"""The cache of the Hugging Face libraries: which of its files may have pinned bytes.

A repository is a directory such as ``models--org--name``::

    blobs/<SHA-256, 64 digits>      a large file, or a link into the shared store of newer clients
    blobs/<git blob id, 40 digits>  a small file
    snapshots/<commit>/<path>       a link to a blob; the file itself where links are not possible

A file is found by its SHA-256 in every repository, and a small one at the pinned commit or by its size. The
shared store (``<cache>/blobs/<2 digits>/<xet hash>``) is reached through links of repositories only, because
its names are no SHA-256. No link is followed out of the cache.
"""

from __future__ import annotations

import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.lazy_dataclass import dataclass
from modelfetch.sources.huggingface import cache_folder

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest

SHA256: Final = re.compile(r"[0-9a-f]{64}")
"""Name of the blob of a large file. Unfinished blobs have a suffix, ``.incomplete``."""
GIT_BLOB: Final = re.compile(r"[0-9a-f]{40}")
"""Name of the blob of a small file: its git blob id."""
REPOSITORY: Final = re.compile(r"(?:models|datasets|spaces)--.+")
"""Name of the directory of a repository."""

MOST_FILES: Final = 500_000
"""Most entries that are listed; a cache with more is searched in part."""
MOST_SECONDS: Final = 10.0
"""Longest time for the listing: a cache on a network disk must not delay a download for long."""
MOST_DEPTH: Final = 16
"""Most levels of directories in a snapshot."""


@dataclass(frozen=True, slots=True)
class _Index:
    """The files of a cache, by what they can be found by."""

    repositories: frozenset[str]
    """Directory names of the repositories. Paths of a repository that is not here are not tried."""
    by_digest: dict[str, list[str]]
    """Paths of blobs by the SHA-256 that is their name."""
    by_size: dict[int, list[str]]
    """Paths of all other files by size."""


class HuggingFaceCache:
    """The whole cache, listed once, when a file is first looked for. Thread-safe.

    Args:
        root: The directory ``hub``; it may not exist.
        clock: Monotonic seconds.
    """

    def __init__(self, root: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.root = root
        self._clock = clock
        self._lock = threading.Lock()
        self._index: _Index | None = None

    def exact(self, manifest: Manifest, file: FileSpec) -> Iterator[Path]:
        """Yield the blobs with this SHA-256, and the file at the pinned commit."""
        found = map(Path, self._indexed().by_digest.get(file.sha256, ()))
        for path in (*self._blobs(manifest, file), *found):
            if regular_inside(self.root, path) is not None:
                yield path

    def _blobs(self, manifest: Manifest, file: FileSpec) -> Iterator[Path]:
        """Yield where the pinned repository has the file: the most likely places first."""
        repo = manifest.huggingface
        if repo is None:
            return
        name = cache_folder(repo)
        if name not in self._indexed().repositories:
            return
        folder = self.root / name
        yield folder / "blobs" / file.sha256
        yield folder / "snapshots" / repo.revision / (file.huggingface_path or file.path)

    def of_size(self, _manifest: Manifest, file: FileSpec) -> Iterator[Path]:
        """Yield the files of this size whose names do not tell their SHA-256."""
        yield from map(Path, self._indexed().by_size.get(file.size, ()))

    def _indexed(self) -> _Index:
        with self._lock:
            if self._index is None:
                self._index = self._list()
            return self._index

    def _list(self) -> _Index:
        repositories = [entry for entry in _entries(self.root) if REPOSITORY.fullmatch(entry.name)]
        index = _Index(frozenset(entry.name for entry in repositories), {}, {})
        until, left = self._clock() + MOST_SECONDS, MOST_FILES
        for repository in repositories:
            for entry in _files_of(repository):
                if left <= 0 or self._clock() > until:
                    return index
                left -= 1
                self._add(index, entry)
        return index

    def _add(self, index: _Index, entry: os.DirEntry[str]) -> None:
        """Add a file; the status of one that is named by its SHA-256 is read only when it is needed."""
        if SHA256.fullmatch(entry.name):
            index.by_digest.setdefault(entry.name, []).append(entry.path)
            return
        found = self._status(entry)
        if found is not None:
            index.by_size.setdefault(found.st_size, []).append(entry.path)

    def _status(self, entry: os.DirEntry[str]) -> os.stat_result | None:
        """Return the status of a regular file; through the entry, as a cache has tens of thousands."""
        try:
            if entry.is_symlink():
                return regular_inside(self.root, Path(entry.path))
            return entry.stat(follow_symlinks=False) if entry.is_file(follow_symlinks=False) else None
        except OSError:
            return None


def _files_of(repository: os.DirEntry[str]) -> Iterator[os.DirEntry[str]]:
    """Yield the blobs of a repository; without any, the files of its snapshots (no links on this system)."""
    blobs = [
        entry
        for entry in _entries(f"{repository.path}/blobs")
        if SHA256.fullmatch(entry.name) or GIT_BLOB.fullmatch(entry.name)
    ]
    yield from blobs or _tree(f"{repository.path}/snapshots")


def _tree(directory: str, depth: int = 0) -> Iterator[os.DirEntry[str]]:
    """Yield the regular files below a directory, without following links."""
    for entry in _entries(directory):
        try:
            if entry.is_file(follow_symlinks=False):
                yield entry
            elif entry.is_dir(follow_symlinks=False) and depth < MOST_DEPTH:
                yield from _tree(entry.path, depth + 1)
        except OSError:  # it cannot be examined: the same as not there
            continue


def _entries(directory: str | Path) -> list[os.DirEntry[str]]:
    """List a directory; one that cannot be read counts as empty."""
    try:
        with os.scandir(directory) as found:
            return list(found)
    except (OSError, ValueError):
        return []


def regular_inside(root: Path, path: Path) -> os.stat_result | None:
    """Return the status of a regular file below a root, links followed; None for anything else.

    A link that leads out of the root is not followed: a crafted cache could name any file of this machine.
    """
    try:
        found = path.lstat()
        if stat.S_ISREG(found.st_mode):
            return found
        if not stat.S_ISLNK(found.st_mode):
            return None
        real = os.path.realpath(path, strict=True)
        if not Path(real).is_relative_to(os.path.realpath(root)):
            return None
        found = os.lstat(real)
    except (OSError, ValueError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None

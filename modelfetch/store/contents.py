"""What a cache holds: everything about it that is only looked at. Nothing here writes.

Whether and how much can be written, asked before the first byte rather than found out with the last.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.errors import StoreError
from modelfetch.model.text import sanitise
from modelfetch.model.units import format_size
from modelfetch.store.dir_handles import HANDLES
from modelfetch.store.disk_errors import refusal
from modelfetch.store.files import hash_file, read_blocks
from modelfetch.store.journal import parse
from modelfetch.store.layout import Layout, is_digest
from modelfetch.store.locks import Lock
from modelfetch.store.model_directories import Directories
from modelfetch.store.partial_slots import read_journal, slots
from modelfetch.store.quarantine import Quarantine, Unlisted
from modelfetch.store.receipt import Consulted, Receipt, Stamp
from modelfetch.store.receipt_store import Hit, Receipts, read_hits

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.notices import Notices
    from modelfetch.store.disk import Disk


class Contents:
    """The half of a :class:`modelfetch.store.Store` that needs no right to write.

    Attributes:
        root: Where the cache lies; absolute.
    """

    def __init__(self, root: Path, disk: Disk) -> None:
        """Look at a cache; there need not be one.

        Args:
            root: Where it lies, or is to lie.
            disk: The disk it lies on.
        """
        self.root = root.absolute()
        self._disk = disk
        self._disk.guard(self.root)
        self._layout = Layout(self.root)
        self._receipts = Receipts(self._disk, self._layout)
        self._directories = Directories(self._layout, self._receipts)
        self._quarantine = Quarantine(self._disk, self._layout)
        self._unlisted = Unlisted(self._disk, self._layout, self._quarantine)

    @property
    def notices(self) -> Notices:
        """What is left alone, and what the file system cannot do: lines for people."""
        return self._disk.notices

    def close(self) -> None:
        """Let go of the directories that are held open; the store may be used on."""
        HANDLES.drop()

    def directory(self, manifest: Manifest) -> Path:
        """Say where a model's files lie, or would: in the directory that is this manifest's and no other's.

        ``models/<name>/<version>`` belongs to the first manifest that was verified there; another one of the
        same name and version has ``models/<name>/<version>+<identity>``.
        """
        return self._directories.path(manifest)

    def looking(self) -> AbstractContextManager[None]:
        """Keep directories open while this thread looks at many files and creates none.

        See :meth:`.SafePaths.reuse_directories`.
        """
        return self._disk.reuse_directories(only_looks=True)

    def find_blob(self, file: FileSpec) -> Path | None:
        """Find stored bytes of the right length; whether they are still the right ones is not looked at."""
        path = self._layout.blob(file.sha256)
        return path if self.size_of(path) == file.size else None

    def is_filled(self, manifest: Manifest, file: FileSpec) -> bool:
        """Whether a file of a model has its place, and the right length; its bytes are not looked at."""
        return self.size_of(self.directory(manifest) / file.path) == file.size

    def has_directory(self, manifest: Manifest) -> bool:
        """Whether there is a directory for a model's files; else none of them has its place."""
        return self._disk.lstat(self.directory(manifest)) is not None

    def receipt(self, manifest: Manifest) -> Receipt | None:
        """Read a model's receipt; None when there is none for exactly these files that can be read."""
        return self._receipts.read(manifest)

    def receipts(self) -> Iterator[Receipt]:
        """Read the receipts of everything present, in the order of names and versions."""
        return self._receipts.all()

    def hits(self) -> list[Hit]:
        """The latest runs that found a model there, the oldest first; see :func:`modelfetch.warm.count`."""
        return read_hits(self._disk, self._layout)

    def placed(self) -> dict[str, list[Path]]:
        """Find the files of all present models, by the digest they had when they were verified."""
        return self._receipts.placed()

    def is_proven(self, manifest: Manifest) -> bool:
        """Whether a model that has a receipt is there by the digests of all of its files; each is read.

        For a cache that was copied or unpacked, and may be read-only: its files look other than they did when
        the receipt was written.
        """
        if self.receipt(manifest) is None:
            return False
        directory = self.directory(manifest)
        paths = [(file, directory / file.path) for file in manifest.files]
        return all(self.size_of(path) == file.size for file, path in paths) and all(
            hash_file(self._disk, path) == file.sha256 for file, path in paths
        )

    def kept(self, manifest: Manifest, receipt: Receipt | None) -> dict[str, bool]:
        """Say of each file, by path, whether it looks as it did when it was verified. Nothing is read."""
        return self._receipts.kept(manifest, receipt)

    def begun(self) -> frozenset[str]:
        """Name the digests of all downloads that were begun and not finished."""
        return frozenset(filter(is_digest, self._disk.names(self._layout.partials)))

    def held(self, file: FileSpec) -> int:
        """Count the bytes an interrupted download claims to have. Nothing is checked or written."""
        found = slots(self._disk, self._layout.partial(file.sha256))
        journals = (parse(read_journal(self._disk, slot), file) for slot in found)
        return max((journal.claimed for journal in journals), default=0)

    def size_of(self, path: Path) -> int | None:
        """Look up the bytes of a regular file; None when no regular file has that name."""
        found = self._disk.lstat(path)
        return found.st_size if found is not None and stat.S_ISREG(found.st_mode) else None

    def read(self, path: Path) -> Iterator[memoryview]:
        """Read a regular file, a mebibyte at a time, each valid until the next; a link is not followed."""
        return read_blocks(self._disk, path)

    def consult(self, path: Path) -> Consulted:
        """Look at a catalog or config file, through links, for the receipt; best before it is read."""
        try:
            found = self._disk.stat(path)
        except StoreError:  # in a directory that this user may not enter: then there is none
            found = None
        return Consulted(path.absolute(), Stamp.of(found) if found is not None else None)

    def free_space(self) -> int | None:
        """Count the bytes that can still be written to the cache; None when the file system does not say."""
        return free_space(self._disk, self.root)

    def check_space(self, needed: int) -> None:
        """Make sure, before the first byte, that there is room for a number of bytes.

        Raises:
            StoreError: There is not; the message says how much is needed and how much is free.
        """
        require_space(self._disk, self.root, needed)

    def check_writable(self) -> None:
        """Make sure, before the first request, that what comes can be written down. Nothing is written.

        Raises:
            StoreError: It cannot.
        """
        require_writable(self._disk, self._layout.partials)

    def can_link_into(self, directory: Path) -> bool:
        """Whether a directory, there or not yet, shares the cache's file system: placing takes no space."""
        return share_file_system(self._disk, self.root, directory.absolute())

    def unlisted(self, manifest: Manifest) -> list[str]:
        """Name what lies in a model's directory and is no file of its manifest; directory loaders read it."""
        return self._unlisted.find(self.directory(manifest), [file.path for file in manifest.files])

    def lock_model(self, name: str) -> Lock:
        """Make the lock of a model, not yet taken."""
        return Lock(self._disk, self.root, self._layout.model_lock(name))

    def lock_blob(self, sha256: str) -> Lock:
        """Make the lock of a digest, not yet taken."""
        return Lock(self._disk, self.root, self._layout.blob_lock(sha256))


SLACK: Final = 100
"""A download of n bytes wants n / SLACK bytes more: for directories, journals and the file system's maps."""


def free_space(disk: Disk, directory: Path) -> int | None:
    """Count the bytes an ordinary user can still write; None when the file system does not say.

    Args:
        disk: The disk.
        directory: Absolute; need not exist yet.
    """
    return disk.free(_nearest(disk, directory)[0])


def require_space(disk: Disk, directory: Path, needed: int) -> None:
    """Make sure that a number of bytes fits, and some slack.

    Raises:
        StoreError: It does not.
    """
    wanted, free = needed + needed // SLACK, free_space(disk, directory)
    if free is not None and free < wanted:
        raise StoreError(
            f"{sanitise(str(directory))}: {format_size(wanted)} are needed, {format_size(free)} are free",
            hint="Free some space, or put the cache elsewhere with --cache-dir.",
        )


def require_writable(disk: Disk, directory: Path) -> None:
    """Make sure that a directory, there or not yet, can be written to. Nothing is written.

    Raises:
        StoreError: It cannot.
    """
    nearest, found = _nearest(disk, directory)
    code = disk.why_not_writable(nearest) if stat.S_ISDIR(found.st_mode) else errno.ENOTDIR
    if code:
        raise refusal(OSError(code, os.strerror(code)), "write to", nearest)


def share_file_system(disk: Disk, one: Path, other: Path) -> bool:
    """Whether two directories, there or not yet, lie on the same file system."""
    return _nearest(disk, one)[1].st_dev == _nearest(disk, other)[1].st_dev


def _nearest(disk: Disk, directory: Path) -> tuple[Path, os.stat_result]:
    """Find the nearest existing directory on the way up."""
    looks = ((path, disk.stat(path)) for path in (directory, *directory.parents))
    return next((path, found) for path, found in looks if found is not None)

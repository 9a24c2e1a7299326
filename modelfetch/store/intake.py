"""Stores bytes whose digest is not known beforehand, such as a file that is pinned for the first time.

The bytes are hashed while they are written to a temporary file, and the computed SHA-256 decides the name of
the blob. So no final name can have wrong bytes here either. The order is that of :class:`.GroupCommit`::

    write to partial/.mf-tmp-.../data   # read-only from the start, O_EXCL; hashed on the way
    sync it
    rename it to its blob               # unless that blob is present already
    sync the blob's directory
    write its chunk map                 # if its chunks were hashed too
    remove the temporary directory      # also after a failure; the sweep removes those of killed runs
"""

from __future__ import annotations

import hashlib
import stat
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self

from modelfetch.errors import StoreError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.manifest import FileSpec
from modelfetch.model.source_kinds import CACHE
from modelfetch.model.text import sanitize
from modelfetch.store.chunk_digests import ChunkHasher
from modelfetch.store.files import make_directories
from modelfetch.store.group_commit import remove_group
from modelfetch.store.partial_files import WRITE_BACK
from modelfetch.store.room import require_space
from modelfetch.store.temporary import temporary_name

if TYPE_CHECKING:
    from modelfetch.store.chunk_maps import ChunkMaps
    from modelfetch.store.disk import Disk
    from modelfetch.store.layout import Layout
    from modelfetch.store.prefix import Hasher
    from modelfetch.store.quarantine import Quarantine

INSTEAD: Final = "put the cache elsewhere with --cache-dir"


@dataclass(frozen=True, slots=True)
class FileDigest:
    """What was computed from the bytes of a file."""

    size: int
    """Number of bytes."""
    sha256: str
    """64 lowercase hexadecimal digits."""
    git_blob: str | None
    """The git blob id (SHA-1 over ``blob <size>``, a zero byte, and the bytes), 40 lowercase hexadecimal
    digits; None if the size was not known before the first byte, or was another one."""


class Writer(Protocol):
    """Receives the bytes of one file; used as a context manager."""

    def __enter__(self) -> Self:
        """Start the file."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the file; without :meth:`finish` nothing of it is kept."""

    def write(self, piece: bytes) -> None:
        """Add the next bytes."""

    @property
    def digest(self) -> FileDigest:
        """The digest of the bytes so far."""

    def finish(self) -> FileDigest:
        """Keep the file, if this writer keeps files, and return its digest."""


class Digester:
    """Hashes the bytes of one file without storing them.

    Attributes:
        size: Number of bytes so far.

    Args:
        size: Their number, if it is known; required for a git blob id, which begins with it.
        hasher: Computes the SHA-256, and perhaps more.
    """

    def __init__(self, size: int | None = None, hasher: Hasher | None = None) -> None:
        self._stated = size
        self.size = 0
        self._sha256 = hasher or hashlib.sha256()
        # Only identifies bytes that git identifies the same way; the pin is the SHA-256.
        self._sha1 = None if size is None else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, piece: bytes) -> None:
        """Add the next bytes."""
        self.size += len(piece)
        self._sha256.update(piece)
        if self._sha1 is not None:
            self._sha1.update(piece)

    @property
    def digest(self) -> FileDigest:
        """The digest of the bytes so far."""
        is_whole = self._sha1 is not None and self.size == self._stated
        git_blob = self._sha1.hexdigest() if self._sha1 is not None and is_whole else None
        return FileDigest(self.size, self._sha256.hexdigest(), git_blob)

    def finish(self) -> FileDigest:
        """Return the digest; nothing was stored."""
        return self.digest


class Intake:
    """A file on its way into the cache; leaving a ``with`` block drops it unless it was finished.

    All methods raise :class:`~modelfetch.errors.StoreError` when a disk operation fails.
    """

    def __init__(
        self,
        disk: Disk,
        layout: Layout,
        quarantine: Quarantine,
        chunk_maps: ChunkMaps,
        hasher: Hasher,
        size: int | None = None,
    ) -> None:
        """Create the temporary file.

        Args:
            disk: The disk.
            layout: The paths of the cache.
            quarantine: Keeps a damaged blob that the file replaces.
            chunk_maps: Receives the chunk map of the file.
            hasher: Hashes the file, and its chunks if a map may be made.
            size: Size of the file in bytes, if it is known: then free space is checked, and the git blob id
                is computed.

        Raises:
            StoreError: The disk refused, or has too little free space.
        """
        self._disk = disk
        self._layout = layout
        self._quarantine = quarantine
        self._chunk_maps = chunk_maps
        self._chunks = hasher if isinstance(hasher, ChunkHasher) else None
        self._hasher = Digester(size, hasher)
        self._written_back = 0
        if size is not None:
            require_space(disk, layout.root, size, INSTEAD)
        # In a directory of its own, which the sweep recognizes like that of a group.
        self._folder = layout.partials / temporary_name()
        self._path = self._folder / "data"
        make_directories(disk, layout.root, self._folder, durable=False)
        self._is_over = False
        self._fd: int | None = None
        try:
            self._fd = disk.create_read_only(self._path)
            found = disk.fstat(self._fd, self._path)
        except BaseException:
            self.abandon()
            raise
        self._inode = found.st_dev, found.st_ino

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()

    def write(self, piece: bytes) -> None:
        """Add the next bytes.

        Raises:
            StoreError: The disk refused.
        """
        start = self._hasher.size
        self._disk.pwrite(self._descriptor, self._path, piece, start)
        self._hasher.write(piece)
        end = start + len(piece)
        if end - self._written_back >= WRITE_BACK:
            # The final sync would otherwise have to wait for all bytes of a large file.
            self._disk.start_write_back(
                self._descriptor, self._path, self._written_back, end - self._written_back
            )
            self._written_back = end

    @property
    def digest(self) -> FileDigest:
        """The digest of the bytes so far; to be compared with what was stated, before :meth:`finish`."""
        return self._hasher.digest

    def finish(self) -> FileDigest:
        """Make the bytes the blob of their digest, durably; a blob that is present already is kept.

        Raises:
            StoreError: The disk refused; nothing was stored.
        """
        digest = self.digest
        file = FileSpec("data", digest.size, digest.sha256)
        with self._disk.reuse_directories():
            self._disk.sync(self._descriptor, self._path)
            self._close()
            if not self._is_stored(file):
                self._publish(file)
            if self._chunks is not None:  # after the blob has its name, as for a download
                self._chunk_maps.write(file.sha256, self._chunks.tree())
            self.abandon()
        return digest

    def abandon(self) -> None:
        """Drop the bytes; does nothing after :meth:`finish`. Never raises."""
        if self._is_over:
            return
        self._is_over = True
        with suppress(StoreError):
            self._close()
        remove_group(self._disk, self._folder)

    @property
    def _descriptor(self) -> int:
        assert self._fd is not None, "the intake is closed"
        return self._fd

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            self._disk.close(fd, self._path)

    def _is_stored(self, file: FileSpec) -> bool:
        """Whether the blob is present with its size; its own bytes are verified where they are used."""
        found = self._disk.lstat(self._layout.blob(file.sha256))
        return found is not None and stat.S_ISREG(found.st_mode) and found.st_size == file.size

    def _publish(self, file: FileSpec) -> None:
        blob = self._layout.blob(file.sha256)
        make_directories(self._disk, self._layout.root, blob.parent, durable=True)
        # Only an inode that this process created may get a final name: in a shared cache another user could
        # have put a file under ours.
        named = self._disk.lstat(self._path)
        if named is None or (named.st_dev, named.st_ino) != self._inode or named.st_size != file.size:
            raise StoreError(
                f"{sanitize(str(self._path))} was replaced by another program while it was written",
                hint="Make sure that no other program changes the cache, then try again.",
            )
        self._quarantine.displace(blob, file, source=CACHE)
        self._disk.rename(self._path, blob)
        self._disk.sync_directory(blob.parent)

"""A download under way: each byte is written once, at its place, and hashed as it arrives.

:class:`Partial` is what fetches bytes into: it writes them, gives the digest, and prepares a finished file
for its final name. Which bytes are there, and who hashes them when, is decided in
:mod:`modelfetch.store.partial_hashing`. A finished file goes through three steps, in this order::

    partial.seal()        # read-only, and synced
    partial.release()     # no more writes; the data can be renamed
    partial.rename(blob)  # its final name
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from modelfetch.errors import IntegrityError, StoreError
from modelfetch.store.files import BLOCK
from modelfetch.store.partial_hashing import PartialHasher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from modelfetch.ipfs.file_tree import Built
    from modelfetch.model.manifest import FileSpec
    from modelfetch.store.hashing import Hashing
    from modelfetch.store.journal_format import Journal
    from modelfetch.store.lazy_files import LazyFiles
    from modelfetch.store.partial_slots import Slot
    from modelfetch.store.prefix import Claim

CLOSE_SECONDS: Final = 0.25
"""Seconds that closing may spend on hashing, so that the journal covers all bytes for the next run."""
_LOST: Final = (
    "This file's bytes may not be on the disk and were removed; check the disk, then run the command again."
)


class Partial:
    """An unfinished file: which of its bytes are there, and the only way to add to them.

    Bytes may come in any order and from several threads, each byte once. Made by
    :meth:`modelfetch.store.Store.partial`. Leaving a ``with`` block closes it and keeps the bytes for the
    next run.

    Attributes:
        file: The file the bytes belong to.
    """

    def __init__(self, file: FileSpec, files: LazyFiles, hashing: Hashing) -> None:
        """Wrap the files that :mod:`modelfetch.store.resume` opened."""
        self.file = file
        self._files = files
        self._hasher = PartialHasher(file, files, hashing)

    def resume(self, journal: Journal) -> None:
        """Continue with the bytes in the data file; each claim of the journal is checked before it counts."""
        self._hasher.resume(journal)

    def expect(self, claim: Claim) -> None:
        """Check a claim about bytes that are written next; if it is false, they count as missing again."""
        self._hasher.expect(claim)

    @property
    def slot(self) -> Slot:
        """The pair of files that holds the bytes; only valid once there are some."""
        slot = self._files.slot
        assert slot is not None, "no byte was written"
        return slot

    @property
    def data_path(self) -> Path | None:
        """Path of the data file; None as long as no byte was written. Any thread may ask at any time."""
        slot = self._files.slot
        return slot.data if slot is not None else None

    @property
    def length(self) -> int:
        """Bytes of the prefix: those from offset 0 up to the first gap."""
        return self._hasher.length

    @property
    def received(self) -> int:
        """Bytes that are there in all."""
        return self._hasher.received

    @property
    def missing(self) -> list[tuple[int, int]]:
        """The gaps, in order, each as its start and end."""
        return self._hasher.missing

    @property
    def origins(self) -> frozenset[str]:
        """The sources of the bytes that are there, each ``kind host``; empty for a fresh partial."""
        return self._hasher.origins

    @property
    def parts(self) -> list[tuple[int, int, str]]:
        """The bytes that are there, in order, each range as its start, end and source: ``kind host``."""
        return self._hasher.parts

    def put(self, offset: int, data: bytes | memoryview, origin: str) -> None:
        """Write bytes. Several threads may write at once, at different places.

        Args:
            offset: Where the bytes belong in the file.
            data: Bytes of the file, none of which is there yet.
            origin: The source they came from: ``kind host``.

        Raises:
            ValueError: They reach beyond the file's size, or are there already, or the partial is closed;
                nothing was written.
            StoreError: The disk refused; bytes that were there before are still good.
        """
        end = offset + (len(data) if isinstance(data, bytes) else data.nbytes)
        if end > self.file.size:
            raise ValueError(f"{self.file.path}: bytes beyond the size of {self.file.size}")
        self._hasher.begin_write(offset, end)
        try:
            self._files.write(data, offset)
            self._hasher.add(offset, end, data, origin)
        finally:
            is_due = self._hasher.end_write()
        if is_due:
            self._hasher.schedule()

    def clone(self, source: int, origin: str) -> bool:
        """Take all bytes from a file on this disk, sharing its blocks (reflink), if nothing is there yet.

        The bytes are then in an inode of this cache: another program that writes to its file does not change
        them. They count as there, and are hashed like any other bytes.

        Args:
            source: Descriptor of a file of this size.
            origin: The source: ``kind host``.

        Returns:
            Whether it was possible: most file systems cannot, and none can between two file systems.

        Raises:
            StoreError: The disk refused.
        """
        size = self.file.size
        if self.received or not size:
            return False
        self._hasher.begin_write(0, size)
        try:
            is_cloned = self._files.clone(source)
            if is_cloned:
                self._hasher.add_cloned(0, size, origin)
        finally:
            is_due = self._hasher.end_write()
        if is_due:
            self._hasher.schedule()
        return is_cloned

    def clone_chunk(
        self,
        offset: int,
        source: int,
        source_offset: int,
        length: int,
        origin: str,
        is_right: Callable[[memoryview], bool],
    ) -> bool:
        """Take a range from a file on this disk, sharing its blocks, if it is right.

        It is checked after it was taken, in an inode of this cache: the other file may change at any time.

        Args:
            offset: Where the bytes belong in the file; they are missing.
            source: Descriptor of the other file.
            source_offset: Where they are in it.
            length: Number of bytes.
            origin: The source: ``kind host``.
            is_right: Whether bytes are the right ones.

        Returns:
            Whether the file system could share the blocks. Wrong bytes, and those that cannot be read, still
            count as missing.

        Raises:
            StoreError: The disk refused.
        """
        end = offset + length
        self._hasher.begin_write(offset, end)
        try:
            if not self._files.clone_range(offset, source, source_offset, length):
                return False
            room = memoryview(bytearray(length))
            with suppress(StoreError):  # a bad sector of the other file belongs to this one now
                self._files.read_into(room, offset)
                if is_right(room):
                    self._hasher.add_cloned(offset, end, origin)
        finally:
            is_due = self._hasher.end_write()
        if is_due:
            self._hasher.schedule()
        return True

    def read(self, start: int, end: int) -> bytes:
        """Read a range whose bytes are there.

        Raises:
            StoreError: The bytes could not be read again.
        """
        return self._files.read(start, end)

    def blocks(self) -> Iterator[tuple[int, memoryview]]:
        """Yield all bytes of a complete file in order, in blocks that are valid until the next one.

        Yields:
            The offset of each block, and its bytes.

        Raises:
            StoreError: The bytes could not be read again.
        """
        room = memoryview(bytearray(BLOCK))
        for offset in range(0, self.file.size, BLOCK):
            block = room[: self.file.size - offset]
            self._files.read_into(block, offset)
            yield offset, block

    def discard(self, ranges: Sequence[tuple[int, int]], check: Callable[[], None] = lambda: None) -> None:
        """Count some bytes as missing again. No other thread may be writing.

        Args:
            ranges: Their starts and ends.
            check: Called while the other bytes are read, which takes long for a large file. What it raises
                ends the call; the next run then finds all bytes.

        Raises:
            StoreError: The disk refused.
        """
        self._hasher.discard(ranges, check)

    def digest(self) -> str:
        """Return the SHA-256 of the prefix, in hexadecimal; waits until all of it is hashed.

        Raises:
            StoreError: The bytes could not be read again.
        """
        while not self.wait(1.0):
            pass
        return self._hasher.hexdigest

    def wait(self, seconds: float) -> bool:
        """Wait until the prefix is hashed, for at most that many seconds.

        Returns:
            Whether it is.

        Raises:
            StoreError: The bytes could not be read again.
        """
        return self._hasher.wait(seconds)

    def require_complete(self) -> None:
        """Check that all bytes are there and right.

        Raises:
            IntegrityError: They are not.
            StoreError: The bytes could not be read again.
        """
        if self.length != self.file.size or not self.file.is_pinned(self.digest()):
            raise IntegrityError(
                f"{self.file.path}: {self.length} of {self.file.size} bytes, SHA-256 {self.digest()} "
                f"instead of {self.file.sha256}"
            )

    def tree(self) -> Built | None:
        """Build the UnixFS tree of the complete file; None if its chunks were not hashed, or it has only one.

        Call it after :meth:`require_complete`: it is the tree of what is hashed.
        """
        return self._hasher.tree()

    # Endings

    def restart(self) -> None:
        """Restart at offset 0, in the same file; its bytes are overwritten.

        No other thread may be writing.

        Raises:
            StoreError: The disk refused.
        """
        self._hasher.restart()

    def renew(self) -> None:
        """Restart in new files: the data was moved away after :meth:`release`."""
        self._files.remove_own()
        self._files = self._files.fresh()
        self._hasher.reopen(self._files)

    def close(self) -> None:
        """Keep all bytes for the next run, but no files without any; a second call does nothing."""
        self._hasher.hash_rest(CLOSE_SECONDS)
        if self._hasher.stop():
            self._hasher.append_rest()
        if self.received:
            with suppress(StoreError):  # nothing was promised about bytes that are not committed
                self._files.close()
        else:
            self._files.remove_own()

    def forget(self) -> None:
        """Remove the files of this download and of dead runs: the bytes have moved, or are unwanted.

        Best effort: the next run can handle any file that stays.
        """
        self._hasher.stop()
        self._files.remove_all()

    def _discard_unsynced(self, error: StoreError) -> StoreError:
        """Remove bytes that may not be on the disk; the error to raise."""
        self._hasher.stop()
        self._files.remove_own()
        return StoreError(error.message, hint=_LOST)

    def seal(self) -> None:
        """Make a finished file read-only, and sync it, before it gets its final name.

        Raises:
            StoreError: The file is not the one written to, or its bytes may not have reached the disk. After
                a failed sync they are discarded: the kernel may have dropped the dirty pages and report
                success for the next sync (LWN 752063).
        """
        files = self._files.open_or_create()  # creates them for an empty file, of which no byte was written
        files.seal()
        try:
            files.sync()
        except StoreError as error:
            raise self._discard_unsynced(error) from error

    def release(self) -> Path:
        """Accept no more bytes, so that the data can be moved; it stays locked until then where possible.

        Returns:
            The data file.

        Raises:
            StoreError: As for :meth:`seal`.
        """
        self._hasher.stop()
        files = self._files.open_or_create()
        try:
            files.release()
        except StoreError as error:
            raise self._discard_unsynced(error) from error
        return files.slot.data

    def rename(self, target: Path) -> None:
        """Give the data its final name, after :meth:`release`.

        Raises:
            StoreError: The disk refused, or the file that has the name is not the one written to.
        """
        try:
            self._files.open_or_create().rename(target)
        except StoreError:
            self._hasher.append_rest()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

"""A download under way: bytes written once at their place, hashed as they pass, journalled as they land."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self

from modelfetch.errors import StoreError
from modelfetch.model.manifest import FileSpec
from modelfetch.model.text import sanitise
from modelfetch.store.disk import Disk
from modelfetch.store.journal import INTERVAL, Checkpoint, header, line
from modelfetch.store.prefix import Hasher, Prefix
from modelfetch.store.slots import Slot, clear


class JournalFile:
    """The open end of a journal."""

    def __init__(self, disk: Disk, slot: Slot, fd: int, file: FileSpec) -> None:
        self._disk = disk
        self._path = slot.journal
        self._fd = fd
        self._header = header(file)
        self._end = 0
        self._is_cut = False

    def restart(self) -> None:
        """Empty the journal but for its header."""
        self.resume(0)
        self._write(b"")

    def resume(self, end: int) -> None:
        """Go on after the first ``end`` bytes; the rest is cut off by the next line, not before."""
        self._end, self._is_cut = end, False

    def append(self, checkpoint: Checkpoint) -> None:
        """Add a line."""
        self._write(line(checkpoint))

    def close(self) -> None:
        """Close the file."""
        self._disk.close(self._fd, self._path)

    def _write(self, text: bytes) -> None:
        if not self._is_cut:
            self._disk.truncate(self._fd, self._path, self._end)
            self._is_cut = True
        text = text if self._end else self._header + text
        self._disk.pwrite(self._fd, self._path, text, self._end)
        self._end += len(text)


class Partial:
    """An unfinished file: its good prefix, and the only way to add to it.

    For one thread at a time. Made by :meth:`modelfetch.store.Store.partial`; leaving a ``with`` block closes
    it and keeps the bytes for the next run.

    Attributes:
        file: What the bytes are to become.
        length: Bytes of the good prefix.
        slot: Where the bytes lie.
    """

    def __init__(
        self, disk: Disk, file: FileSpec, slot: Slot, fd: int, journal: JournalFile, *, exclusive: bool
    ) -> None:
        """Wrap files that were opened by :mod:`modelfetch.store.resume`."""
        self.file = file
        self.length = 0
        self.slot = slot
        self._exclusive = exclusive
        self._disk = disk
        self._fd = fd
        self._journal = journal
        self._hasher: Hasher = hashlib.sha256()
        self._marked = 0
        self._origins: list[str] = []
        self._is_open = True

    def resume(self, prefix: Prefix) -> None:
        """Take over a verified prefix that is in the data file already."""
        self._hasher, self.length, self._marked = prefix.hasher, prefix.length, prefix.length
        self._origins = [checkpoint.origin for checkpoint in prefix.checkpoints]
        self._journal.resume(prefix.checkpoints[-1].end)

    @property
    def origins(self) -> frozenset[str]:
        """Who supplied bytes of the prefix, each ``kind host``; empty for a fresh one."""
        return frozenset(self._origins)

    def write(self, data: bytes | memoryview, origin: str) -> None:
        """Add bytes to the prefix.

        Args:
            data: The next bytes of the file.
            origin: Who supplied them: ``kind host``.

        Raises:
            ValueError: They reach beyond the file's size; none was written.
            StoreError: The disk refused; the prefix before them is still good.
        """
        size = len(data) if isinstance(data, bytes) else data.nbytes
        if self.length + size > self.file.size:
            raise ValueError(f"{self.file.path}: bytes beyond the size of {self.file.size}")
        if self._origins and self._origins[-1] != origin:
            self._mark()
        self._disk.pwrite(self._fd, self.slot.data, data, self.length)
        self._hasher.update(data)
        self.length += size
        if not self._origins or self._origins[-1] != origin:
            self._origins.append(origin)
        if self.length - self._marked >= INTERVAL:
            self._mark()

    def digest(self) -> str:
        """Give the SHA-256 of the prefix, in hexadecimal."""
        return self._hasher.hexdigest()

    def restart(self) -> None:
        """Begin again at offset 0, in the same file; its bytes are written over.

        Raises:
            StoreError: The disk refused.
        """
        self._forget_prefix()
        self._journal.restart()

    def renew(self) -> None:
        """Begin again in new files: this one was closed, and its data moved away.

        Raises:
            StoreError: The disk refused.
        """
        self._disk.unlink(self.slot.journal)
        self._fd, self._journal = create_files(self._disk, self.slot, self.file)
        self._is_open = True
        self._forget_prefix()

    def close(self) -> None:
        """Keep everything for the next run; a second call does nothing."""
        if self._is_open:
            with suppress(StoreError):  # then the checkpoint before is where the next run goes on
                self._mark()
            self._release()

    def discard(self) -> None:
        """Throw the bytes away."""
        self._release()
        self.forget()

    def forget(self) -> None:
        """Remove what is left of this download and of dead runs: the bytes have moved, or are unwanted.

        Best effort: the next run can cope with anything that stays.
        """
        with suppress(StoreError):
            self.slot.remove(self._disk)
        clear(self._disk, self.slot.folder, exclusive=self._exclusive)
        with suppress(StoreError):
            if self._exclusive:
                self._disk.rmdir(self.slot.folder)

    def seal(self) -> None:
        """Make a finished file ready for its final name: read-only, on the disk, closed.

        Raises:
            StoreError: The file is not the one written to, or its bytes may not have reached the disk. After
                a failed sync they are thrown away: the kernel may have dropped them and call the next sync a
                success (LWN 752063).
        """
        self._require_own_inode()
        self._disk.seal(self._fd, self.slot.data)
        try:
            self._disk.sync(self._fd, self.slot.data)
            self._close_files()
        except StoreError:
            self.discard()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _forget_prefix(self) -> None:
        self._hasher = hashlib.sha256()
        self._origins = []
        self.length = self._marked = 0

    def _mark(self) -> None:
        if self.length > self._marked:
            self._journal.append(Checkpoint(self.length, self.digest(), self._origins[-1]))
            self._marked = self.length

    def _release(self) -> None:
        if self._is_open:
            with suppress(StoreError):  # no promise was made about bytes that are not committed
                self._close_files()

    def _close_files(self) -> None:
        self._is_open = False
        with suppress(StoreError):  # a journal is never relied on
            self._journal.close()
        self._disk.close(self._fd, self.slot.data)

    def _require_own_inode(self) -> None:
        """Compare what we wrote to with what has its name: only inodes of our own get a final name."""
        ours = self._disk.fstat(self._fd, self.slot.data)
        named = self._disk.lstat(self.slot.data)
        same = named is not None and (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)
        if not same or ours.st_size != self.file.size:
            raise StoreError(
                f"{sanitise(str(self.slot.data))} was changed by something else during the download",
                hint="Keep other programs out of the cache, then run the command again.",
            )


def create_files(disk: Disk, slot: Slot, file: FileSpec) -> tuple[int, JournalFile]:
    """Make the data file, of its full size but without content, and an empty journal.

    Raises:
        StoreError: The disk refused; then neither file stays.
    """
    with ExitStack() as undo:
        data = disk.create(slot.data)
        undo.callback(slot.remove, disk)
        undo.callback(disk.close, data, slot.data)
        disk.truncate(data, slot.data, file.size)
        journal = disk.create(slot.journal)
        undo.callback(disk.close, journal, slot.journal)
        end = JournalFile(disk, slot, journal, file)
        end.restart()
        undo.pop_all()
    return data, end

"""The two open files of a download: its data and its journal.

The right to write to a data file is established on that file itself: its kernel lock is held from creation
until the file has its final name, or is closed. The blob's lock is another file, which any user may delete;
two processes could then hold a lock of the same name. The lock on the data file cannot be held twice, because
it belongs to the inode and not to a name (docs/decisions/0012).
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from modelfetch.errors import StoreError
from modelfetch.model.text import sanitize
from modelfetch.store.journal_format import Checkpoint, Piece, header, line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelfetch.model.manifest import FileSpec
    from modelfetch.store.disk import Disk
    from modelfetch.store.partial_slots import Slot

WRITE_BACK: Final = 8 << 20
"""Bytes written in a row after which their write-back is started. Measured on ext4 with 512 MiB written at
full speed: with 4 and 8 MiB the final sync took up to 29 ms, and no page was dropped. With 16 MiB the disk
once completed half of a range within the call, and the kernel dropped those pages."""


class JournalFile:
    """Appends lines to the journal of a partial. Several threads may append at once."""

    def __init__(self, disk: Disk, slot: Slot, fd: int, file: FileSpec) -> None:
        self._disk = disk
        self._path = slot.journal
        self._fd: int | None = fd
        self._header = header(file)
        self._end = 0
        self._is_truncated = False
        self._lock = threading.Lock()

    def restart(self) -> None:
        """Empty the journal but for its header."""
        self.resume(0)
        self._truncate()

    def resume(self, end: int) -> None:
        """Continue after the first ``end`` bytes. The rest is truncated when the next line is appended.

        Not before: a run that adds nothing leaves the file as it was.
        """
        self._end, self._is_truncated = end, False

    def rewrite(self, statements: Iterable[Checkpoint | Piece]) -> None:
        """Replace all lines; no other thread may be appending."""
        content = b"".join((self._header, *map(line, statements)))
        # Written over the lines of before, which are still true, and truncated after that: a run that is
        # killed at any point leaves lines that claim nearly all bytes, and at most one that is torn.
        self._disk.pwrite(self._descriptor, self._path, content, 0)
        self._end = len(content)
        self._truncate()

    def append(self, statement: Checkpoint | Piece) -> None:
        """Add a line."""
        text = line(statement)
        with self._lock:
            at = self._reserve(text)
        # Written outside the lock, so that other threads can append meanwhile; each line has its own place.
        self._disk.pwrite(self._descriptor, self._path, text, at)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        fd, self._fd = self._fd, None
        if fd is not None:
            self._disk.close(fd, self._path)

    @property
    def _descriptor(self) -> int:
        assert self._fd is not None, "the journal is closed"
        return self._fd

    def _reserve(self, text: bytes) -> int:
        """Reserve the place of a line; the lock is held."""
        if not self._is_truncated:
            self._truncate()
        at, self._end = self._end, self._end + len(text)
        return at

    def _truncate(self) -> None:
        self._disk.truncate(self._descriptor, self._path, self._end)
        self._is_truncated = True
        if not self._end:
            self._disk.pwrite(self._descriptor, self._path, self._header, 0)
            self._end = len(self._header)


class OpenFiles:
    """A slot whose files are open for reading and writing.

    Args:
        disk: The disk.
        slot: Their paths.
        file: The file the bytes belong to.
        data: Descriptor of the data file.
        journal: Descriptor of the journal.
        is_locked: Whether we hold the lock of the data file, and it really excludes others.

    Attributes:
        journal: Appends to the journal.
        is_locked: Whether we hold the lock of the data file, and it really excludes others.
    """

    def __init__(
        self, disk: Disk, slot: Slot, file: FileSpec, data: int, journal: int, *, is_locked: bool
    ) -> None:
        self.disk = disk
        self.slot = slot
        self.file = file
        self.journal = JournalFile(disk, slot, journal, file)
        self._data: int | None = data
        self.is_locked = is_locked
        self._inode = _inode(disk.fstat(data, slot.data))
        self._runs: dict[int, int] = {}
        """Bytes written in a row whose write-back has not been started: their start, by their end."""

    @classmethod
    def create(cls, disk: Disk, slot: Slot, file: FileSpec) -> Self | None:
        """Create a data file of full size without content (a hole), and an empty journal.

        Returns:
            The files; None if another process locked or replaced the new data file first.

        Raises:
            StoreError: The disk refused; then neither file stays.
        """
        with ExitStack() as undo:
            data = disk.create(slot.data)
            undo.callback(disk.close, data, slot.data)
            # Between creation and lock another process may take the file for that of a dead run.
            is_locked = disk.lock_file(data, slot.data)
            if is_locked is False or not _has_name(disk, data, slot.data):
                return None
            undo.callback(slot.remove, disk)
            disk.truncate(data, slot.data, file.size)
            journal = disk.create(slot.journal)
            undo.callback(disk.close, journal, slot.journal)
            made = cls(disk, slot, file, data, journal, is_locked=bool(is_locked))
            made.journal.restart()
            undo.pop_all()
        return made

    @classmethod
    def take_over(cls, disk: Disk, slot: Slot, file: FileSpec) -> Self | None:
        """Open the files of a dead run, to continue in them.

        Returns:
            The files; None where there are none, or where another process may still write to them. Required
            are: the lock is acquired and excludes others, the file still has its name and no second one, and
            it is owned by this user.

        Raises:
            StoreError: The disk refused.
        """
        with ExitStack() as undo:
            data = disk.open_to_update(slot.data)
            if data is None:
                return None
            undo.callback(disk.close, data, slot.data)
            # The name is compared under the lock: a faster writer may have published the file before that.
            if not disk.lock_file(data, slot.data) or not _is_ours(disk, data, slot.data):
                return None
            journal = disk.open_to_update(slot.journal)
            if journal is None:
                return None
            undo.callback(disk.close, journal, slot.journal)
            taken = cls(disk, slot, file, data, journal, is_locked=True)
            undo.pop_all()
        return taken

    @property
    def _fd(self) -> int:
        assert self._data is not None, "the data file is closed"
        return self._data

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """Write bytes of the file.

        Raises:
            StoreError: The disk refused.
        """
        self.disk.pwrite(self._fd, self.slot.data, data, offset)
        self._start_write_back(offset, offset + (len(data) if isinstance(data, bytes) else data.nbytes))

    def clone(self, source: int) -> bool:
        """Let the data file share the extents of another file of the same size; False where it cannot.

        Args:
            source: Descriptor of the other file. Later changes of it do not change the data file.

        Raises:
            StoreError: The disk refused.
        """
        if not self.disk.reflink(self._fd, self.slot.data, source):
            return False
        if self.disk.fstat(self._fd, self.slot.data).st_size == self.file.size:
            return True
        self.resize()  # the other file had another size by then; what was cloned counts as missing
        return False

    def clone_range(self, offset: int, source: int, source_offset: int, length: int) -> bool:
        """Let a range of the data file share the extents of a range of another file; False where it cannot.

        Raises:
            StoreError: The disk refused.
        """
        return self.disk.reflink_range(self._fd, self.slot.data, offset, source, source_offset, length)

    def _start_write_back(self, start: int, end: int) -> None:
        """Start the write-back of bytes just written, once there are enough in a row.

        The final sync of a large file would otherwise have to wait for all of its bytes.
        """
        # No lock: each byte is written once, so no other thread uses these two keys at the same time.
        start = self._runs.pop(start, start)
        if end - start < WRITE_BACK:
            self._runs[end] = start
            return
        # Each range once, and right after it was written. Its pages are dirty then, and the kernel drops only
        # clean ones; dropped pages would be read from the disk again for hashing.
        self.disk.start_write_back(self._fd, self.slot.data, start, end - start)

    def resize(self) -> None:
        """Give the data file its full size again.

        Raises:
            StoreError: The disk refused.
        """
        self.disk.truncate(self._fd, self.slot.data, self.file.size)

    def read_into(self, room: memoryview, start: int) -> None:
        """Fill a buffer with bytes of the file.

        Raises:
            StoreError: The disk refused, or the file has become shorter.
        """
        if not self.disk.read_at(self._fd, self.slot.data, room, start):
            raise self._changed()

    def seal(self) -> None:
        """Make the data file read-only.

        Raises:
            StoreError: The disk refused, or the name belongs to another inode than the one written to.
        """
        self._require_name()
        if self.disk.fstat(self._fd, self.slot.data).st_size != self.file.size:
            raise self._changed()
        self.disk.seal(self._fd, self.slot.data)

    def sync(self) -> None:
        """Wait until the data is on the disk.

        Raises:
            StoreError: It may not be there.
        """
        self.disk.sync(self._fd, self.slot.data)

    def release(self) -> None:
        """Prepare the data file for its rename. A locked file stays open, and so locked, until then.

        Otherwise it is closed: a network file system may report a failed write only on close, and Windows
        cannot rename an open file.

        Raises:
            StoreError: The data may not have reached the disk, or the name belongs to another file.
        """
        if not self.is_locked:
            self._close_data()
        self._require_name()

    def rename(self, target: Path) -> None:
        """Give the data file its final name, after :meth:`release`.

        Raises:
            StoreError: The disk refused, or the name belongs to another file.
        """
        self._require_name()  # once more: the sync of a large file takes long
        self.disk.rename(self.slot.data, target)

    def remove(self) -> None:
        """Remove the files if they are still ours, and close them; the next run can handle what stays."""
        if not self.is_locked:
            with suppress(StoreError):  # closed first, because Windows cannot remove an open file
                self.close()
        with suppress(StoreError):
            if self._has_name():
                self.disk.unlink(self.slot.data)
        with suppress(StoreError):
            self.disk.unlink(self.slot.journal)
        with suppress(StoreError):
            self.close()

    def close(self) -> None:
        """Close both files; a second call does nothing.

        Raises:
            StoreError: The data may not have reached the disk.
        """
        with suppress(StoreError):  # the next run verifies every line of a journal
            self.journal.close()
        self._close_data()

    def _close_data(self) -> None:
        data, self._data = self._data, None
        if data is not None:
            if self.is_locked:
                self.disk.unlock_file(data, self.slot.data)
            self.disk.close(data, self.slot.data)

    def _has_name(self) -> bool:
        found = self.disk.lstat(self.slot.data)
        return found is not None and _inode(found) == self._inode

    def _require_name(self) -> None:
        if not self._has_name():
            raise self._changed()

    def _changed(self) -> StoreError:
        return StoreError(
            f"{sanitize(str(self.slot.data))} was changed by another program during the download",
            hint="Keep other programs out of the cache, then try again.",
        )


def _inode(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _has_name(disk: Disk, fd: int, path: Path) -> bool:
    """Whether a name still belongs to an open file, and not to a file that replaced it."""
    found = disk.lstat(path)
    return found is not None and _inode(found) == _inode(disk.fstat(fd, path))


def _is_ours(disk: Disk, fd: int, path: Path) -> bool:
    """Whether a file has only this name, and is owned by this user, so that no other user can change it."""
    found = disk.fstat(fd, path)
    is_alone = found.st_nlink == 1 and (sys.platform == "win32" or found.st_uid == os.geteuid())
    return is_alone and _has_name(disk, fd, path)

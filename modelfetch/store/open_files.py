"""The two files of a download, open: its data and its journal."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import Self

from modelfetch.errors import StoreError
from modelfetch.model.manifest import FileSpec
from modelfetch.model.text import sanitise
from modelfetch.store.disk import Disk
from modelfetch.store.early_sync import EarlySync
from modelfetch.store.journal_file import JournalFile
from modelfetch.store.slots import Slot


class OpenFiles:
    """A slot whose files are open for reading and writing.

    Args:
        disk: The disk.
        slot: Where they lie.
        file: What the bytes are to become.
        data: Descriptor of the data file.
        journal: Descriptor of the journal.

    Attributes:
        journal: The end of the journal.
    """

    def __init__(self, disk: Disk, slot: Slot, file: FileSpec, data: int, journal: int) -> None:
        self.disk = disk
        self.slot = slot
        self.file = file
        self.journal = JournalFile(disk, slot, journal, file)
        self._data = data
        self._early = EarlySync(disk, data, slot.data, distrust=lambda: disk.unlink(slot.journal))

    @classmethod
    def create(cls, disk: Disk, slot: Slot, file: FileSpec) -> Self:
        """Make a data file of its full size but without content, and an empty journal.

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
            made = cls(disk, slot, file, data, journal)
            made.journal.restart()
            undo.pop_all()
        return made

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """Write bytes of the file.

        Raises:
            StoreError: The disk refused, or lost what was written before.
        """
        self.disk.pwrite(self._data, self.slot.data, data, offset)
        self._early.wrote(len(data) if isinstance(data, bytes) else data.nbytes)

    def read_into(self, room: memoryview, start: int) -> None:
        """Fill a buffer with bytes of the file.

        Raises:
            StoreError: The disk refused, or the file has become shorter.
        """
        if not self.disk.read_at(self._data, self.slot.data, room, start):
            raise self._changed()

    def read(self, start: int, end: int) -> bytes:
        """Read bytes of the file; raises like :meth:`read_into`."""
        room = bytearray(end - start)
        self.read_into(memoryview(room), start)
        return bytes(room)

    def seal(self) -> None:
        """Make the data file read-only.

        Raises:
            StoreError: The disk refused, or the file that has the name is not the one written to: only inodes
                of our own get a final name.
        """
        ours = self.disk.fstat(self._data, self.slot.data)
        named = self.disk.lstat(self.slot.data)
        same = named is not None and (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)
        if not same or ours.st_size != self.file.size:
            raise self._changed()
        self.disk.seal(self._data, self.slot.data)

    def sync(self) -> None:
        """Have the data on the disk before going on.

        Raises:
            StoreError: It may not be.
        """
        self._early.wait()
        self.disk.sync(self._data, self.slot.data)

    def close(self) -> None:
        """Close both.

        Raises:
            StoreError: The data may not have reached the disk.
        """
        self._early.stop()
        with suppress(StoreError):  # a journal is never relied on
            self.journal.close()
        self.disk.close(self._data, self.slot.data)

    def _changed(self) -> StoreError:
        return StoreError(
            f"{sanitise(str(self.slot.data))} was changed by something else during the download",
            hint="Keep other programs out of the cache, then try again.",
        )

"""The files of a download, created with the first byte: a run that receives none leaves nothing on disk.

:class:`PartialPlace` knows where the files go and creates them; :class:`LazyFiles` does so on first use.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from modelfetch.errors import StoreError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import sanitize
from modelfetch.store.files import make_directories
from modelfetch.store.partial_files import OpenFiles
from modelfetch.store.partial_slots import Slot, clear, slots
from modelfetch.store.temporary import tag

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelfetch.model.manifest import FileSpec
    from modelfetch.store.disk import Disk
    from modelfetch.store.journal_format import Checkpoint, Piece

_TRIES: Final = 10
"""Attempts to create the files while other processes create or remove the same names."""


@dataclass(frozen=True, slots=True)
class PartialPlace:
    """Where the files of a download are created.

    Attributes:
        disk: The disk.
        root: The cache root.
        folder: The partial's directory.
        exclusive: Whether the blob's lock is held and really excludes others.
    """

    disk: Disk
    root: Path
    folder: Path
    exclusive: bool

    def create(self, file: FileSpec) -> OpenFiles:
        """Create the files.

        Raises:
            StoreError: The disk refused; then neither file stays.
        """
        refused: StoreError | None = None
        for _ in range(_TRIES):
            try:
                with self.disk.reuse_directories():
                    made = self._create_once(file)
            except StoreError as error:
                if not self._is_transient(error.__cause__):
                    raise
                refused = error
                continue
            if made is not None:
                return made
        raise refused or StoreError(
            f"{sanitize(str(self.folder))} is being changed by another program",
            hint="Keep other programs out of the cache, then run the command again.",
        )

    def _create_once(self, file: FileSpec) -> OpenFiles | None:
        make_directories(self.disk, self.root, self.folder, durable=False)
        untagged = Slot(self.folder)
        # Without a lock that excludes others, a tagged name keeps two writers out of the same inode.
        is_free = self.exclusive and untagged not in slots(self.disk, self.folder)
        return OpenFiles.create(self.disk, untagged if is_free else Slot(self.folder, f"-{tag()}"), file)

    def _is_transient(self, cause: BaseException | None) -> bool:
        """Whether another process took a name first, or removed the directory because it was empty."""
        if cause is None:  # the directory was gone right after it was created
            return self.disk.lstat(self.folder) is None
        return isinstance(cause, FileExistsError | FileNotFoundError)

    def clear(self, keep: Slot | None = None) -> None:
        """Remove the files of dead runs; see :func:`modelfetch.store.partial_slots.clear`."""
        clear(self.disk, self.folder, exclusive=self.exclusive, keep=keep)


class LazyFiles:
    """The two files of a download, or none yet. Several threads may write.

    Args:
        place: Where they are created.
        file: The file the bytes belong to.
        opened: Files of an earlier run to continue in.
    """

    def __init__(self, place: PartialPlace, file: FileSpec, opened: OpenFiles | None = None) -> None:
        self.place = place
        self._file = file
        self._opened = opened
        self._creation = threading.Lock()

    @property
    def slot(self) -> Slot | None:
        """The paths of the files; None while there are none."""
        return self._opened.slot if self._opened is not None else None

    @property
    def is_locked(self) -> bool:
        """Whether the data file is open under a lock that excludes other processes."""
        return self._opened is not None and self._opened.is_locked

    def open_or_create(self) -> OpenFiles:
        """Return the open files; creates them on the first call.

        Raises:
            StoreError: The disk refused.
        """
        if self._opened is None:  # checked without the lock first: this is called for every write
            with self._creation:
                if self._opened is None:
                    self._opened = self.place.create(self._file)
        return self._opened

    def fresh(self) -> Self:
        """Return an object for the same download that has no files yet."""
        return type(self)(self.place, self._file)

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """Write bytes of the file; raises like :meth:`OpenFiles.write`."""
        self.open_or_create().write(data, offset)

    def clone(self, source: int) -> bool:
        """Take all bytes of another file; raises like :meth:`OpenFiles.clone`."""
        return self.open_or_create().clone(source)

    def clone_range(self, offset: int, source: int, source_offset: int, length: int) -> bool:
        """Take some bytes of another file; raises like :meth:`OpenFiles.clone_range`."""
        return self.open_or_create().clone_range(offset, source, source_offset, length)

    def read_into(self, room: memoryview, start: int) -> None:
        """Fill a buffer with bytes of the file; raises like :meth:`OpenFiles.read_into`."""
        self.open_or_create().read_into(room, start)

    def read(self, start: int, end: int) -> bytes:
        """Read bytes of the file; raises like :meth:`read_into`."""
        room = bytearray(end - start)
        self.read_into(memoryview(room), start)
        return bytes(room)

    def append(self, statement: Checkpoint | Piece) -> None:
        """Add a line to the journal.

        Raises:
            StoreError: The disk refused.
        """
        self.open_or_create().journal.append(statement)

    def rewrite_journal(self, statements: Iterable[Checkpoint | Piece]) -> None:
        """Replace the lines of the journal.

        Raises:
            StoreError: The disk refused.
        """
        self.open_or_create().journal.rewrite(statements)

    def restart(self) -> None:
        """Truncate the journal to its header.

        Raises:
            StoreError: The disk refused.
        """
        if self._opened is not None:
            self._opened.journal.restart()

    def remove_own(self) -> None:
        """Remove the files if they are still ours. Best effort."""
        if self._opened is not None:
            self._opened.remove()
            with suppress(StoreError):
                self.place.disk.rmdir(self.place.folder)

    def remove_all(self) -> None:
        """Remove the files, and those that dead runs left beside them. Best effort."""
        if self._opened is not None:
            self._opened.remove()
        self.place.clear()

    def close(self) -> None:
        """Close the files, if there are any.

        Raises:
            StoreError: The data may not have reached the disk.
        """
        if self._opened is not None:
            self._opened.close()

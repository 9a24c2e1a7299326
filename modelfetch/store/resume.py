"""Opening a partial: go on in an interrupted file where that is safe, else copy its bytes to one of our own.

Only inodes this process created may ever get a final name: in huggingface/huggingface_hub#4306 a slow process
went on appending to a file another one had published. The exception is a dead run's file, when a lock proves
that its writer is gone: one that excludes others on a local file system, on a file that is ours alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from modelfetch.model.manifest import FileSpec
from modelfetch.store.disk import Disk
from modelfetch.store.files import BLOCK, closing, make_directories
from modelfetch.store.hashing import Hashing
from modelfetch.store.journal import Journal, is_foreign, parse
from modelfetch.store.open_files import OpenFiles
from modelfetch.store.owner import tag
from modelfetch.store.partial import Partial
from modelfetch.store.prefix import Claim, claims
from modelfetch.store.slots import Slot, clear, read_journal, slots
from modelfetch.values import dataclass

Cancelled = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Opening:
    """What is needed to open a partial.

    Attributes:
        disk: The disk.
        file: What the partial is to become.
        hashing: Threads that hash.
        exclusive: Whether the blob's lock is held and really excludes others.
        cancelled: Asked while earlier bytes are copied. Once it says yes the partial opens without any; on
            disk nothing is lost.
    """

    disk: Disk
    file: FileSpec
    hashing: Hashing
    exclusive: bool
    cancelled: Cancelled

    def open(self, root: Path, folder: Path) -> Partial:
        """Open the partial of a file, with all bytes of earlier runs.

        Args:
            root: The cache root.
            folder: The partial's directory.

        Raises:
            StoreError: The disk refused.
        """
        disk = self.disk
        make_directories(disk, root, folder, durable=False)
        plain = Slot(folder)
        if self.exclusive and (taken := self._take_over(plain)):
            return taken
        found = slots(disk, folder)
        own = plain if self.exclusive and plain not in found else Slot(folder, f"-{tag()}")
        partial = self._wrap(OpenFiles.create(disk, own, self.file))
        try:
            self._copy_best(partial, found)
        except BaseException:
            partial.close()
            raise
        if not self.cancelled():
            clear(disk, folder, exclusive=self.exclusive, keep=own)
        return partial

    def _wrap(self, files: OpenFiles) -> Partial:
        return Partial(files, self.hashing, exclusive=self.exclusive)

    def _take_over(self, slot: Slot) -> Partial | None:
        """Go on in a dead run's file; None where there is none that may be taken."""
        disk = self.disk
        with ExitStack() as undo:
            data = disk.open_to_update(slot.data)
            if data is None:
                return None
            undo.callback(disk.close, data, slot.data)
            journal = disk.open_to_update(slot.journal) if _is_ours(disk, data, slot.data) else None
            if journal is None:
                return None
            undo.callback(disk.close, journal, slot.journal)
            content = read_journal(disk, slot)
            if is_foreign(content):
                return None
            disk.truncate(data, slot.data, self.file.size)
            partial = self._wrap(OpenFiles(disk, slot, self.file, data, journal))
            partial.resume(parse(content, self.file))
            undo.pop_all()
            return partial

    def _copy_best(self, partial: Partial, found: list[Slot]) -> None:
        """Copy the bytes of the file that claims most, or of the next one where its very start is false."""
        journals = [(parse(read_journal(self.disk, slot), self.file), slot) for slot in found]
        journals = [pair for pair in journals if pair[0].claimed]
        for journal, slot in sorted(journals, key=lambda pair: pair[0].claimed, reverse=True):
            partial.restart()
            self._copy(partial, slot, journal)
            partial.digest()
            if partial.length or partial.received == journal.claimed:
                return

    def _copy(self, partial: Partial, slot: Slot, journal: Journal) -> None:
        fd = self.disk.open_to_read(slot.data)
        if fd is None:
            return
        with closing(self.disk, fd, slot.data):
            for claim in claims(journal):
                partial.expect(claim)  # its writer may live, and begin again while we read
                self._copy_claim(partial, claim, fd, slot.data)
        if self.cancelled():
            partial.restart()

    def _copy_claim(self, partial: Partial, claim: Claim, fd: int, path: Path) -> None:
        room, position = memoryview(bytearray(BLOCK)), claim.start
        while position < claim.end and not self.cancelled():
            block = room[: claim.end - position]
            if not self.disk.read_at(fd, path, block, position):
                return
            partial.put(position, block, claim.origin)
            position += len(block)


def _is_ours(disk: Disk, fd: int, path: Path) -> bool:
    """Whether a file has this one name, and no other user can change it behind our back as its owner."""
    found = disk.fstat(fd, path)
    return found.st_nlink == 1 and (sys.platform == "win32" or found.st_uid == os.geteuid())

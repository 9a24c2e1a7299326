"""Opens a partial: continues in an interrupted file where that is safe, and copies its bytes otherwise.

Only inodes that this process created may get a final name. In huggingface/huggingface_hub#4306 a slow process
kept appending to a file that another one had published. The one exception is the file of a dead run, if a
lock on that file proves that its writer is gone: :meth:`modelfetch.store.partial_files.OpenFiles.take_over`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.lazy_dataclass import dataclass
from modelfetch.store.files import BLOCK, closing, has_real_directory
from modelfetch.store.journal_format import Journal, is_foreign, parse
from modelfetch.store.lazy_files import LazyFiles, PartialPlace
from modelfetch.store.partial import Partial
from modelfetch.store.partial_files import OpenFiles
from modelfetch.store.partial_slots import Slot, read_journal, slots
from modelfetch.store.prefix import Claim, claims

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec
    from modelfetch.store.disk import Disk
    from modelfetch.store.hashing import Hashing

Cancelled = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Opening:
    """Opens the partial of one file.

    Attributes:
        disk: The disk.
        file: The file to download.
        hashing: The hashing threads.
        exclusive: Whether the blob's lock is held and really excludes others.
        cancelled: Called while earlier bytes are copied. Once it returns True the partial opens empty;
            nothing on disk is lost.
    """

    disk: Disk
    file: FileSpec
    hashing: Hashing
    exclusive: bool
    cancelled: Cancelled

    def open(self, root: Path, folder: Path) -> Partial:
        """Open the partial with all bytes of earlier runs. If there are none, nothing is created.

        Args:
            root: The cache root.
            folder: The partial's directory.

        Raises:
            StoreError: The disk refused.
        """
        place = PartialPlace(self.disk, root, folder, self.exclusive)
        if not has_real_directory(self.disk, root, folder):
            return self._make_partial(LazyFiles(place, self.file))
        if self.exclusive and (taken := self._take_over(place)):
            return taken
        found = slots(self.disk, folder)
        files = LazyFiles(place, self.file)
        partial = self._make_partial(files)
        try:
            self._copy_best(partial, found)
        except BaseException:
            partial.close()
            raise
        if not self.cancelled():  # a cancelled copy was discarded: the old files are all there is
            place.clear(keep=files.slot)
        return partial

    def _make_partial(self, files: LazyFiles) -> Partial:
        return Partial(self.file, files, self.hashing)

    def _take_over(self, place: PartialPlace) -> Partial | None:
        """Continue in the file of a dead run; None where there is none that may be taken over."""
        slot = Slot(place.folder)
        opened = OpenFiles.take_over(self.disk, slot, self.file)
        if opened is None:
            return None
        try:
            content = read_journal(self.disk, slot)
            if is_foreign(content):  # a newer version's: neither its data nor its journal may be changed
                opened.close()
                return None
            opened.resize()  # something may have truncated it; claims about the hole are then refuted
            journal = parse(content, self.file)
            if journal.end:
                opened.journal.resume(journal.end)
            else:
                opened.journal.restart()
        except BaseException:
            opened.close()
            raise
        partial = self._make_partial(LazyFiles(place, self.file, opened))
        partial.resume(journal)
        return partial

    def _copy_best(self, partial: Partial, found: list[Slot]) -> None:
        """Copy the file that claims the most bytes; if its first claim is false, try the next one."""
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
                partial.expect(claim)  # its writer may be alive, and may restart while we read
                self._copy_claim(partial, claim, fd, slot.data)
        if self.cancelled():  # a half-copied claim could not be verified
            partial.restart()

    def _copy_claim(self, partial: Partial, claim: Claim, fd: int, path: Path) -> None:
        room, position = memoryview(bytearray(BLOCK)), claim.start
        while position < claim.end and not self.cancelled():
            block = room[: claim.end - position]
            if not self.disk.read_at(fd, path, block, position):
                return
            partial.put(position, block, claim.origin)
            position += len(block)

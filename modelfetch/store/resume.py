"""Opening a partial: go on in an interrupted file where that is safe, else copy its bytes to one of our own.

Only inodes this process created may ever get a final name: in huggingface/huggingface_hub#4306 a slow process
went on appending to a file another one had published. The exception is a dead run's file, when a lock proves
that its writer is gone: one that excludes others on a local file system, on a file that is ours alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial as bind
from pathlib import Path

from modelfetch.model.manifest import FileSpec
from modelfetch.store.disk import Disk
from modelfetch.store.files import closing, make_directories
from modelfetch.store.hashing import Hashing
from modelfetch.store.journal import Journal, Piece, is_foreign, parse
from modelfetch.store.journal_file import JournalFile
from modelfetch.store.owner import tag
from modelfetch.store.partial import Partial, create_files
from modelfetch.store.prefix import Prefix, blocks, good_pieces, rehash
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
        cancelled: Asked while earlier bytes are read. Once it says yes the partial opens with those checked
            so far; on disk nothing is lost.
    """

    disk: Disk
    file: FileSpec
    hashing: Hashing
    exclusive: bool
    cancelled: Cancelled

    def open(self, root: Path, folder: Path) -> Partial:
        """Open the partial of a file, with all good bytes of earlier runs.

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
        partial = self._wrap(own, create_files(disk, own, self.file))
        try:
            self._copy_best(partial, found)
        except BaseException:
            partial.close()
            raise
        if not self.cancelled():
            clear(disk, folder, exclusive=self.exclusive, keep=own)
        return partial

    def _wrap(self, slot: Slot, files: tuple[int, JournalFile]) -> Partial:
        return Partial(self.disk, self.file, slot, files, self.hashing, exclusive=self.exclusive)

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
            partial = self._wrap(slot, (data, JournalFile(disk, slot, journal, self.file)))
            self._restore(partial, *self._check(data, slot, parse(content, self.file)))
            undo.pop_all()
            return partial

    def _restore(self, partial: Partial, prefix: Prefix, pieces: list[Piece]) -> None:
        """Have a partial begin with what is good of its own files."""
        if prefix.checkpoints:
            partial.resume(prefix)
        elif not self.cancelled():
            partial.restart()
        if not self.cancelled():
            for piece in pieces:
                partial.adopt(piece)

    def _check(self, fd: int, slot: Slot, journal: Journal) -> tuple[Prefix, list[Piece]]:
        """Find the good prefix of a data file, and the good pieces behind it."""
        read = bind(self.disk.read, fd, slot.data)
        prefix = rehash(read, journal.checkpoints, self.cancelled)
        pieces = good_pieces(self._reader(fd, slot), journal.pieces_behind(prefix.length), self.cancelled)
        return prefix, list(pieces)

    def _reader(self, fd: int, slot: Slot) -> Callable[[int, int], Iterable[bytes]]:
        def read(start: int, end: int) -> Iterable[bytes]:
            self.disk.seek(fd, slot.data, start)
            return blocks(bind(self.disk.read, fd, slot.data), end - start, self.cancelled)

        return read

    def _copy_best(self, partial: Partial, found: list[Slot]) -> None:
        """Copy the good bytes of the file that claims most, or of the next one where that claim is false."""
        journals = [(parse(read_journal(self.disk, slot), self.file), slot) for slot in found]
        for journal, slot in sorted(journals, key=lambda pair: pair[0].claimed, reverse=True):
            if journal.claimed and not partial.received:
                self._copy(partial, slot, journal)

    def _copy(self, partial: Partial, slot: Slot, journal: Journal) -> None:
        fd = self.disk.open_to_read(slot.data)
        if fd is None:
            return
        with closing(self.disk, fd, slot.data):
            prefix, pieces = self._check(fd, slot, journal)
            read = self._reader(fd, slot)
            for checkpoint in prefix.checkpoints:
                for block in read(partial.length, checkpoint.length):
                    partial.write(block, checkpoint.origin)
            if not self.cancelled() and partial.digest() != prefix.hasher.hexdigest():
                partial.restart()  # its writer lives, and began again while we read
                return
            for piece in pieces:
                _copy_piece(partial, piece, read)


def _copy_piece(partial: Partial, piece: Piece, read: Callable[[int, int], Iterable[bytes]]) -> None:
    position = max(piece.start, partial.length)
    for block in read(position, piece.end):
        partial.put(position, block, piece.origin)
        position += len(block)


def _is_ours(disk: Disk, fd: int, path: Path) -> bool:
    """Whether a file has this one name, and no other user can change it behind our back as its owner."""
    found = disk.fstat(fd, path)
    return found.st_nlink == 1 and (sys.platform == "win32" or found.st_uid == os.geteuid())

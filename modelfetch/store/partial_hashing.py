"""Hashes a download while it is written: which bytes are there, and the SHA-256 of those without a gap.

The hash covers the prefix: the bytes from offset 0 up to the first gap. Who hashes depends on the bytes:

* Data that continues the hashed prefix: its writer, from the memory it was written from.
* All other bytes, which came out of order or in an earlier run: a thread of
  :class:`modelfetch.store.hashing.Hashing`, which reads them back from the page cache, one block at a time.
  For a small file, or in a store without hashing threads, the writer reads them back.

Hashing from memory requires the effective lock of the data file: then no other process writes to it, and the
bytes of the file are those that were written. Without that proof everything is read back, because the page
cache also shows what another process wrote there.

Every byte that is hashed passes ``_advance`` once, in order; bytes of a false claim pass again when they have
been fetched again. So the hasher can take the digests of chunks at the same time.

Two locks guard the state:

* ``_state`` (a condition) guards the extents, the number of writers, and the flags. It is held for a few
  instructions only, never during disk access or hashing, so writers do not wait for each other.
* ``_turn`` serializes everything that advances or replaces the prefix hash. Its holder hashes a block and may
  read from the disk or append to the journal.

A thread that needs both takes ``_turn`` first. No thread takes ``_turn`` while it holds ``_state``: the
writers would then wait for a whole block to be hashed. ``Prefix.length`` may be read without a lock, because
it is a single integer; a stale value only means that a thread is woken once too often or a block too late.
"""

from __future__ import annotations

import math
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from modelfetch.errors import StoreError
from modelfetch.store.extents import Extent, Extents
from modelfetch.store.files import BLOCK
from modelfetch.store.journal_format import Journal, Piece, Pieces
from modelfetch.store.prefix import Claim, Prefix, claims

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from modelfetch.ipfs.file_tree import Built
    from modelfetch.model.manifest import FileSpec
    from modelfetch.store.hashing import Hashing
    from modelfetch.store.lazy_files import LazyFiles

INLINE: Final = 1 << 20
"""Bytes of the largest file that no thread hashes: such a file is complete before a thread has started."""
WAKE: Final = 1 << 20
"""Bytes that must wait to be hashed before a thread is woken."""
LAG: Final = 16 << 20
"""Bytes the hash may be behind the prefix. Bytes written beyond that get piece lines in the journal, like
bytes behind a gap: a killed run would otherwise lose all that was written and not hashed."""


class PartialHasher:
    """The bytes of one partial that are there, and their hash as far as it has been computed.

    Args:
        file: The file the bytes belong to.
        files: Where they are written, and read back from.
        hashing: The store's hashing threads.
    """

    def __init__(self, file: FileSpec, files: LazyFiles, hashing: Hashing) -> None:
        self._file = file
        self._files = files
        self._new_hasher = partial(hashing.new_hasher, file.size)
        self._hashing = hashing if hashing.has_threads and file.size > INLINE else None
        self._state = threading.Condition()
        self._turn = threading.Lock()
        self._is_open = True
        self._writers = 0
        self._forget_bytes()

    def _forget_bytes(self) -> None:
        self._extents = Extents()
        self._pieces = Pieces()
        self._prefix = Prefix(self._files, self._files.read, self._new_hasher())
        self._is_scheduled = False
        self._error: BaseException | None = None

    # What is there

    def resume(self, journal: Journal) -> None:
        """Count the bytes that a journal claims as there; each claim is checked when its bytes are hashed."""
        for claim in claims(journal):
            self._extents.add(claim.start, claim.end, claim.origin)
            self._prefix.expect(claim)
        if journal.checkpoints:
            self._prefix.skip_lines(journal.checkpoints[-1].length)
        self.schedule()

    def expect(self, claim: Claim) -> None:
        """Check a claim about bytes that are written next; if it is false, they count as missing again."""
        self._prefix.expect(claim)

    @property
    def length(self) -> int:
        """Bytes of the prefix."""
        with self._state:
            return self._extents.prefix_length

    @property
    def received(self) -> int:
        """Bytes that are there in all."""
        return self._extents.total

    @property
    def missing(self) -> list[tuple[int, int]]:
        """The gaps, in order, each as its start and end."""
        with self._state:
            return list(self._extents.missing(self._file.size))

    @property
    def origins(self) -> frozenset[str]:
        """The sources of the bytes that are there, each ``kind host``."""
        with self._state:
            return self._extents.origins

    @property
    def parts(self) -> list[tuple[int, int, str]]:
        """The bytes that are there, in order, each range as its start, end and source: ``kind host``."""
        with self._state:
            return self._extents.parts

    # Writing

    def begin_write(self, start: int, end: int) -> None:
        """Check that a range may be written, and keep :meth:`stop` waiting until :meth:`end_write`.

        Raises:
            ValueError: Some of the range is there already, or the partial is closed.
            StoreError: An earlier block could not be hashed.
        """
        with self._state:
            if self._error is not None:
                raise self._error
            if not self._is_open:
                raise ValueError(f"{self._file.path}: written to after it was closed")
            self._extents.require_missing(start, end)
            self._writers += 1

    def add(self, offset: int, end: int, data: bytes | memoryview, origin: str) -> None:
        """Record bytes that were just written, and hash them if they continue the prefix.

        After the write, not before: a checkpoint of the journal must not claim bytes that the disk refused.

        Raises:
            StoreError: The journal or the data could not be written or read.
        """
        with self._state:
            self._extents.add(offset, end, origin)
            front = self._extents.prefix_length
        if front < end or front - self._prefix.length > LAG:
            self._append_piece(self._pieces.put(offset, data, origin))
        if self._files.is_locked:
            self._hash_from_memory(offset, data, origin)
        if self._hashing is None:
            self.hash_rest()

    def add_cloned(self, start: int, end: int, origin: str) -> None:
        """Record bytes that the data file got without a write; they are hashed later.

        The journal claims none of them before that: if the run is killed, they are cloned again.
        """
        with self._state:
            self._extents.add(start, end, origin)

    def end_write(self) -> bool:
        """End what :meth:`begin_write` began.

        Returns:
            Whether enough bytes wait to be hashed to :meth:`schedule` a thread, or the file is complete.
        """
        with self._state:
            self._writers -= 1
            if self._is_hashed:  # otherwise the thread that hashes the rest notifies
                self._state.notify_all()
            front = self._extents.prefix_length
            return front - self._prefix.length >= WAKE or front == self._file.size

    def _append_piece(self, piece: Piece | None) -> None:
        if piece is not None:
            self._files.append(piece)

    # Hashing

    @property
    def hexdigest(self) -> str:
        """The SHA-256 of the bytes hashed so far, in hexadecimal."""
        return self._prefix.hexdigest()

    def tree(self) -> Built | None:
        """Build the UnixFS tree of what is hashed; None if chunks were not hashed. No bytes may follow."""
        with self._turn:
            return self._prefix.tree()

    def wait(self, seconds: float) -> bool:
        """Wait until the prefix is hashed, for at most that many seconds; whether it is.

        Raises:
            StoreError: The bytes could not be read again.
        """
        self.schedule()
        if self._hashing is None:
            self.hash_rest(seconds)
        with self._state:
            self._state.wait_for(lambda: self._is_hashed or self._error, seconds)
            if self._error is not None:
                raise self._error
            return self._is_hashed

    @property
    def _is_hashed(self) -> bool:
        """Whether the whole prefix is hashed, or the partial is closed and nothing more will be."""
        return self._prefix.length == self._extents.prefix_length or not self._is_open

    def schedule(self) -> None:
        """Have a thread hash the rest of the prefix, unless one is scheduled already."""
        if self._hashing is None:
            return
        with self._state:
            if self._is_scheduled or self._is_hashed:
                return
            self._is_scheduled = True
        self._hashing.follow(self)

    def hash_on(self, buffer: memoryview) -> bool:
        """Hash the next bytes of the prefix; see :class:`modelfetch.store.hashing.Follower`."""
        with self._turn:
            error = self._hash_block(buffer)
            with self._state:
                self._error = self._error or error
                # Decided under the lock: a writer sees the job as scheduled, or schedules it again itself.
                self._is_scheduled = self._is_open and self._error is None and not self._is_hashed
                self._state.notify_all()
                return self._is_scheduled

    def _hash_block(self, buffer: memoryview) -> BaseException | None:
        with self._state:
            start = self._prefix.length
            extent = self._extents.covering(start) if self._is_open else None
            if extent is None:
                return None
            origin = extent.origin
            block = buffer[: min(extent.end, self._prefix.next_stop) - start]
        try:
            self._files.read_into(block, start)
            self._advance(block, origin)
        except BaseException as error:  # raised by the next write, or by the wait for the digest
            return error
        return None

    def _hash_from_memory(self, offset: int, data: bytes | memoryview, origin: str) -> None:
        """Hash data just written if it continues the prefix."""
        # Compared before the lock as well: most writes are ahead of the prefix, and would wait in vain.
        if offset == self._prefix.length:
            with self._turn:
                if offset == self._prefix.length:
                    self._advance(data, origin)

    def hash_rest(self, seconds: float = math.inf) -> None:
        """Hash the rest of the prefix in this thread, for at most that many seconds."""
        if not self._is_hashed:
            buffer, until = memoryview(bytearray(BLOCK)), time.monotonic() + seconds
            while self.hash_on(buffer) and time.monotonic() < until:
                pass

    def _advance(self, data: bytes | memoryview, origin: str) -> None:
        """Add data to the prefix hash, with ``_turn`` held; bytes of a false claim become missing again."""
        refuted = self._prefix.add(data, origin)
        if refuted is not None:
            with self._state:
                self._extents.remove(*refuted)

    # Endings

    def restart(self) -> None:
        """Restart at offset 0 in the same files; no thread may be writing.

        Raises:
            StoreError: The disk refused.
        """
        with self._turn:
            self._forget_bytes()
            self._files.restart()

    def discard(self, ranges: Iterable[tuple[int, int]], check: Callable[[], None]) -> None:
        """Count bytes as missing again, and hash the rest from the start; no thread may be writing.

        Args:
            ranges: Their starts and ends.
            check: Called for each block of the rest that is read; what it raises ends the call, and then the
                journal still says what it said before.

        Raises:
            StoreError: The disk refused.
        """
        with self._turn:
            with self._state:
                for start, end in ranges:
                    self._extents.remove(start, end)
                kept = tuple(self._extents)
            # The lines of the journal are about the bytes of before, and would be refuted by the next run.
            pieces = Pieces()
            claimed = [each for extent in kept for each in self._claims_of(extent, pieces, check)]
            self._files.rewrite_journal(claimed)
            self._prefix, self._pieces = Prefix(self._files, self._files.read, self._new_hasher()), pieces
        self.schedule()

    def _claims_of(self, extent: Extent, pieces: Pieces, check: Callable[[], None]) -> Iterator[Piece]:
        """Yield what the journal is to say about bytes that are there, those of the prefix as well.

        The prefix is hashed again, which takes a while: without these lines, a run that ends before would
        lose what is not hashed by then.
        """
        for start in range(extent.start, extent.end, BLOCK):
            check()
            block = self._files.read(start, min(start + BLOCK, extent.end))
            piece = pieces.put(start, block, extent.origin)
            if piece is not None:
                yield piece

    def reopen(self, files: LazyFiles) -> None:
        """Restart at offset 0 in other files, after :meth:`stop`."""
        with self._turn:
            self._files = files
            self._forget_bytes()
            self._is_open = True

    def stop(self) -> bool:
        """Accept no more bytes, and wait for writes and hashing under way; False if it was stopped before."""
        with self._state:
            was_open, self._is_open = self._is_open, False
            self._state.wait_for(lambda: not self._writers)
        with self._turn:  # the files may be closed once no thread hashes from them
            return was_open

    def append_rest(self) -> None:
        """Write a checkpoint and all pieces to the journal, so that the next run finds every byte."""
        with suppress(StoreError):  # the next run then resumes from the lines that were written before
            self._prefix.checkpoint()
            for piece in self._pieces.unfinished():
                self._files.append(piece)

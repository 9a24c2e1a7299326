"""A download under way: bytes written once, each at its place, hashed from the front on as they land."""

from __future__ import annotations

import math
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from modelfetch.errors import StoreError
from modelfetch.store.extents import Extents
from modelfetch.store.files import BLOCK
from modelfetch.store.journal import Journal, Piece, Pieces
from modelfetch.store.prefix import Claim, Prefix, claims

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec
    from modelfetch.store.hashing import Hashing
    from modelfetch.store.lazy_files import LazyFiles
    from modelfetch.store.partial_slots import Slot

INLINE: Final = 1 << 20
"""Bytes of the largest file that is hashed as it is written: it is over before a thread has begun."""
WAKE: Final = 1 << 20
"""Bytes worth waking a hashing thread for. Less at once is a slow download: whoever writes hashes, so that
what is told to be there is in the journal."""
LAG: Final = 16 << 20
"""Bytes that may wait to be hashed; what comes beyond them gets journal lines like what is ahead."""
CLOSE_SECONDS: Final = 0.25
"""How long closing may hash on, so that the next run finds all bytes in the journal."""
_LOST: Final = (
    "This file's bytes may not be on the disk and were removed; see to the disk, then run the command again."
)


class Partial:
    """An unfinished file: which of its bytes are there, and the only way to add to them.

    Bytes may come in any order and from several threads, each of them once. They are hashed from the front
    on: by threads of the store or, where it has none and for small files, by whoever writes. Made by
    :meth:`modelfetch.store.Store.partial`; leaving a ``with`` block closes it and keeps the bytes for the
    next run.

    Attributes:
        file: What the bytes are to become.
    """

    def __init__(self, file: FileSpec, files: LazyFiles, hashing: Hashing) -> None:
        """Wrap what was opened by :mod:`modelfetch.store.resume`."""
        self.file = file
        self._files = files
        self._hashing = hashing if hashing.is_on and self.file.size > INLINE else None
        self._state = threading.Condition()
        self._turn = threading.Lock()
        self._is_open = True
        self._writers = 0
        self._count_in()
        self._forget_bytes()

    def _count_in(self) -> None:
        if self._hashing is not None:
            self._hashing.begin()

    def _forget_bytes(self) -> None:
        self._extents = Extents()
        self._pieces = Pieces()
        self._prefix = Prefix(self._files, self._files.read)
        self._is_followed = False
        self._error: BaseException | None = None

    def resume(self, journal: Journal) -> None:
        """Go on with what lies in the data file already, as far as its journal turns out to be right."""
        for claim in claims(journal):
            self._extents.add(claim.start, claim.end, claim.origin)
            self._prefix.expect(claim)
        if journal.checkpoints:
            self._prefix.skip_lines(journal.checkpoints[-1].length)
        self._follow()

    def expect(self, claim: Claim) -> None:
        """Check bytes that are going to be written now; those of a false claim are missing again."""
        self._prefix.expect(claim)

    @property
    def slot(self) -> Slot:
        """Where the bytes lie; asked for when there are some."""
        slot = self._files.slot
        assert slot is not None, "no byte was written"
        return slot

    @property
    def length(self) -> int:
        """Bytes of the prefix: those that are there from the start without a gap."""
        with self._state:
            return self._extents.front

    @property
    def received(self) -> int:
        """Bytes that are there in all."""
        return self._extents.total

    @property
    def missing(self) -> list[tuple[int, int]]:
        """The gaps, in order, each as its start and end."""
        with self._state:
            return list(self._extents.missing(self.file.size))

    @property
    def origins(self) -> frozenset[str]:
        """Who supplied bytes that are there, each ``kind host``; empty for a fresh one."""
        with self._state:
            return self._extents.origins

    def put(self, offset: int, data: bytes | memoryview, origin: str) -> None:
        """Add bytes. Several threads may at once, at different places.

        Args:
            offset: Where they belong.
            data: Bytes of the file, none of which is there yet.
            origin: Who supplied them: ``kind host``.

        Raises:
            ValueError: They reach beyond the file's size, or are there already, or the partial was closed;
                none was written.
            StoreError: The disk refused; what was there before is still good.
        """
        end = offset + (len(data) if isinstance(data, bytes) else data.nbytes)
        if end > self.file.size:
            raise ValueError(f"{self.file.path}: bytes beyond the size of {self.file.size}")
        self._begin_to_write(offset, end)
        try:
            self._files.write(data, offset)
            with self._state:
                self._extents.add(offset, end, origin)
                front = self._extents.front
            if front < end or front - self._prefix.length > LAG:
                self._note_piece(self._pieces.put(offset, data, origin))
            if self._hashing is None or self._hashing.is_crowded or end - offset < WAKE:
                self._hash_now(offset, data, origin)
        finally:
            is_due = self._end_to_write()
        if is_due:
            self._follow()

    def _begin_to_write(self, start: int, end: int) -> None:
        """Keep the files open, and make sure that the place is free, while bytes are written."""
        with self._state:
            if self._error is not None:
                raise self._error
            if not self._is_open:
                raise ValueError(f"{self.file.path}: written to after it was closed")
            self._extents.require_missing(start, end)
            self._writers += 1

    def _end_to_write(self) -> bool:
        """Let others close the files; whether so much waits to be hashed that it is worth a thread."""
        with self._state:
            self._writers -= 1
            if self._is_hashed:  # else whoever hashes the rest will say so
                self._state.notify_all()
            front = self._extents.front
            return front - self._prefix.length >= WAKE or front == self.file.size

    def _note_piece(self, piece: Piece | None) -> None:
        if piece is not None:
            self._files.append(piece)

    # Hashing

    def digest(self) -> str:
        """Give the SHA-256 of the prefix, in hexadecimal, when all of it is hashed.

        Raises:
            StoreError: The bytes could not be read again.
        """
        while not self.wait(1.0):
            pass
        return self._prefix.hexdigest()

    def wait(self, seconds: float) -> bool:
        """Wait until the prefix is hashed, but no longer than this.

        Returns:
            Whether it is.

        Raises:
            StoreError: The bytes could not be read again.
        """
        self._follow()
        if self._hashing is None:
            self._hash_rest(seconds)
        with self._state:
            self._state.wait_for(lambda: self._is_hashed or self._error, seconds)
            if self._error is not None:
                raise self._error
            return self._is_hashed

    @property
    def _is_hashed(self) -> bool:
        """Whether all of the prefix is hashed, or none of it will be any more."""
        return self._prefix.length == self._extents.front or not self._is_open

    def _follow(self) -> None:
        """Have the prefix hashed by a thread."""
        if self._hashing is None:
            return
        with self._state:
            if self._is_followed or self._is_hashed:
                return
            self._is_followed = True
        self._hashing.follow(self)

    def hash_on(self, buffer: memoryview) -> bool:
        """Hash the next bytes of the prefix; see :class:`modelfetch.store.hashing.Follower`."""
        with self._turn:
            error = self._hash_block(buffer)
            with self._state:
                self._error = self._error or error
                self._is_followed = self._is_open and self._error is None and not self._is_hashed
                self._state.notify_all()
                return self._is_followed

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
            self._take_in(block, origin)
        except BaseException as error:  # handed over to whoever writes, or waits for the digest
            return error
        return None

    def _hash_now(self, offset: int, data: bytes | memoryview, origin: str) -> None:
        """Hash what was just written, if it is its turn; without threads, also what lay behind it already."""
        if offset == self._prefix.length:  # looked at first: most are ahead, and would wait for who hashes
            with self._turn:
                if offset == self._prefix.length:
                    self._take_in(data, origin)
        if self._hashing is None:
            self._hash_rest()

    def _hash_rest(self, seconds: float = math.inf) -> None:
        """Hash what is there of the prefix, for at most some time."""
        if not self._is_hashed:
            room, until = memoryview(bytearray(BLOCK)), time.monotonic() + seconds
            while self.hash_on(room) and time.monotonic() < until:
                pass

    def _take_in(self, data: bytes | memoryview, origin: str) -> None:
        refuted = self._prefix.take_in(data, origin)
        if refuted is not None:
            with self._state:
                self._extents.remove(*refuted)

    # Endings

    def restart(self) -> None:
        """Begin again at offset 0, in the same file; its bytes are written over.

        Nobody else may write meanwhile.

        Raises:
            StoreError: The disk refused.
        """
        with self._turn:
            self._forget_bytes()
            self._files.restart()

    def renew(self) -> None:
        """Begin again in new files: the data was moved away after :meth:`release`."""
        self._files.drop()
        with self._turn:
            self._files = self._files.anew()
            self._forget_bytes()
            self._count_in()
            self._is_open = True

    def close(self) -> None:
        """Keep everything for the next run, and no files for nothing; a second call does nothing."""
        self._hash_rest(CLOSE_SECONDS)
        if self._stop():
            self._note_rest()
        if self.received:
            with suppress(StoreError):  # no promise was made about bytes that are not committed
                self._files.close()
        else:
            self._files.drop()

    def _note_rest(self) -> None:
        """Have the journal tell of all bytes: what is said to be kept is what it claims."""
        with suppress(StoreError):  # then the line before is where the next run goes on
            self._prefix.mark()
            for piece in self._pieces.rest():
                self._files.append(piece)

    def _stop(self) -> bool:
        """Let nobody begin to write or hash any more, and wait for those who do; False if it was closed."""
        with self._state:
            was_open, self._is_open = self._is_open, False
            self._state.wait_for(lambda: not self._writers)
        if was_open and self._hashing is not None:
            self._hashing.end()
        with self._turn:
            return was_open

    def forget(self) -> None:
        """Remove what is left of this download and of dead runs: the bytes have moved, or are unwanted.

        Best effort: the next run can cope with anything that stays.
        """
        self._stop()
        self._files.forget()

    def _thrown_away(self, error: StoreError) -> StoreError:
        """Remove bytes that cannot be relied on; the error that says so."""
        self._stop()
        self._files.drop()
        return StoreError(error.message, hint=_LOST)

    def seal(self) -> None:
        """Make a finished file ready for its final name: read-only, and on the disk.

        Raises:
            StoreError: The file is not the one written to, or its bytes may not have reached the disk. After
                a failed sync they are thrown away: the kernel may have dropped them and call the next sync a
                success (LWN 752063).
        """
        files = self._files.begin()  # no byte of an empty file was written
        files.seal()
        try:
            files.sync()
        except StoreError as error:
            raise self._thrown_away(error) from error

    def release(self) -> Path:
        """Let nobody write any more, so that the data can be moved; it stays ours until then.

        Returns:
            The data file.

        Raises:
            StoreError: As for :meth:`seal`.
        """
        self._stop()
        files = self._files.begin()
        try:
            files.release()
        except StoreError as error:
            raise self._thrown_away(error) from error
        return files.slot.data

    def rename(self, target: Path) -> None:
        """Give the data its final name, after :meth:`release`.

        Raises:
            StoreError: The disk refused, or the file that has the name is not the one written to.
        """
        try:
            self._files.begin().rename(target)
        except StoreError:
            self._note_rest()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

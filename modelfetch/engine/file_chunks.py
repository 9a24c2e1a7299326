"""What is known about the chunks of one file, so that the bytes of every source are checked as they arrive.

The table of chunks comes from a chunk map. There are two kinds:

* A proven table belongs to the CID that the manifest pins. A source that sends a chunk that does not fit is
  wrong, and is discarded at once.
* Any other table, like that of a file on this disk, is a hint. If a source sends a chunk that does not fit,
  either of the two may be wrong. The table is then dropped, and the SHA-256 of the whole file decides.

Whatever the chunks say, a file gets its name only if its SHA-256 is the pinned one.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, runtime_checkable

from modelfetch.errors import Fault, SourceError
from modelfetch.ipfs.checked_bytes import Checked, CheckedBytes
from modelfetch.model.units import format_range
from modelfetch.store.chunk_digests import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelfetch.engine.runtime import Runtime
    from modelfetch.ipfs.leaf_table import LeafTable
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.sources.base import Offer


def known_table(runtime: Runtime, *places: tuple[Manifest, FileSpec]) -> LeafTable | None:
    """Return the table of a file's chunks from a skeleton beside a manifest, else from its map in the cache.

    Args:
        runtime: The run.
        places: Each model that has the file, and the file in it.

    Returns:
        None if there is none, or the file has only one chunk: the digest of the file says all about that.
    """
    _, file = places[0]
    if file.size <= CHUNK:
        return None
    for place in places:
        table = runtime.skeletons.table(*place)
        if table is not None:
            return table
    return runtime.store.chunk_maps.read(file.sha256, file.size)


@runtime_checkable
class Provable(Protocol):
    """An offer of a source that knows the chunks of the file by its CID, such as an IPFS gateway."""

    def leaf_table(self, first_byte: float | None = None) -> LeafTable:
        """Return the table of the file, proven by the CID in the manifest.

        Args:
            first_byte: Seconds for the first byte of each answer, if less than the limits allow.

        Raises:
            NoTableError: The CID has none, whichever source is asked.
            SourceError: The source does not have it.
        """


class Known(NamedTuple):
    """What is known about the chunks of a file."""

    table: LeafTable | None
    """The table, or None if none is known."""
    is_proven: bool
    """Whether the table belongs to the CID of the manifest."""


_NOTHING: Final = Known(None, False)


class FileChunks:
    """The chunks of one file that is being fetched. Connections on several threads share it.

    A connection keeps the table that its answer is checked with to the end of the answer. So a wrong chunk is
    judged by that table: another connection may have replaced a hint by a proven table meanwhile.

    Args:
        table: The table, or None if none is known.
        is_proven: Whether it belongs to the CID of the manifest.
        may_prove: Whether a source can prove one. Not if several manifests need the file, and not all pin the
            same CID: a wrong CID in one of them must not make the sources of the others wrong.
    """

    def __init__(
        self, table: LeafTable | None = None, *, is_proven: bool = False, may_prove: bool = True
    ) -> None:
        self.known = Known(table, is_proven and table is not None)
        """Replaced as a whole; so a thread that needs both fields reads it once."""
        self._may_prove = may_prove
        self._lock = threading.Lock()

    @property
    def table(self) -> LeafTable | None:
        """The table, or None if none is known."""
        return self.known.table

    @property
    def is_proven(self) -> bool:
        """Whether the table belongs to the CID of the manifest."""
        return self.known.is_proven

    def learn(self, offer: Offer, first_byte: float | None = None) -> None:
        """Take the table from a source that knows it by a CID, if that is better than what is known.

        Args:
            offer: The source.
            first_byte: As for :meth:`Provable.leaf_table`.

        Raises:
            SourceError: The source does not have it.
        """
        if self.is_proven or not isinstance(offer, Provable) or not (self._may_prove or self.table is None):
            return
        # Late: the walk through directories is loaded with it, which only files on IPFS need.
        from modelfetch.sources.ipfs_content import NoTableError

        try:
            known = Known(offer.leaf_table(first_byte), self._may_prove)
        except NoTableError:
            return  # the SHA-256 of the file decides, as for any other source
        with self._lock:
            self.known = known

    def drop(self, known: Known) -> None:
        """Go on without a table that is only a hint; nothing happens if another one replaced it already."""
        with self._lock:
            if known is self.known:
                self.known = _NOTHING

    def align(self, offset: int) -> int:
        """Return the start of the chunk that an offset is in; the offset itself if no table is known."""
        table = self.table
        return offset if table is None or offset >= table.size else table.row_at(offset).offset

    def whole(self, start: int, end: int) -> tuple[int, int]:
        """Return the range of all chunks that are entirely within a range, which may be empty.

        Args:
            start: Of the range.
            end: Of the range, not behind the end of the file.
        """
        table = self.table
        return (start, end) if table is None else table.whole_rows(start, end)

    def checked(self, start: int, end: int) -> CheckedAnswer:
        """Return the check of one answer that brings the bytes from ``start`` up to ``end``."""
        return CheckedAnswer(self, self.known, start, end)

    def note_wrong(self, known: Known, found: Checked) -> None:
        """Handle a chunk that does not fit the table with which its answer was checked.

        Raises:
            SourceError: The table is proven, so its source sent wrong bytes.
        """
        if known.is_proven:
            where = format_range(found.offset, found.offset + len(found.data))
            raise SourceError(
                Fault.HASH,
                f"sent wrong bytes: the chunk at {where} does not match its digest",
                hint="If every source fails like this, the cid in the manifest is that of another file.",
            )
        self.drop(known)


class CheckedAnswer:
    """One answer of a source, cut into chunks that are right.

    Args:
        chunks: The chunks of the file.
        known: The table to check with; if there is none, all bytes are passed on as they come.
        start: Position in the file where the answer begins.
        until: Position where it is to end.

    Attributes:
        position: Position behind the bytes that were yielded.
        until: Position where the answer is to end.
    """

    def __init__(self, chunks: FileChunks, known: Known, start: int, until: int) -> None:
        self.position = start
        self.until = until
        self._chunks = chunks
        self._known = known
        self._check = None if known.table is None else CheckedBytes(known.table, start, until)

    @property
    def held(self) -> int:
        """Bytes that wait for the rest of their chunk."""
        return 0 if self._check is None else self._check.held

    def rest(self) -> bytes:
        """Return the bytes that wait for the rest of their chunk."""
        return b"" if self._check is None else self._check.rest()

    def pieces(self, piece: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """Take the next bytes of the answer, and yield those that can be written, in order.

        Raises:
            SourceError: A chunk is wrong.
        """
        if self._check is None:
            self.position += len(piece)
            yield piece
            return
        for found in self._check.feed(piece):
            if found.is_right is False:
                self._chunks.note_wrong(self._known, found)
            self.position += len(found.data)
            yield found.data

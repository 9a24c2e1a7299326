"""Where the pieces of one file of a torrent lie in it. Pure.

A v2 torrent (BEP 52) aligns every file to a piece: each piece is part of one file, and the pieces of a file
follow one another. With pieces of 256 KiB, a file of 300 KiB that begins with piece 4::

    >>> span = FilePieces(4, 300 << 10, 256 << 10)
    >>> span.pieces, span.range_of(5), span.touched(0, 10)
    (range(4, 6), (262144, 307200), range(4, 5))
"""

from __future__ import annotations

from modelfetch.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class FilePieces:
    """The pieces of one file."""

    first: int
    """Number of its first piece in the torrent."""
    size: int
    """Bytes of the file."""
    piece_length: int

    @property
    def pieces(self) -> range:
        """Numbers of its pieces."""
        return range(self.first, self.first - (-self.size // self.piece_length))

    def range_of(self, piece: int) -> tuple[int, int]:
        """Return where a piece starts and ends in the file."""
        start = (piece - self.first) * self.piece_length
        return start, min(start + self.piece_length, self.size)

    def touched(self, start: int, end: int) -> range:
        """Return the pieces that have a byte of a range of the file that is not empty."""
        return range(self.first + start // self.piece_length, self.first - (-end // self.piece_length))

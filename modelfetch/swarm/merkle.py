"""The hash tree of a file in a BitTorrent v2 torrent (BEP 52). Pure, but for reading a file.

Leaves are the SHA-256 of blocks of 16 KiB; the last block may be shorter. Leaves that are missing to a full
tree are 32 zero bytes. A file larger than a piece has a *layer*, the hash of each piece::

    pieces root                      of a file of 5 blocks, with pieces of 2 blocks
    ├── o ── piece 0, piece 1        the layer: piece 0, piece 1, piece 2
    └── o ── piece 2, pad            pad: the hash of a piece of zero leaves
             └── block 4, 32 zero bytes

A file of at most one piece has no layer, and its tree is only as wide as its blocks need. Pieces begin at the
beginning of a file, so the same file has the same root in every torrent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from modelfetch.lazy_dataclass import dataclass

BLOCK: Final = 16 * 1024
"""Bytes of a block (BEP 52)."""
DIGEST: Final = 32
"""Bytes of a hash."""
_ZERO: Final = bytes(DIGEST)
"""The hash of a block beyond the end of the file."""

Run = Callable[[bytes], Callable[[], bytes]]
"""Starts to compute the hash of a piece, and returns what waits for it."""


@dataclass(frozen=True, slots=True)
class FileHashes:
    """The hashes of a file."""

    size: int
    root: bytes
    """The pieces root: 32 bytes, or none for an empty file."""
    layer: bytes
    """The hashes of its pieces, one after the other; none for a file of at most one piece."""


def piece_hash(data: bytes | memoryview, piece_length: int) -> bytes:
    """Compute the hash of a piece of a file that is larger than one piece."""
    return _root(_leaves(data), piece_length // BLOCK, _ZERO)


def small_file_root(data: bytes | memoryview) -> bytes:
    """Compute the pieces root of a file of at most one piece."""
    leaves = _leaves(data)
    return _root(leaves, _width(len(leaves)), _ZERO)


def layer_root(layer: bytes, piece_length: int) -> bytes:
    """Compute the pieces root from the hashes of all pieces."""
    pad = _root([], piece_length // BLOCK, _ZERO)
    hashes = [layer[at : at + DIGEST] for at in range(0, len(layer), DIGEST)]
    return _root(hashes, _width(len(hashes)), pad)


def hash_pieces(pieces: Iterable[bytes], piece_length: int, run: Run | None = None) -> FileHashes:
    """Compute the hashes of a file.

    Args:
        pieces: Its bytes in pieces; only the last may be shorter than ``piece_length``.
        piece_length: Bytes of a piece.
        run: Computes the hash of a piece, in another thread for instance.
    """
    start = run or (lambda data: lambda: piece_hash(data, piece_length))
    size = 0
    first = b""
    waiting: list[Callable[[], bytes]] = []
    for data in pieces:
        first = data if not waiting else b""  # one piece alone is hashed as a file without a layer
        size += len(data)
        waiting.append(start(data))
    layer = b"".join(wait() for wait in waiting)
    if len(waiting) > 1:
        return FileHashes(size, layer_root(layer, piece_length), layer)
    return FileHashes(size, small_file_root(first) if size else b"", b"")


def _leaves(data: bytes | memoryview) -> list[bytes]:
    view = memoryview(data)
    sha256 = hashlib.sha256
    return [sha256(view[at : at + BLOCK]).digest() for at in range(0, len(view), BLOCK)]


def _width(count: int) -> int:
    """The number of leaves of the smallest full tree."""
    return 1 << (count - 1).bit_length() if count else 1


def _root(hashes: Sequence[bytes], width: int, pad: bytes) -> bytes:
    """Compute the root of a tree of ``width`` leaves, of which those at the end are ``pad``."""
    sha256 = hashlib.sha256
    row = list(hashes)
    while width > 1:
        # Only what is there is kept in a row: the pads of a row are all the same hash.
        if len(row) % 2:
            row.append(pad)
        row = [sha256(row[at] + row[at + 1]).digest() for at in range(0, len(row), 2)]
        pad = sha256(pad + pad).digest()
        width //= 2
    return row[0] if row else pad

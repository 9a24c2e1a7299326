"""Torrent files of BitTorrent v2 (BEP 52): made from hashes, and read from strangers. Pure.

A torrent of ours depends on the model alone: the file tree is sorted by name, the length of pieces follows
from the size of the model, and there is no date, comment or name of a program. Its info dictionary::

    {"file tree": {"onnx": {"model.onnx": {"": {"length": 82468078, "pieces root": <32 bytes>}}}},
     "meta version": 2, "name": "whisper-base-1846881b6b3a", "piece length": 262144}

The infohash is the SHA-256 of that dictionary. Outside of it are the hashes of all pieces of each file
(``piece layers``), which the pieces root in the dictionary proves.

What a stranger's torrent says is checked in two steps. :func:`parse` checks that it is well-formed, and that
layers match roots; :meth:`Metainfo.mismatches` compares paths and sizes with a manifest. The hashes in it are
believed for nothing but the choice of bytes to ask for: the SHA-256 of each file decides.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.paths import PATH_BYTES, SEGMENT_BYTES
from modelfetch.model.text import quote
from modelfetch.model.units import SIZE_LIMIT
from modelfetch.swarm import bencode
from modelfetch.swarm.merkle import BLOCK, DIGEST, FileHashes, layer_root

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest

METAINFO_LIMIT: Final = 64 * 1024 * 1024
"""Largest torrent file, in bytes: a model of 8 TB in pieces of 4 MiB has as many."""
_FILES_LIMIT: Final = 20_000
"""Most files: a manifest has no more."""
_LEAST_PIECE: Final = 256 * 1024
"""Length of the pieces of a small model. A wrong piece, or a peer that is lost, costs at most as much."""
_MOST_PIECE: Final = 4 * 1024 * 1024
"""Length of the pieces of a large model: a machine passes a piece on once it has all of it, and loses all of
it to a wrong byte."""
_PIECE_STEP: Final = 1024 * 1024 * 1024
"""Size of a model above which pieces are longer: fewer pieces keep the torrent file small."""
_PIECE_LIMIT: Final = 16 * 1024 * 1024
"""Longest piece of a stranger's torrent: whole pieces are held in memory."""
_MISMATCHES: Final = 5
"""Most differences that are listed."""


@dataclass(frozen=True, slots=True)
class TorrentFile:
    """A file of a torrent."""

    path: str
    size: int
    root: bytes
    """The pieces root; none for an empty file."""
    layer: bytes
    """Hashes of its pieces; none if there is at most one, or if they are not known."""
    first_piece: int
    """Number of its first piece in the torrent."""


@dataclass(frozen=True, slots=True)
class PieceRange:
    """Where the bytes of a piece are."""

    file: TorrentFile
    offset: int
    size: int


class Metainfo:
    """A torrent of BitTorrent v2.

    Args:
        info: The info dictionary, encoded.
        piece_length: Bytes of a piece.
        files: The files, in the order of the file tree.
    """

    def __init__(self, info: bytes, piece_length: int, files: Sequence[TorrentFile]) -> None:
        self.info: Final = info
        self.piece_length: Final = piece_length
        self.files: Final = tuple(files)
        self.infohash: Final = hashlib.sha256(info).hexdigest()
        """64 lowercase hexadecimal digits."""
        self.pieces: Final = sum(-(-file.size // piece_length) for file in files)
        """Number of pieces."""
        self._filled = [file for file in files if file.size]
        self._starts = [file.first_piece for file in self._filled]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def has_layers(self) -> bool:
        """Whether the hashes of all pieces are known."""
        return all(file.layer or file.size <= self.piece_length for file in self.files)

    def piece(self, number: int) -> PieceRange:
        """Find the bytes of a piece.

        Raises:
            IndexError: There is no such piece.
        """
        if not 0 <= number < self.pieces:
            raise IndexError(f"no piece {number} of {self.pieces}")
        file = self._filled[bisect_right(self._starts, number) - 1]
        offset = (number - file.first_piece) * self.piece_length
        return PieceRange(file, offset, min(self.piece_length, file.size - offset))

    def mismatches(self, manifest: Manifest) -> list[str]:
        """List the differences from the paths and sizes of a manifest; none if there is no difference."""
        wanted = {file.path: file.size for file in manifest.files}
        given = {file.path: file.size for file in self.files}
        found = [
            f"it has {quote(path)}, which the manifest does not list" for path in given if path not in wanted
        ]
        found += [f"it does not have {quote(path)}" for path in wanted if path not in given]
        found += [
            f"{quote(path)} has {size} bytes, not {wanted[path]}"
            for path, size in given.items()
            if path in wanted and size != wanted[path]
        ]
        more = len(found) - _MISMATCHES
        return found if more <= 0 else [*found[:_MISMATCHES], f"and {more} more differences"]

    def encode(self, trackers: Sequence[str] = ()) -> bytes:
        """Return the torrent file, with nothing in it but the info, the layers and these trackers."""
        rest: dict[bytes, object] = {b"info": bencode.decode(self.info)}
        if self.has_layers:
            rest[b"piece layers"] = {file.root: file.layer for file in self.files if file.layer}
        if trackers:
            rest[b"announce"] = trackers[0]
        if len(trackers) > 1:
            rest[b"announce-list"] = [[tracker] for tracker in trackers]  # a tier each: tried in order
        return bencode.encode(rest)

    def magnet(self, name: str = "", trackers: Sequence[str] = ()) -> str:
        """Return the magnet link: the infohash as a SHA-256 multihash (BEP 9 and BEP 52)."""
        from urllib.parse import quote as percent

        parts = [f"xt=urn:btmh:1220{self.infohash}"]
        parts += [f"dn={percent(name, safe='')}"] if name else []
        parts += [f"tr={percent(tracker, safe='')}" for tracker in trackers]
        return f"magnet:?{'&'.join(parts)}"


def torrent_name(manifest: Manifest) -> str:
    """Return the name of a model's torrent: the directory that other clients put the files into."""
    return f"{manifest.name}-{manifest.version}"


def piece_length(size: int) -> int:
    """Return the length of the pieces of a model: 256 KiB up to 1 GiB, then twice as much up to 4 MiB."""
    length = _LEAST_PIECE
    step = _PIECE_STEP
    while size > step and length < _MOST_PIECE:
        length *= 2
        step *= 2
    return length


def build(name: str, hashes: Mapping[str, FileHashes], length: int) -> Metainfo:
    """Make the torrent of files.

    Args:
        name: The name of the torrent.
        hashes: The hashes of each file, by path.
        length: The length of pieces that the hashes were made for.
    """
    files = _numbered(((path, each.size, each.root, each.layer) for path, each in hashes.items()), length)
    tree: dict[str, object] = {}
    for file in files:
        entry: dict[str, object] = {"length": file.size}
        if file.size:
            entry["pieces root"] = file.root
        *directories, last = file.path.split("/")
        parent = tree
        for directory in directories:
            parent = parent.setdefault(directory, {})  # type: ignore[assignment]
        parent[last] = {"": entry}
    info = {"file tree": tree, "meta version": 2, "name": name, "piece length": length}
    return Metainfo(bencode.encode(info), length, files)


def parse(data: bytes) -> Metainfo:
    """Read a torrent file. Trackers, web seeds and everything else outside of the info is left out.

    The piece layers may be missing, all of them; then :attr:`Metainfo.has_layers` is false.

    Raises:
        ValueError: It is not a torrent of version 2, or damaged, or too large; the message says why.
    """
    if len(data) > METAINFO_LIMIT:
        raise ValueError(f"larger than {METAINFO_LIMIT} bytes")
    root = bencode.dictionary(bencode.decode(data), "a torrent")
    info = bencode.dictionary(root.get(b"info"), "info")
    if b"piece layers" not in root:
        return _read(info, {})
    found = _read(info, bencode.dictionary(root[b"piece layers"], "piece layers"))
    _check_layers(found.files, found.piece_length)
    return found


def parse_info(info: bytes) -> Metainfo:
    """Read an info dictionary alone, as peers send it; the layers stay empty.

    Raises:
        ValueError: As for :func:`parse`.
    """
    if len(info) > METAINFO_LIMIT:
        raise ValueError(f"larger than {METAINFO_LIMIT} bytes")
    return _read(bencode.dictionary(bencode.decode(info), "info"), {})


def _read(info: dict[bytes, bencode.Value], layers: dict[bytes, bencode.Value]) -> Metainfo:
    if info.get(b"meta version") != 2:
        raise ValueError("not a torrent of version 2")
    if b"ssl-cert" in info:
        raise ValueError("it wants TLS with a certificate of its own, which is not supported")
    length = info.get(b"piece length")
    if not isinstance(length, int) or not BLOCK <= length <= _PIECE_LIMIT or length & (length - 1):
        raise ValueError("piece length must be a power of two, from 16 KiB to 16 MiB")
    if not isinstance(info.get(b"name"), bytes) or not info[b"name"]:
        raise ValueError("it has no name")
    tree = bencode.dictionary(info.get(b"file tree"), "file tree")
    entries = list(islice(_entries(tree), _FILES_LIMIT + 1))
    if not entries:
        raise ValueError("it has no file")
    if len(entries) > _FILES_LIMIT:
        raise ValueError(f"more than {_FILES_LIMIT} files")
    rows = [(path, size, root, _layer(layers, root, size, length)) for path, size, root in entries]
    return Metainfo(bencode.encode(info), length, _numbered(rows, length))


def _entries(tree: dict[bytes, bencode.Value], above: str = "") -> Iterator[tuple[str, int, bytes]]:
    """Yield path, size and root of each file below a directory, whose path ends with a slash."""
    for key, value in tree.items():
        path = above + _part(key)
        if len(path.encode()) > PATH_BYTES:
            raise ValueError(f"a path longer than {PATH_BYTES} bytes")
        below = bencode.dictionary(value, "an entry of the file tree")
        if b"" in below:
            if len(below) > 1:
                raise ValueError("a file that is a directory too")
            yield (path, *_file(bencode.dictionary(below[b""], "a file")))
        elif not below:
            raise ValueError("an empty directory")
        else:
            yield from _entries(below, f"{path}/")


def _part(key: bytes) -> str:
    if len(key) > SEGMENT_BYTES:
        raise ValueError(f"a name longer than {SEGMENT_BYTES} bytes")
    try:
        part = key.decode()
    except UnicodeDecodeError:
        raise ValueError("a path that is not UTF-8") from None
    if part in ("", ".", "..") or "/" in part or "\0" in part or "\\" in part:
        raise ValueError(f"an unsafe path: {quote(part)}")
    return part


def _file(entry: dict[bytes, bencode.Value]) -> tuple[int, bytes]:
    size = entry.get(b"length")
    root = entry.get(b"pieces root", b"")
    if not isinstance(size, int) or not 0 <= size < SIZE_LIMIT:
        raise ValueError("a file without a valid length")
    if not isinstance(root, bytes) or len(root) != (DIGEST if size else 0):
        raise ValueError("a file without a valid pieces root")
    attributes = entry.get(b"attr", b"")
    if not isinstance(attributes, bytes) or b"l" in attributes or b"p" in attributes:
        raise ValueError("a symbolic link or a padding file")
    return size, root


def _layer(layers: dict[bytes, bencode.Value], root: bytes, size: int, length: int) -> bytes:
    layer = layers.get(root, b"") if size > length else b""
    if not isinstance(layer, bytes):
        raise ValueError("a piece layer must be a string")  # noqa: TRY004 - of a stranger, not of a caller
    return layer


def _check_layers(files: Iterable[TorrentFile], length: int) -> None:
    """Check that the layer of each file has its length, and proves its root.

    Each root once: thousands of files could have the same one, with a layer that takes seconds to hash.
    """
    proven: set[bytes] = set()
    for file in files:
        if file.size <= length:
            continue
        is_right = len(file.layer) == -(-file.size // length) * DIGEST
        if not is_right or (file.root not in proven and layer_root(file.layer, length) != file.root):
            raise ValueError(f"the piece layer of {quote(file.path)} does not match its pieces root")
        proven.add(file.root)


def _numbered(rows: Iterable[tuple[str, int, bytes, bytes]], length: int) -> list[TorrentFile]:
    """Sort files as in the file tree, by the bytes of each part of the path, and number their pieces."""
    ordered = sorted(rows, key=lambda row: [part.encode() for part in row[0].split("/")])
    files: list[TorrentFile] = []
    piece = 0
    for path, size, root, layer in ordered:
        files.append(TorrentFile(path, size, root, layer, piece))
        piece += -(-size // length)
    return files

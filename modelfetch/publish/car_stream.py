"""The blocks of a model as a CAR file: planned from its tree, then streamed.

The plan needs no bytes of files, so the size of a CAR file is known before the first byte is written or sent.
The order is depth first, and each block occurs once. So the same model always becomes the same CAR file, and
a cut one contains a prefix of the model. While the blocks are streamed, each chunk is compared with its leaf:
bytes that were damaged since they were hashed never leave::

    header(root)   root directory   file a: inner nodes and leaves   directory b   file b/c   ...
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from modelfetch.ipfs import car, dag_pb, unixfs
from modelfetch.ipfs.cid import RAW, Cid
from modelfetch.model.regular_file import open_regular
from modelfetch.publish.tree_hashing import unreadable

if TYPE_CHECKING:
    import io

    from modelfetch.publish.model_tree import FileProgress, ModelTree, TreeFile


class Part(NamedTuple):
    """One block of a CAR file."""

    cid: Cid
    size: int
    """Bytes of the block."""
    node: bytes = b""
    """The block, if it is an inner node; empty for a leaf, whose bytes are in the file."""
    file: TreeFile | None = None
    """The file of a leaf."""
    offset: int = 0
    length: int = 0
    """Bytes of the file in a leaf."""

    @property
    def section_size(self) -> int:
        """Bytes of its section."""
        return len(car.section_head(self.cid, self.size)) + self.size


def file_parts(file: TreeFile, seen: set[bytes]) -> Iterator[Part]:
    """Plan the blocks of a file, depth first.

    Args:
        file: The file.
        seen: Multihashes of the blocks that were planned before; extended.
    """
    for part in _walk(file):
        if part.cid.multihash not in seen:
            seen.add(part.cid.multihash)
            yield part


def leaf_parts(file: TreeFile) -> Iterator[Part]:
    """Plan the leaves of a file in the order of the file, also those that occur before."""
    return (part for part in _walk(file) if part.file is not None)


def _walk(file: TreeFile) -> Iterator[Part]:
    blocks = dict(file.tree.nodes)

    def below(cid: Cid, size: int, offset: int) -> Iterator[Part]:
        # By CID, and not by multihash: a file may consist of a block of another one.
        block = blocks.get(cid)
        if block is None:
            yield Part(cid, _leaf_size(cid, size), b"", file, offset, size)
            return
        yield Part(cid, len(block), block)
        node = dag_pb.decode(block)
        for link, length in zip(node.links, unixfs.message_of(node).blocksizes, strict=True):
            yield from below(link.cid, length, offset)
            offset += length

    return below(file.tree.root, file.tree.size, 0)


def _leaf_size(cid: Cid, length: int) -> int:
    return length if cid.codec == RAW else unixfs.wrapped_size(length)


def model_parts(tree: ModelTree) -> Iterator[Part]:
    """Plan all blocks of a model: directories, inner nodes and leaves."""
    seen: set[bytes] = set()
    for part, file in _directory_walk(tree, seen):
        if file is not None:
            yield from file_parts(file, seen)
        elif part is not None:
            yield part


def directory_parts(tree: ModelTree) -> Iterator[Part]:
    """Plan the directories of a model alone."""
    return (part for part, _ in _directory_walk(tree, set()) if part is not None)


def skeleton_parts(tree: ModelTree) -> Iterator[Part]:
    """Plan all blocks but the leaves: with them, each chunk of each file is verified by itself."""
    return (part for part in model_parts(tree) if part.node)


def _directory_walk(tree: ModelTree, seen: set[bytes]) -> Iterator[tuple[Part | None, TreeFile | None]]:
    """Yield directories and shards as parts, and files where their blocks belong; depth first."""
    blocks = dict(tree.directory.nodes)

    def below(cid: Cid) -> Iterator[tuple[Part | None, TreeFile | None]]:
        block = blocks.get(cid)
        if block is None:
            yield None, tree.by_root[cid]
        elif cid.multihash not in seen:
            seen.add(cid.multihash)
            yield Part(cid, len(block), block), None
            for link in dag_pb.decode(block).links:
                yield from below(link.cid)

    yield from below(tree.root)


class CarStream:
    """A CAR file that is made while it is read.

    Args:
        root: The root in its header.
        parts: Its blocks.
        sent: Called when bytes of a file were passed on.
    """

    def __init__(self, root: Cid, parts: Iterable[Part], sent: FileProgress = lambda *_: None) -> None:
        self._root = root
        self._parts: Final[Sequence[Part]] = tuple(parts)
        self._sent = sent
        self.size: Final = len(car.header(root)) + sum(part.section_size for part in self._parts)
        """Bytes of the CAR file."""

    def pieces(self) -> Iterator[bytes]:
        """Yield the CAR file from its beginning.

        Raises:
            IntegrityError: A file changed since its tree was computed.
            StoreError: A file cannot be read.
        """
        yield car.header(self._root)
        with LeafReader() as leaves:
            for part in self._parts:
                head = car.section_head(part.cid, part.size)
                if part.file is None:
                    yield head + part.node
                    continue
                before, chunk, after = leaves.read(part)
                yield head + before
                if chunk:
                    yield chunk
                if after:
                    yield after
                # Control returns here when the leaf was taken.
                spec = part.file.placed.spec
                self._sent(spec.path, part.offset + part.length, spec.size)


class LeafReader:
    """Reads leaves from files, and verifies each. Keeps one file open: leaves come in the order of files."""

    def __init__(self) -> None:
        self._file: TreeFile | None = None
        self._opened: io.FileIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def read(self, part: Part) -> tuple[bytes, bytes, bytes]:
        """Return what stands before the bytes of a leaf in its block, the bytes, and what stands after them.

        Raises:
            IntegrityError: The file has other bytes there than when its tree was computed.
            StoreError: The file cannot be read.
        """
        assert part.file is not None, "an inner node has its bytes"
        chunk = self._bytes(part.file, part.offset, part.length)
        is_raw = part.cid.codec == RAW
        if part.cid.digest != (sha256(chunk).digest() if is_raw else unixfs.wrapped_digest(chunk)):
            raise part.file.placed.damaged()
        before, after = (b"", b"") if is_raw else unixfs.leaf_envelope(part.length)
        return before, chunk, after

    def _bytes(self, file: TreeFile, offset: int, length: int) -> bytes:
        try:
            opened = self._open(file)
            opened.seek(offset)
            found = opened.read(length) or b""
            while len(found) < length and (more := opened.read(length - len(found))):
                found += more
        except OSError as error:
            raise unreadable(file.placed.place, error) from error
        return found

    def _open(self, file: TreeFile) -> io.FileIO:
        if self._opened is None or self._file is not file:
            self._close()
            self._file, self._opened = file, open_regular(file.placed.place)
        return self._opened

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None


def file_pieces(file: TreeFile, sent: FileProgress = lambda *_: None) -> Iterator[bytes]:
    """Yield the bytes of a file, each chunk verified; see :meth:`CarStream.pieces`."""
    with LeafReader() as leaves:
        for part in leaf_parts(file):
            yield leaves.read(part)[1]
            sent(file.path, part.offset + part.length, file.tree.size)

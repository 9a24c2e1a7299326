"""Answers of a trustless gateway: the bytes that prove what a client asked for, from blocks that are here.

Pure: a request and a function that finds blocks in, headers and an iterator of bytes out. No block is
fetched: this is a non-recursive gateway, which answers 404 for what it does not have. Each block is verified
before it is sent. Memory holds one block at a time, whatever the size of the file.

A CAR file begins with the blocks of the directories on the path, then come those of the file or directory at
its end, depth first. Blocks that are contained in their CID (identity) are never sent. With ``dups=n`` a
block is sent when it occurs first.

Once the first byte is sent, a missing block cannot be reported by a status. The iterator then raises
:class:`MissingBlockError`, and the server must break the connection: a clean end would look complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Final, NamedTuple

from modelfetch.ipfs import car, dag_pb, unixfs
from modelfetch.ipfs.cid import DAG_PB, IDENTITY, RAW, Cid
from modelfetch.ipfs.directory import NotFoundError, PathLookup, read_page
from modelfetch.ipfs.errors import MalformedError
from modelfetch.ipfs.trustless_request import (
    CAR_TYPE,
    RAW_TYPE,
    Format,
    RequestError,
    Scope,
    TrustlessRequest,
)
from modelfetch.ipfs.unixfs import Kind
from modelfetch.lazy_dataclass import dataclass

Find = Callable[[Cid], bytes | None]
"""Finds a block by the multihash of a CID; None if it is not here. The block need not be verified."""

Span = tuple[int, int]
"""Positions of the first and last byte of a range within a file, both inclusive."""

_FOREVER: Final = "public, max-age=29030400, immutable"
"""What a CID identifies never changes; the number of seconds is that of the path gateway specification."""


class MissingBlockError(LookupError):
    """A block is missing in the middle of an answer, or is damaged here."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer, with status 200."""

    headers: dict[str, str]
    """Names in lower case."""
    body: Iterator[bytes]
    """Bytes of the answer, in pieces of at most one block. Raises :class:`MissingBlockError`."""


def answer(request: TrustlessRequest, find: Find) -> Answer:
    """Answer a request. Blocks below the requested one are found while the body is read.

    Raises:
        RequestError: With status 404 if the block, or one on the path, is not here, or the path does not
            exist; with 400 if the path or range cannot be used.
    """
    if request.format is Format.RAW:
        return _answer_raw(request.cid, find)
    path, target = _resolve(request, find)
    root = _load_first(target, find)
    scope, span = request.scope, None
    if request.entity_bytes:
        size = _entity_size(target, root)
        span = None if size is None else request.entity_bytes.resolve(size)
        if size is not None and span is None:
            scope = Scope.BLOCK  # a range without bytes: the client sees the size of the file
    blocks = _Blocks(find, scope, span, None if request.duplicates else set())
    return Answer(_car_headers(request, target), _car_body(blocks, path, target))


def _answer_raw(cid: Cid, find: Find) -> Answer:
    block = _load_first(cid, find)
    headers = {
        "content-type": RAW_TYPE,
        "content-length": str(len(block)),
        "content-disposition": f'attachment; filename="{cid.text}.bin"',
        "etag": f'"{cid.text}.raw"',
        "cache-control": _FOREVER,
        "x-content-type-options": "nosniff",
    }
    return Answer(headers, iter((block,)))


def _car_headers(request: TrustlessRequest, target: Cid) -> dict[str, str]:
    duplicates = "y" if request.duplicates else "n"
    scope = request.scope if request.entity_bytes is None else f"{request.scope}-{request.entity_bytes}"
    way = sha256(b"/".join((request.cid.binary, *request.path))).hexdigest()[:16]
    return {
        "content-type": f"{CAR_TYPE}; version=1; order=dfs; dups={duplicates}",
        "content-disposition": f'attachment; filename="{request.cid.text}.car"',
        "etag": f'W/"{scope}.{duplicates}.{way}.{target.text}.car"',
        "cache-control": _FOREVER,
        "accept-ranges": "none",
        "x-content-type-options": "nosniff",
    }


def _resolve(request: TrustlessRequest, find: Find) -> tuple[list[Cid], Cid]:
    """Follow the path; returns the CIDs of the blocks on it, and what it leads to."""
    path = []
    try:
        lookup = PathLookup(request.cid, request.path)
        while lookup.wanted:
            path.append(lookup.wanted[0])
            lookup.add(_load_first(path[-1], find))
    except NotFoundError as error:
        raise RequestError(404, str(error)) from None
    except MalformedError as error:
        raise RequestError(400, str(error)) from None
    assert lookup.target is not None
    if lookup.target.refusal:
        raise RequestError(404, f"block {lookup.target.text}: {lookup.target.refusal}")
    return path, lookup.target


def _load_first(cid: Cid, find: Find) -> bytes:
    """Load a block before the answer begins."""
    try:
        return _load(cid, find)
    except MissingBlockError as error:
        raise RequestError(404, str(error)) from None


def _load(cid: Cid, find: Find) -> bytes:
    if cid.hash_code == IDENTITY:
        return cid.digest
    block = find(cid)
    if block is None or not cid.matches(block):
        raise MissingBlockError(f"block {cid.text} is not here")
    return block


def _entity_size(cid: Cid, block: bytes) -> int | None:
    """Bytes of a file; None if the block is not that of a file, so that ranges have no effect."""
    if cid.codec == RAW:
        return len(block)
    try:
        return unixfs.file_message(dag_pb.decode(block)).filesize or 0
    except MalformedError:
        return None


def _car_body(blocks: _Blocks, path: list[Cid], target: Cid) -> Iterator[bytes]:
    """Yield the CAR file. The root in its header is what the path leads to, which ``ipfs-car`` unpacks."""
    yield car.header(target)
    for cid in path:
        yield from blocks.section(cid, blocks.load(cid))
    for cid, block in blocks.below(target):
        yield from blocks.section(cid, block)


class _Place(NamedTuple):
    """A block that is still to be sent."""

    cid: Cid
    start: int = 0
    """Position of its first byte in the file."""
    size: int | None = None
    """Bytes of the file below it; None if they are not known, as those of the root."""


class _Blocks:
    """Walks through blocks, depth first."""

    def __init__(self, find: Find, scope: Scope, span: Span | None, sent: set[bytes] | None) -> None:
        self._find = find
        self._scope = scope
        self._span = span
        self._sent = sent
        """Multihashes of the blocks that were sent; None if blocks may be sent again."""
        self._finished: set[tuple[int, bytes]] = set()
        """Codec and multihash of those below which everything was sent. A raw block has nothing below it, but
        the same bytes can be linked as a node elsewhere."""

    def load(self, cid: Cid) -> bytes:
        return _load(cid, self._find)

    def section(self, cid: Cid, block: bytes) -> Iterator[bytes]:
        """Yield a block as a section, unless it is not to be sent."""
        if cid.hash_code == IDENTITY or (self._sent is not None and cid.multihash in self._sent):
            return
        if self._sent is not None:
            self._sent.add(cid.multihash)
        yield car.section_head(cid, len(block))
        yield block

    def below(self, root: Cid) -> Iterator[tuple[Cid, bytes]]:
        """Yield a block and all that the scope asks for below it."""
        stack = [_Place(root)]
        while stack:
            place = stack.pop()
            key = place.cid.codec, place.cid.multihash
            if key in self._finished:
                continue
            block = self.load(place.cid)
            yield place.cid, block
            if self._sent is not None and self._is_entirely_sent(place):
                self._finished.add(key)
            stack.extend(reversed(self._children(place, block)))

    def _is_entirely_sent(self, place: _Place) -> bool:
        """Whether another place of the same block has nothing new.

        A node at the edge of the range can also stand in the middle of it, with other parts in the range. If
        that were assumed of all nodes, twenty that have the next one twice would be visited a million times.
        """
        if self._span is None or place.cid.codec == RAW:
            return True
        first, last = self._span
        return place.size is not None and first <= place.start and place.start + place.size <= last + 1

    def _children(self, place: _Place, block: bytes) -> list[_Place]:
        """The blocks that follow. None follow an invalid one, which the client has to reject anyway."""
        if place.cid.codec != DAG_PB or self._scope is Scope.BLOCK:
            return []
        try:
            node = dag_pb.decode(block)
            if self._scope is Scope.ALL or not node.links:
                return [_Place(link.cid) for link in node.links]
            message = unixfs.message_of(node)
            if message.kind in {Kind.FILE, Kind.RAW}:
                return self._parts(place, node)
            return [_Place(link.cid) for link in read_page(node, message).shards]
        except MalformedError:
            return []

    def _parts(self, place: _Place, node: dag_pb.Node) -> list[_Place]:
        """The parts of a file that have bytes in the range."""
        message = unixfs.file_message(node)
        parts = []
        start = place.start + len(message.data or b"")  # its own bytes precede those of its parts
        for link, size in zip(node.links, message.blocksizes, strict=True):
            if self._span is None or (start <= self._span[1] and start + size > self._span[0]):
                parts.append(_Place(link.cid, start, size))
            start += size
        return parts

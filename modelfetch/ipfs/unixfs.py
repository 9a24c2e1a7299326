"""UnixFS messages: what a dag-pb node is, and the sizes of its parts.

::

    Type 1, Data 2, filesize 3, blocksizes 4 (repeated), hashType 5, fanout 6, mode 7, mtime 8

A file that fits in one block is a message with the bytes as ``Data``. A larger one is a tree: each inner node
has a link and a block size for every child, and possibly bytes of its own, which precede those of its
children. Block sizes count bytes of the file alone. A leaf is a raw block, or a message of type File, or of
type Raw in trees of old tools: a *wrapped* leaf. Unknown fields are skipped, as the specification demands.

``08 02 18 818040 20 808040 20 01`` is the root of a file of 1,048,577 bytes in two blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from modelfetch.ipfs import dag_pb, protobuf, varint
from modelfetch.ipfs.cid import Buffer
from modelfetch.ipfs.errors import MalformedError
from modelfetch.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from modelfetch.ipfs.dag_pb import Node

PERMISSION_BITS: Final = 0o7777
"""Bits of a mode that have a meaning; others are ignored (UnixFS specification)."""
_NANOSECONDS_LIMIT: Final = 999_999_999
"""Most nanoseconds of a time: a second has one more (UnixFS specification)."""

_TYPE, _DATA, _FILESIZE, _BLOCKSIZES, _HASH_TYPE, _FANOUT, _MODE, _MTIME = range(1, 9)
_NUMBERS: Final = {
    _TYPE: "type",
    _FILESIZE: "file size",
    _HASH_TYPE: "hash type",
    _FANOUT: "fan-out",
    _MODE: "mode",
}


class Kind(IntEnum):
    """Type of a message."""

    RAW = 0
    """A wrapped leaf; written by old tools alone."""
    DIRECTORY = 1
    FILE = 2
    METADATA = 3
    SYMLINK = 4
    HAMT_SHARD = 5
    """A part of a directory that is too large for one block."""


@dataclass(frozen=True, slots=True)
class Time:
    """A time of modification."""

    seconds: int
    """Since 1970; may be negative."""
    nanoseconds: int | None = None
    """1 to 999,999,999; None if the field is absent."""


@dataclass(frozen=True, slots=True)
class Message:
    """A UnixFS message; None stands for a field that is absent."""

    kind: Kind
    data: bytes | None = None
    """Bytes of a file, target of a symbolic link, or bit field of a shard."""
    filesize: int | None = None
    """Bytes of the file from this node down."""
    blocksizes: tuple[int, ...] = ()
    """Bytes of the file below each link."""
    hash_type: int | None = None
    fanout: int | None = None
    mode: int | None = None
    """Permission bits alone."""
    mtime: Time | None = None


def decode(data: bytes) -> Message:
    """Decode a message.

    Raises:
        MalformedError: The bytes are no message, a field occurs twice, or the type is missing or unknown.
    """
    try:
        return _decode(data)
    except MalformedError as error:
        raise MalformedError(f"UnixFS message: {error}") from None


def _decode(data: bytes) -> Message:
    found: dict[int, int | bytes] = {}
    blocksizes: list[int] = []
    for number, wire, value in protobuf.read_fields(data):
        if number == _BLOCKSIZES:
            _add_blocksizes(blocksizes, wire, value)
        elif number <= _MTIME:
            wanted = protobuf.VARINT if number in _NUMBERS else protobuf.BYTES
            if wire != wanted:
                raise MalformedError(f"field {number} has wire type {wire} instead of {wanted}")
            # The last one would win in protobuf; no writer repeats them, and readers would not agree.
            if number in found:
                raise MalformedError(f"field {number} occurs twice")
            found[number] = value
    mode, mtime = found.get(_MODE), found.get(_MTIME)
    return Message(
        _kind(found.get(_TYPE)),
        found.get(_DATA),  # type: ignore[arg-type]  # the wire types were checked
        found.get(_FILESIZE),  # type: ignore[arg-type]
        tuple(blocksizes),
        found.get(_HASH_TYPE),  # type: ignore[arg-type]
        found.get(_FANOUT),  # type: ignore[arg-type]
        mode & PERMISSION_BITS if isinstance(mode, int) else None,
        _decode_time(mtime) if isinstance(mtime, bytes) else None,
    )


def _add_blocksizes(blocksizes: list[int], wire: int, value: int | bytes) -> None:
    """Add one block size, or many in the packed form, which no known tool writes."""
    if wire == protobuf.VARINT and isinstance(value, int):
        blocksizes.append(value)
    elif isinstance(value, bytes):
        position = 0
        while position < len(value):
            size, position = varint.read_uint64(value, position)
            blocksizes.append(size)
    else:
        raise MalformedError(f"field {_BLOCKSIZES} has wire type {wire}")


def _kind(value: int | bytes | None) -> Kind:
    if value is None:
        raise MalformedError("has no type")
    try:
        return Kind(value)  # type: ignore[arg-type]  # an unknown value raises ValueError, whatever its type
    except ValueError:
        raise MalformedError(f"type {value!r} is unknown") from None


def _decode_time(data: bytes) -> Time:
    seconds = nanoseconds = None
    for number, wire, value in protobuf.read_fields(data):
        if (number, wire) == (1, protobuf.VARINT) and isinstance(value, int):
            seconds = value - (1 << 64) if value >> 63 else value  # an int64 in two's complement
        elif (number, wire) == (2, protobuf.FIXED32) and isinstance(value, int):
            nanoseconds = value
        elif number in {1, 2}:
            raise MalformedError("modification time has a field of the wrong wire type")
    if seconds is None:
        raise MalformedError("modification time has no seconds")
    if nanoseconds is not None and not 1 <= nanoseconds <= _NANOSECONDS_LIMIT:
        raise MalformedError(f"modification time has {nanoseconds} nanoseconds")
    return Time(seconds, nanoseconds)


def encode(message: Message) -> bytes:
    """Encode a message: its fields in ascending order, block sizes not packed."""
    parts = [protobuf.varint_field(_TYPE, message.kind)]
    if message.data is not None:
        parts.append(protobuf.bytes_field(_DATA, message.data))
    if message.filesize is not None:
        parts.append(protobuf.varint_field(_FILESIZE, message.filesize))
    parts += [protobuf.varint_field(_BLOCKSIZES, size) for size in message.blocksizes]
    numbers = ((_HASH_TYPE, message.hash_type), (_FANOUT, message.fanout), (_MODE, message.mode))
    parts += [protobuf.varint_field(number, value) for number, value in numbers if value is not None]
    if message.mtime is not None:
        parts.append(protobuf.bytes_field(_MTIME, _encode_time(message.mtime)))
    return b"".join(parts)


def _encode_time(time: Time) -> bytes:
    seconds = protobuf.varint_field(1, time.seconds % (1 << 64))
    if time.nanoseconds is None:
        return seconds
    return seconds + bytes((2 << 3 | protobuf.FIXED32,)) + time.nanoseconds.to_bytes(4, "little")


def message_of(node: Node) -> Message:
    """Decode the message of a node.

    Raises:
        MalformedError: The node has no data, or the data is no message.
    """
    if node.data is None:
        raise MalformedError("dag-pb node without data is no UnixFS node")
    return decode(node.data)


def file_message(node: Node) -> Message:
    """Decode the message of a node that must be a file or a part of one.

    Raises:
        MalformedError: It is something else, its sizes contradict each other or its links, or a part of the
            file has a name.
    """
    message = message_of(node)
    if message.kind not in {Kind.FILE, Kind.RAW}:
        raise MalformedError(f"UnixFS node is of type {message.kind.name}, not a file")
    if len(node.links) != len(message.blocksizes):
        counts = f"{len(node.links)} links, but {len(message.blocksizes)} block sizes"
        raise MalformedError(f"UnixFS file: {counts}")
    total = len(message.data or b"") + sum(message.blocksizes)
    if (message.filesize or 0) != total:
        raise MalformedError(f"UnixFS file: size {message.filesize or 0}, but its parts have {total} bytes")
    if any(link.name for link in node.links):
        raise MalformedError("UnixFS file: a part has a name")
    return message


def leaf_envelope(size: int, kind: Kind = Kind.FILE) -> tuple[bytes, bytes]:
    """Return what stands before and after the bytes of a wrapped leaf.

    Args:
        size: Number of bytes in the leaf.
        kind: ``FILE``, or ``RAW`` as in trickle trees and those of old tools.
    """
    before = protobuf.varint_field(_TYPE, kind)
    if size:  # an empty file has no data field
        before += varint.encode(_DATA << 3 | protobuf.BYTES) + varint.encode(size)
    after = protobuf.varint_field(_FILESIZE, size)
    length = len(before) + size + len(after)
    return varint.encode(1 << 3 | protobuf.BYTES) + varint.encode(length) + before, after


def wrapped_size(size: int) -> int:
    """Bytes of the block of a wrapped leaf with ``size`` bytes of the file."""
    return size + sum(map(len, leaf_envelope(size)))


def wrapped_digest(chunk: Buffer, kind: Kind = Kind.FILE) -> bytes:
    """Compute the SHA-256 of the block of a wrapped leaf, without copying its bytes."""
    before, after = leaf_envelope(len(chunk), kind)
    block = sha256(before)
    block.update(chunk)
    block.update(after)
    return block.digest()


def file_node(links: Sequence[dag_pb.Link], blocksizes: Sequence[int]) -> bytes:
    """Encode the block of an inner node of a file."""
    message = Message(Kind.FILE, filesize=sum(blocksizes), blocksizes=tuple(blocksizes))
    return dag_pb.encode(dag_pb.Node(tuple(links), encode(message)))

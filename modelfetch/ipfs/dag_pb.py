"""dag-pb nodes: a list of links to other blocks, and some data.

::

    PBNode  Links 2 (repeated), Data 1         written in this order; Data first is accepted (IPIP-550)
    PBLink  Hash 1 (binary CID), Name 2, Tsize 3

The rules of the specification are enforced: no unknown or repeated fields, the fields of a link in ascending
order, links not split by the data. A block that is decoded and encoded again therefore has the same bytes, if
its data came last and its numbers were in the shortest form. Names stay bytes: they need not be UTF-8.

A node of two links and its bytes (the root of 1,048,577 bytes in chunks of 1 MiB)::

    122c 0a24 01551220 0268...ec98 1200 18808040    link: CID, empty name, size of the block
    122a 0a24 01551220 4d7b...0f47 1200 1801
    0a0c 0802 18818040 20808040 2001                data: a UnixFS message
"""

from __future__ import annotations

from typing import Final, NamedTuple

from modelfetch.ipfs import protobuf
from modelfetch.ipfs.cid import Cid
from modelfetch.ipfs.errors import MalformedError

_DATA: Final = 1
_LINKS: Final = 2
_HASH: Final = 1
_NAME: Final = 2
_TSIZE: Final = 3
_LINK_WIRES: Final = {_HASH: protobuf.BYTES, _NAME: protobuf.BYTES, _TSIZE: protobuf.VARINT}


class Link(NamedTuple):
    """A link to another block."""

    cid: Cid
    """Of any codec and hash: a directory may contain things that are not files."""
    name: bytes | None
    """Name of the entry in a directory; empty for a part of a file; None if the field is absent."""
    tsize: int | None
    """Size in bytes of all blocks below the link, as its writer stated; only a hint."""


class Node(NamedTuple):
    """A dag-pb node."""

    links: tuple[Link, ...]
    data: bytes | None
    """A UnixFS message in files and directories; None if the field is absent."""


def decode(block: bytes) -> Node:
    """Decode a node.

    Raises:
        MalformedError: The block breaks a rule of the format; the message names the link.
    """
    links: list[Link] = []
    data: bytes | None = None
    links_before_data = 0
    for number, wire, value in protobuf.read_fields(block):
        if not isinstance(value, bytes) or number not in {_DATA, _LINKS}:
            raise MalformedError(f"dag-pb node: field {number} of wire type {wire} is unknown")
        if number == _LINKS:
            links.append(_decode_link(value, len(links)))
        elif data is None:
            data, links_before_data = value, len(links)
        else:
            raise MalformedError("dag-pb node: two data fields")
    if data is not None and 0 < links_before_data < len(links):
        raise MalformedError("dag-pb node: links before and after the data")
    return Node(tuple(links), data)


def _decode_link(data: bytes, index: int) -> Link:
    try:
        return _read_link(data)
    except MalformedError as error:
        raise MalformedError(f"dag-pb link {index}: {error}") from None


def _read_link(data: bytes) -> Link:
    found: list[int | bytes | None] = [None, None, None]
    last = 0
    for number, wire, value in protobuf.read_fields(data):
        if _LINK_WIRES.get(number) != wire:
            raise MalformedError(f"field {number} of wire type {wire} is unknown")
        if number <= last:
            raise MalformedError("its fields are repeated or not in ascending order")
        last = number
        found[number - 1] = value
    cid, name, tsize = found
    if not isinstance(cid, bytes):
        raise MalformedError("has no CID")
    target, end = Cid.read(cid)
    if end != len(cid):
        raise MalformedError("other bytes follow the digest of a CID")
    return Link(target, name, tsize)  # type: ignore[arg-type]  # the wire types were checked


def encode(node: Node) -> bytes:
    """Encode a node: its links in their order, then its data. Fields that are None are left out."""
    links = [protobuf.bytes_field(_LINKS, _encode_link(link)) for link in node.links]
    return b"".join([*links, *_optional(_DATA, node.data)])


def _encode_link(link: Link) -> bytes:
    size = () if link.tsize is None else (protobuf.varint_field(_TSIZE, link.tsize),)
    return b"".join([protobuf.bytes_field(_HASH, link.cid.binary), *_optional(_NAME, link.name), *size])


def _optional(number: int, value: bytes | None) -> tuple[bytes, ...]:
    return () if value is None else (protobuf.bytes_field(number, value),)

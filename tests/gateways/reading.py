"""Offers of gateways in tests, read as the engine reads them: table first, then each row checked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import closing

from modelfetch.ipfs.cid import Cid
from modelfetch.ipfs.leaf_table import LeafTable
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.net.client import Client
from modelfetch.sources.base import Offer
from modelfetch.sources.ipfs import IpfsSource
from modelfetch.sources.ipfs_offer import GatewayOffer


class WrongRowError(Exception):
    """Bytes that do not fit their row of the table; its offset."""


def offers_of(
    client: Client, urls: Sequence[str], data: bytes, cid: Cid, path: str = "", *, size: int | None = None
) -> list[GatewayOffer]:
    """The offers of gateways for a file, by its own CID or below a directory."""
    text = cid.text
    own, directory = (None, text) if path else (text, None)
    file = FileSpec(path or "model.bin", size or len(data), hashlib.sha256(data).hexdigest(), cid=own)
    found = IpfsSource(client, urls).offers(Manifest("m", "1", (file,), ipfs_cid=directory), file)
    return [narrowed(offer) for offer in found]


def narrowed(offer: Offer) -> GatewayOffer:
    """The offer, which is one of a gateway."""
    assert isinstance(offer, GatewayOffer)
    return offer


def read(offer: GatewayOffer, start: int = 0, end: int | None = None) -> bytes:
    """Read a part of a file in as many answers as the offer needs, without any check."""
    found = bytearray()
    with closing(offer.open(start, end)) as stream:
        skipped = start - stream.start
        assert skipped in (0, start)
        for piece in stream:
            found += piece
    stop = None if end is None else skipped + end - start
    return bytes(found[skipped:stop])


def read_checked(offer: GatewayOffer, start: int = 0, first_byte: float | None = None) -> bytes:
    """Read a file from an offset on, each row checked.

    Raises:
        WrongRowError: A row has other bytes.
        SourceError: The gateway failed.
    """
    table = offer.leaf_table(first_byte)
    with closing(offer.open(start, first_byte=first_byte)) as stream:
        # Copied one by one: a piece is valid only until the next one is requested.
        found = b"".join(map(bytes, stream))[start - stream.start :]
    check(table, start, found)
    return found


def check(table: LeafTable, start: int, found: bytes) -> None:
    """Check whole rows of bytes that begin at an offset."""
    for row in table.rows_in(start, start + len(found)):
        chunk = found[row.offset - start :][: row.size]
        if row.offset >= start and not table.check(row, chunk):
            raise WrongRowError(row.offset)

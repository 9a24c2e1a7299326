"""IPFS gateways: a file fetched by its CID, or by a directory's CID and its path.

A gateway is an ordinary HTTP server that may send anything; the manifest's SHA-256 decides. A CID of a single
raw block *is* a SHA-256, so one that names other bytes than the manifest is refused before any request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelfetch.errors import Fault, SourceError
from modelfetch.ipfs.cid import Cid, raw_sha256
from modelfetch.net.urls import quote_path
from modelfetch.sources.base import IPFS, HttpOffer, Offer, Stream

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.net.client import Client


class IpfsSource:
    """Every configured gateway, for files with a known CID."""

    kind = IPFS

    def __init__(self, client: Client, gateways: Sequence[str]) -> None:
        self._client = client
        self._gateways = [gateway.rstrip("/") for gateway in gateways]

    def offers(self, manifest: Manifest, file: FileSpec) -> Sequence[Offer]:
        """One offer per gateway, when a CID is known."""
        try:
            path = content_path(manifest, file)
        except SourceError as error:
            return [Refusal(self.kind, "manifest", error)]
        if path is None:
            return []
        return [
            HttpOffer(self.kind, f"{gateway}/ipfs/{path}", file.size, self._client)
            for gateway in self._gateways
        ]


class Refusal:
    """An offer that cannot be taken up, and says why in its turn like any other failure."""

    def __init__(self, kind: str, host: str, error: SourceError) -> None:
        self.kind = kind
        self.host = host
        self.address = error.message
        self._error = error

    def open(self, offset: int, end: int | None = None, first_byte: float | None = None) -> Stream:  # noqa: ARG002
        """Raise the reason."""
        raise self._error


def content_path(manifest: Manifest, file: FileSpec) -> str | None:
    """``<cid>`` or ``<directory cid>/<path>``, CIDs in the case-insensitive form subdomain gateways need.

    Raises:
        SourceError: A CID is malformed, or is a raw block's and names other bytes than the SHA-256 pinned.
    """
    if file.cid is not None:
        cid = _parse(file.cid)
        if raw_sha256(cid) not in (None, file.sha256):
            raise SourceError(Fault.HASH, "the manifest's CID names other bytes than its SHA-256")
        return cid.to_v1().text
    if manifest.ipfs_cid is not None:
        return f"{_parse(manifest.ipfs_cid).to_v1().text}/{quote_path(file.path)}"
    return None


def _parse(text: str) -> Cid:
    try:
        return Cid.parse(text)
    except ValueError as error:
        raise SourceError(Fault.PROTOCOL, f"the manifest's CID is malformed: {error}") from None

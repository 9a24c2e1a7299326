"""IPFS gateways: a file is requested by its CID, or by the CID of a directory and its path.

A gateway is an ordinary HTTP server that may send anything; the SHA-256 in the manifest decides. The CID of a
single raw block contains the SHA-256 of the file. If it differs from the one in the manifest, no request is
sent. Example::

    https://gateway.example/ipfs/bafybei.../model/config.json
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from modelfetch.errors import Fault, SourceError
from modelfetch.ipfs.cid import Cid, raw_sha256
from modelfetch.model.source_kinds import SourceKind
from modelfetch.net.urls import quote_path
from modelfetch.sources.base import HostAddress, HttpOffer, Offer, RegisteredSource, SourceContext, Stream

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.net.client import Client
    from modelfetch.settings import Settings

EMPTY_CID: Final = "bafkqaaa"
"""An empty file as an identity CID (multihash 0x00): every gateway can answer it without a search."""


class IpfsSource(RegisteredSource):
    """The configured gateways, for files with a known CID.

    Args:
        client: HTTP client of the run.
        gateways: URLs of the gateways.
    """

    kind = SourceKind.IPFS

    def __init__(self, client: Client, gateways: Sequence[str]) -> None:
        self._client = client
        self._gateways = [gateway.rstrip("/") for gateway in gateways]

    @classmethod
    def from_context(cls, context: SourceContext) -> IpfsSource:
        """Use the gateways of the settings."""
        return cls(context.client, context.loaded.settings.ipfs.gateways)

    @classmethod
    def configured_hosts(cls, settings: Settings) -> Iterator[HostAddress]:
        """The gateways in settings."""
        for gateway in settings.ipfs.gateways:
            yield HostAddress(f"{gateway}/ipfs/{EMPTY_CID}?format=raw", is_head=False)

    def offers(self, manifest: Manifest, file: FileSpec) -> Sequence[Offer]:
        """One offer per gateway if a CID is known; a :class:`Refusal` if the CID is wrong."""
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
    """An offer that always fails. The failure of a wrong CID is so reported like that of any other source.

    Args:
        kind: Kind of the source.
        host: Where the error is, for display.
        error: Raised by :meth:`open`.
    """

    def __init__(self, kind: str, host: str, error: SourceError) -> None:
        self.kind = kind
        self.host = host
        self.address = error.message
        self._error = error

    def open(self, offset: int, end: int | None = None, first_byte: float | None = None) -> Stream:  # noqa: ARG002
        """Raise the error."""
        raise self._error


def content_path(manifest: Manifest, file: FileSpec) -> str | None:
    """``<cid>`` or ``<directory cid>/<path>``; None if the manifest has no CID for the file.

    CIDs are written in version 1, whose text is case-insensitive: gateways may redirect to a subdomain with
    it.

    Raises:
        SourceError: A CID is malformed, or it is that of a raw block with another SHA-256 than the pinned
            one.
    """
    if file.cid is not None:
        cid = _parse(file.cid)
        if raw_sha256(cid) not in (None, file.sha256):
            raise SourceError(Fault.HASH, "the CID in the manifest does not match its SHA-256")
        return cid.to_v1().text
    if manifest.ipfs_cid is not None:
        return f"{_parse(manifest.ipfs_cid).to_v1().text}/{quote_path(file.path)}"
    return None


def _parse(text: str) -> Cid:
    try:
        return Cid.parse(text)
    except ValueError as error:
        raise SourceError(Fault.PROTOCOL, f"the CID in the manifest is malformed: {error}") from None

"""IPFS gateways: a file is requested by its CID, or by the CID of a directory and its path.

A gateway is an ordinary HTTP server that may send anything; the SHA-256 in the manifest decides, and before
that the leaf table of the file, which its CID proves. The CID of a single raw block contains the SHA-256 of
the file. If it differs from the one in the manifest, no request is sent. Example::

    https://gateway.example/ipfs/bafybei.../model/config.json

The gateways are those of the settings, before them that of a node on this machine if one runs. Of several
hosts with the same servers behind them, only the first is used.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from modelfetch.errors import Fault, SourceError
from modelfetch.ipfs.cid import Cid, raw_sha256
from modelfetch.model.source_kinds import SourceKind
from modelfetch.net.local_port import is_listening
from modelfetch.net.urls import quote_path
from modelfetch.sources.base import HostAddress, Offer, RegisteredSource, SourceContext, Stream
from modelfetch.sources.ipfs_content import BlockCache, FileContent
from modelfetch.sources.ipfs_gateway import EMPTY_CID, LOCAL_NODE, Gateway, distinct
from modelfetch.sources.ipfs_hedge import Hedge
from modelfetch.sources.ipfs_offer import GatewayOffer

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.net.client import Client
    from modelfetch.settings import Settings

LOCAL_SECONDS: Final = 0.25
"""Seconds for finding out whether a node runs on this machine. Where nothing listens, it takes no time; a
program that listens there and does not answer must not delay a run noticeably."""


class IpfsSource(RegisteredSource):
    """The configured gateways, for files with a known CID.

    Args:
        client: HTTP client of the run.
        gateways: URLs of the gateways.
        local_node: Address of a gateway on this machine, used first if it answers; None to look for none.
    """

    kind = SourceKind.IPFS

    def __init__(self, client: Client, gateways: Sequence[str], local_node: str | None = None) -> None:
        self._client = client
        self._urls = gateways
        self._local_node = local_node
        self._directories = BlockCache()
        self._lock = threading.Lock()
        self._found: list[Gateway] | None = None

    @classmethod
    def from_context(cls, context: SourceContext) -> IpfsSource:
        """Use the gateways of the settings, and a node on this machine."""
        return cls(context.client, context.loaded.settings.ipfs.gateways, LOCAL_NODE)

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
        gateways = self._gateways()
        names = [] if file.cid is not None else file.path.split("/")
        content = FileContent(Cid.parse(path.partition("/")[0]), names, file.size, self._directories)
        hedge = Hedge(gateways, content.root)
        return [GatewayOffer(gateway, path, file.size, content, hedge, self._client) for gateway in gateways]

    def _gateways(self) -> list[Gateway]:
        """The gateways of the run, made once."""
        with self._lock:
            if self._found is None:
                self._found = usable_gateways(self._client, self._urls, self._local_node)
            return self._found


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


def usable_gateways(client: Client, urls: Sequence[str], local_node: str | None) -> list[Gateway]:
    """Return the gateways to use, in the order in which they are asked.

    Args:
        client: HTTP client of the run.
        urls: The configured ones. If there are none, IPFS is off, and no node is looked for.
        local_node: As for :class:`IpfsSource`.
    """
    gateways = [Gateway(url, client) for url in distinct(urls)]
    if not gateways or local_node is None:
        return gateways
    address = urlsplit(local_node)
    host, port = address.hostname or "", address.port or 80
    named = {urlsplit(url).netloc.replace("localhost", host) for url in urls}
    if address.netloc in named or not is_listening(host, port, LOCAL_SECONDS):
        return gateways
    node = Gateway(local_node, client)
    # Any program may listen there, so only one that answers like a gateway is sent requests for files.
    return [node, *gateways] if node.is_ready(LOCAL_SECONDS) else gateways


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

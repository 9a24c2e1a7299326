"""The table of a file's chunks from a peer, proven by the CID in the manifest.

A peer is a trustless gateway too: ``GET /ipfs/<cid>?format=raw`` gives a block, which its CID proves. The
inner nodes of the file's tree are its table of chunks. With it each chunk of the file is checked as it
arrives, from any peer or other source, and several of them send parts of the file at the same time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelfetch.errors import Fault, SourceError
from modelfetch.ipfs.cid import Cid
from modelfetch.sources.ipfs import content_path
from modelfetch.sources.ipfs_content import BlockCache, FileContent, NoTableError
from modelfetch.sources.ipfs_gateway import Gateway
from modelfetch.sources.peer import ANSWER_SECONDS, Peer, PeerOffer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from modelfetch.ipfs.leaf_table import LeafTable
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.net.client import Client


class PeersTable:
    """The table of one file, from the first of its peers that has it. Thread-safe.

    Where one peer does not have it, or sends a wrong one, the others are asked before any bytes
    are taken. So a peer that has no table is checked with that of another one.

    Args:
        content: What is known of the table; blocks that one peer sent are not requested from the next.
        gateways: The peers, by address.
    """

    def __init__(self, content: FileContent, gateways: Mapping[str, Gateway]) -> None:
        self._content = content
        self._left = dict(gateways)
        """Those that did not fail."""

    def read(self, first: str) -> LeafTable:
        """Return the table.

        Args:
            first: Address of the peer that is asked first.

        Raises:
            NoTableError: No peer knows it.
            Cancelled: The run was cancelled.
        """
        for address in sorted(self._left, key=lambda address: address != first):
            gateway = self._left.get(address)
            if gateway is None:  # failed in another thread meanwhile
                continue
            try:
                return self._content.leaf_table(gateway, ANSWER_SECONDS)
            except NoTableError:
                raise
            except SourceError:
                self._left.pop(address, None)
        if self._content.table is not None:
            return self._content.table
        raise NoTableError(Fault.NOT_FOUND, "no peer knows the chunks of the file")


def table_of(
    manifest: Manifest, file: FileSpec, peers: Sequence[Peer], client: Client, directories: BlockCache
) -> PeersTable | None:
    """Return what the peers of a file know of its chunks; None without a CID that could prove it.

    Args:
        manifest: The model.
        file: One of its files.
        peers: The peers.
        client: For machines of the local network.
        directories: Blocks of directories of the run.
    """
    try:
        path = content_path(manifest, file)
    except SourceError:  # reported by the gateways, which need the CID
        return None
    if path is None:
        return None
    names = [] if file.cid is not None else file.path.split("/")
    content = FileContent(Cid.parse(path.partition("/")[0]), names, file.size, directories)
    return PeersTable(content, {peer.url: Gateway(peer.url, client) for peer in peers})


class ProvingPeerOffer(PeerOffer):
    """A file at a peer whose chunks may be known; see :class:`modelfetch.engine.file_chunks.Provable`.

    Args:
        peer: The peer.
        manifest: A model that has the file.
        file: The file.
        client: For machines of the local network.
        own: As for :class:`PeerOffer`.
        table: What the peers of the file know of its chunks.
    """

    def __init__(
        self,
        peer: Peer,
        manifest: Manifest,
        file: FileSpec,
        client: Client,
        own: Callable[[], str],
        table: PeersTable,
    ) -> None:
        super().__init__(peer, manifest, file, client, own)
        self._table = table

    def leaf_table(self, first_byte: float | None = None) -> LeafTable:  # noqa: ARG002 - peers have less time
        """Return the table of the file; see :meth:`PeersTable.read`."""
        return self._table.read(self._peer.url)

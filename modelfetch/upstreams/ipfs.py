"""Files and directories on IPFS, read through the gateways of ``ipfs.gateways``.

What a CID states depends on its codec (see :mod:`modelfetch.ipfs.cid`)::

    raw, sha2-256    the SHA-256 of the whole file: it is stated
    raw, identity    the file itself: no request is needed
    dag-pb           the hash of the root of a tree: the SHA-256 of the file is computed from the bytes

The files of a directory are found by reading its blocks. Every block is hashed before it is used, and every
chunk of a file before it is passed on, so names, sizes and bytes are those that the CID identifies, whichever
gateway sent them. Gateways are asked one after the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from modelfetch.errors import IntegrityError, SourceError, UnknownModelError, UsageError
from modelfetch.ipfs.car import BLOCK_LIMIT
from modelfetch.ipfs.cid import IDENTITY, RAW, Cid, raw_sha256
from modelfetch.ipfs.directory import DirectoryWalk, NotFoundError, PathLookup
from modelfetch.ipfs.errors import MalformedError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.paths import why_unsafe
from modelfetch.model.reference import IpfsReference
from modelfetch.model.text import quote
from modelfetch.net.urls import host_of
from modelfetch.sources.ipfs import usable_gateways
from modelfetch.sources.ipfs_gateway import LOCAL_NODE
from modelfetch.upstreams.base import Listing, UpstreamFile
from modelfetch.upstreams.collect import FileCollector
from modelfetch.upstreams.ipfs_reading import Gateways, none_has
from modelfetch.upstreams.url import HEAD_BYTES, Head, pieces, read_head

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelfetch.ipfs.block_walk import BlockWalk
    from modelfetch.model.reference import Reference
    from modelfetch.net.hub_client import HubClient
    from modelfetch.upstreams.access import Access

W = TypeVar("W", bound="BlockWalk[Any]")

RAW_BYTES: Final = 4 << 20
"""Largest raw block in bytes that is read to learn its size. Programs exchange blocks of at most 2 MiB
(bitswap), so larger ones hardly exist."""


@dataclass(frozen=True, slots=True)
class _Answered:
    """What the first gateway answered that has the file."""

    url: str
    head: Head


class Ipfs:
    """Files behind IPFS gateways.

    Args:
        hub: Sends the requests.
        gateways: URLs of the gateways, in the order in which they are asked.
        local_node: Address of a gateway on this machine, used first if it answers; None to look for none.
    """

    def __init__(self, hub: HubClient, gateways: Sequence[str], local_node: str | None = None) -> None:
        self._hub = hub
        found = usable_gateways(hub.client, gateways, local_node)
        self._urls = [gateway.url for gateway in found]
        self._gateways = Gateways(hub, found)

    @classmethod
    def from_access(cls, access: Access) -> Ipfs:
        """Use the gateways of the settings, and a node on this machine."""
        return cls(access.hub, access.loaded.settings.ipfs.gateways, LOCAL_NODE)

    def resolve(self, reference: Reference) -> Listing:
        """List the file, or the files of the directory; see :meth:`.Upstream.resolve`.

        Raises:
            IntegrityError: A gateway sent other bytes than the CID states.
        """
        wanted = cast("IpfsReference", reference)
        try:
            cid = Cid.parse(wanted.cid)
        except ValueError as error:
            raise UsageError(f"{quote(wanted.cid)} is not a CID of a file: {error}") from None
        if cid.codec == RAW and wanted.path:
            raise UsageError(
                f"{quote(wanted.text)}: this CID is that of a file, which has no paths",
                hint=f"Use ipfs:{cid.to_v1().text}.",
            )
        if cid.codec == RAW:
            return self._raw(wanted, cid)
        if wanted.path and (why := why_unsafe(wanted.path)):
            raise UsageError(f"{quote(wanted.text)} cannot be pinned: the path {why}")
        return self._tree(wanted, cid)

    @contextmanager
    def open(self, file: UpstreamFile) -> Iterator[Iterator[bytes]]:
        """Open the file; see :meth:`.Upstream.open`."""
        yield self._pieces(file)

    def _pieces(self, file: UpstreamFile) -> Iterator[bytes]:
        cid = Cid.parse(file.cid or "")
        if cid.codec != RAW:
            return self._gateways.pieces(cid, file.size, quote(file.path))
        if cid.hash_code == IDENTITY:
            return iter((cid.digest,))
        if not file.fetch_url and file.size is not None and file.size <= BLOCK_LIMIT:
            return iter((self._gateways.block(cid, quote(file.path)),))
        return self._raw_pieces(file, cid)

    def _raw_pieces(self, file: UpstreamFile, cid: Cid) -> Iterator[bytes]:
        """Yield a raw block as a file, because one of more than 2 MiB is not sent as a block."""
        url = file.fetch_url or self._first(IpfsReference(cid.text), cid.to_v1().text).url
        hasher = hashlib.sha256()
        for piece in pieces(self._hub, UpstreamFile(file.path, file.size, None, fetch_url=url)):
            hasher.update(piece)
            yield piece
        if raw_sha256(cid) != hasher.hexdigest():
            raise _wrong(host_of(url), hasher.hexdigest(), cid)

    def _raw(self, wanted: IpfsReference, cid: Cid) -> Listing:
        text = cid.to_v1().text
        if cid.hash_code == IDENTITY:
            file = UpstreamFile(text, len(cid.digest), hashlib.sha256(cid.digest).hexdigest(), cid=text)
            return _listing(wanted, (file,), "ipfs")
        found = self._first(wanted, text)
        size = found.head.size
        file = UpstreamFile(text, size, None, fetch_url=found.url, cid=text)
        if size is not None and size > RAW_BYTES:
            return _listing(wanted, (file,), "computed")
        # The size is known for certain only from verified bytes, and without it the pin is useless.
        length = sum(map(len, self._pieces(file)))
        return _listing(
            wanted, (UpstreamFile(text, length, raw_sha256(cid), fetch_url=found.url, cid=text),), "ipfs"
        )

    def _tree(self, wanted: IpfsReference, cid: Cid) -> Listing:
        """List the files of a tree: of one directory, or of one file."""
        self._require_gateways(wanted)
        names = [name.encode() for name in wanted.path.split("/")] if wanted.path else []
        lookup = self._walked(wanted, lambda: PathLookup(cid, names))
        assert lookup.target is not None, "no block is wanted any more"
        target = lookup.target
        entries = self._walked(wanted, lambda: DirectoryWalk(target)).entries or ()
        files = FileCollector(quote(wanted.text))
        for entry in entries:
            # A single file has no name but that in the reference.
            path = entry.path or wanted.path.rpartition("/")[2] or target.to_v1().text
            files.add(UpstreamFile(path, entry.size, None, cid=entry.cid.to_v1().text))
        if not files:
            raise UsageError(f"{quote(wanted.text)} is a directory without files")
        return _listing(wanted, files.finish(), "computed", is_directory=bool(entries[0].path))

    def _walked(self, wanted: IpfsReference, make: Callable[[], W]) -> W:
        """Give a walk all the blocks it wants."""
        try:
            walk = make()
            while found := walk.wanted:
                for cid in found:
                    walk.add(self._gateways.block(cid, quote(wanted.text)))
        except NotFoundError as error:
            raise UnknownModelError(
                f"{quote(wanted.text)} does not exist: {error}", hint="Names are case-sensitive."
            ) from None
        except MalformedError as error:
            raise UsageError(f"{quote(wanted.text)} cannot be pinned: {error}") from None
        return walk

    def _require_gateways(self, wanted: IpfsReference) -> None:
        if not self._urls:
            raise UsageError(
                f"{quote(wanted.text)} cannot be read: no gateway is configured",
                hint="`modelfetch config set ipfs.gateways URL` names one.",
            )

    def _first(self, wanted: IpfsReference, content: str) -> _Answered:
        """Ask the gateways for the beginning of a file until one has it."""
        self._require_gateways(wanted)
        faults = []
        for gateway in self._urls:
            url = f"{gateway}/ipfs/{content}"
            fields = {"Range": f"bytes=0-{HEAD_BYTES - 1}"}
            try:
                with self._hub.get(url, accept="*/*", headers=fields, attempts=1) as answer:
                    return _Answered(url, read_head(answer))
            except SourceError as error:
                faults.append(f"{host_of(url)}: {error.message}")
        raise none_has(quote(wanted.text), faults)


def _listing(
    wanted: IpfsReference, files: tuple[UpstreamFile, ...], stated_by: str, *, is_directory: bool = False
) -> Listing:
    path = files[0].path
    name = path.rpartition(".")[0] or path
    if is_directory:
        name = wanted.path.rpartition("/")[2] or wanted.cid
    return Listing(
        IpfsReference(wanted.cid, wanted.path), revision="", files=files, stated_by=stated_by, name=name
    )


def _wrong(host: str, actual: str, cid: Cid) -> IntegrityError:
    return IntegrityError(
        f"{host} sent bytes with SHA-256 {actual}, but the CID states {raw_sha256(cid)}",
        hint="Do not use this gateway, or try again: the connection may have been changed on the way.",
    )

"""A file on IPFS, read through the gateways of ``ipfs.gateways``.

What a CID states depends on its codec (see :mod:`modelfetch.ipfs.cid`)::

    raw, sha2-256    the SHA-256 of the whole file: the bytes of a gateway are verified, the digest is stated
    raw, identity    the file itself: no request is needed
    dag-pb           the hash of the root of a tree: the SHA-256 of the file is computed from the bytes

The blocks of a tree are not verified against the CID here, so a computed digest is that of what one gateway
sent; a notice says so. Gateways are asked one after the other, once each. A CID of a directory is refused:
only the path of a file inside it can be pinned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

from modelfetch.errors import IntegrityError, SourceError, UnavailableError, UsageError
from modelfetch.ipfs.cid import IDENTITY, RAW, Cid, raw_sha256
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.paths import why_unsafe
from modelfetch.model.reference import IpfsReference
from modelfetch.model.text import quote
from modelfetch.net.urls import host_of, quote_path
from modelfetch.upstreams.base import Listing, UpstreamFile
from modelfetch.upstreams.url import HEAD_BYTES, Head, pieces, read_head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelfetch.model.reference import Reference
    from modelfetch.net.hub_client import HubClient
    from modelfetch.upstreams.access import Access

RAW_BYTES: Final = 4 << 20
"""Largest raw block in bytes that is read to learn its size. Programs exchange blocks of at most 2 MiB
(bitswap), so larger ones hardly exist."""
_PAGES: Final = (".html", ".htm")


@dataclass(frozen=True, slots=True)
class _Answered:
    """What the first gateway answered that has the file."""

    url: str
    head: Head
    cid: str | None
    """The CID of the file, as the gateway states it."""


class Ipfs:
    """Files behind IPFS gateways.

    Args:
        hub: Sends the requests.
        gateways: URLs of the gateways, in the order in which they are asked.
    """

    def __init__(self, hub: HubClient, gateways: Sequence[str]) -> None:
        self._hub = hub
        self._gateways = [gateway.rstrip("/") for gateway in gateways]

    @classmethod
    def from_access(cls, access: Access) -> Ipfs:
        """Use the gateways of the settings."""
        return cls(access.hub, access.loaded.settings.ipfs.gateways)

    def resolve(self, reference: Reference) -> Listing:
        """Find out digest and size of the file; see :meth:`.Upstream.resolve`.

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
        return self._tree(wanted, cid)

    @contextmanager
    def open(self, file: UpstreamFile) -> Iterator[Iterator[bytes]]:
        """Open the file; see :meth:`.Upstream.open`."""
        yield self._pieces(file)

    def _pieces(self, file: UpstreamFile) -> Iterator[bytes]:
        cid = Cid.parse(file.cid) if file.cid else None
        if cid is not None and (cid.codec, cid.hash_code) == (RAW, IDENTITY):
            yield cid.digest
            return
        hasher = hashlib.sha256()
        for piece in pieces(self._hub, file):
            hasher.update(piece)
            yield piece
        if cid is not None and raw_sha256(cid) not in (None, hasher.hexdigest()):
            raise _wrong(host_of(file.fetch_url), hasher.hexdigest(), cid)

    def _raw(self, wanted: IpfsReference, cid: Cid) -> Listing:
        text = cid.to_v1().text
        if cid.hash_code == IDENTITY:
            file = UpstreamFile(text, len(cid.digest), hashlib.sha256(cid.digest).hexdigest(), cid=text)
            return _listing(wanted, file, "ipfs")
        found = self._first(wanted, text)
        size = found.head.size
        file = UpstreamFile(text, size, None, fetch_url=found.url, cid=text)
        if size is not None and size > RAW_BYTES:
            return _listing(wanted, file, "computed")
        # The size is known for certain only from verified bytes, and without it the pin is useless.
        length = sum(map(len, self._pieces(file)))
        return _listing(
            wanted, UpstreamFile(text, length, raw_sha256(cid), fetch_url=found.url, cid=text), "ipfs"
        )

    def _tree(self, wanted: IpfsReference, cid: Cid) -> Listing:
        path = wanted.path
        if path and (why := why_unsafe(path)):
            raise UsageError(f"{quote(wanted.text)} cannot be pinned: the path {why}")
        root = cid.to_v1().text
        found = self._first(wanted, f"{root}/{quote_path(path)}" if path else root)
        _refuse_directory(found, wanted)
        own = found.cid if path else root
        notice = (
            f"the digest is computed from what {host_of(found.url)} alone sends: "
            "the blocks are not verified against the CID"
        )
        file = UpstreamFile(
            path.rpartition("/")[2] if path else root,
            found.head.size,
            None,
            fetch_url=found.url,
            # The address contains the CID of the directory, so it stays that of this file.
            urls=() if own else (found.url,),
            cid=own,
        )
        return _listing(wanted, file, "computed", notice)

    def _first(self, wanted: IpfsReference, content: str) -> _Answered:
        """Ask the gateways for the beginning of a file until one has it."""
        if not self._gateways:
            raise UsageError(
                f"{quote(wanted.text)} cannot be read: no gateway is configured",
                hint="`modelfetch config set ipfs.gateways URL` names one.",
            )
        faults = []
        for gateway in self._gateways:
            url = f"{gateway}/ipfs/{content}"
            fields = {"Range": f"bytes=0-{HEAD_BYTES - 1}"}
            try:
                with self._hub.get(url, accept="*/*", headers=fields, attempts=1) as answer:
                    head = read_head(answer)
                    if urlsplit(answer.url).path.endswith("/"):  # how gateways redirect to a directory
                        raise _directory(wanted)
                    return _Answered(url, head, _stated_cid(answer.headers))
            except SourceError as error:
                faults.append(f"{host_of(url)}: {error.message}")
        raise UnavailableError(
            f"no gateway has {quote(wanted.text)} ({'; '.join(faults)})",
            hint="Try again later, or add a gateway that has it: `modelfetch config set ipfs.gateways URL`.",
        )


def _listing(wanted: IpfsReference, file: UpstreamFile, stated_by: str, *notices: str) -> Listing:
    return Listing(
        IpfsReference(wanted.cid, wanted.path),
        revision="",
        files=(file,),
        stated_by=stated_by,
        name=file.path.rpartition(".")[0] or file.path,
        notices=notices,
    )


def _stated_cid(headers: dict[str, str]) -> str | None:
    """The CID of a file as a gateway states it: the last of ``X-Ipfs-Roots`` (IPFS path gateway spec).

    It is only a hint where the bytes may be found: the SHA-256 decides.
    """
    text = headers.get("x-ipfs-roots", "").rpartition(",")[2].strip()
    try:
        return Cid.parse(text).to_v1().text
    except ValueError:
        return None


def _refuse_directory(found: _Answered, wanted: IpfsReference) -> None:
    """Raise if a gateway sent a page: that of a directory, or one of its own."""
    if found.head.kind == "text/html" and not wanted.path.casefold().endswith(_PAGES):
        raise _directory(wanted)


def _directory(wanted: IpfsReference) -> UsageError:
    return UsageError(
        f"{quote(wanted.text)} is a directory, or no file that a gateway sends",
        hint="Name one file in it: ipfs:CID/PATH.",
    )


def _wrong(host: str, actual: str, cid: Cid) -> IntegrityError:
    return IntegrityError(
        f"{host} sent bytes with SHA-256 {actual}, but the CID states {raw_sha256(cid)}",
        hint="Do not use this gateway, or try again: the connection may have been changed on the way.",
    )

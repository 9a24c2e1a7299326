"""One file at an https address, whose digest nobody states: it is computed from the bytes.

The beginning of the file is requested to learn its size, and to refuse what is not the file: a web page, or a
Git LFS pointer, which is a text of three lines in place of the file::

    GET https://host/models/tiny.onnx     Range: bytes=0-1023
    206, Content-Range: bytes 0-1023/5000000

The address that the user gave is pinned, not the one that a redirect leads to, which is often signed and
expires. The name of the file is the last part of the path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import unquote, urlsplit

from modelfetch.errors import Fault, SourceError, UnknownModelError, UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.addresses import why_bad_url
from modelfetch.model.paths import why_unsafe
from modelfetch.model.text import media_type, quote
from modelfetch.net.hub_client import refused
from modelfetch.net.urls import host_of, is_secure, is_this_machine
from modelfetch.upstreams.base import Listing, UpstreamFile
from modelfetch.upstreams.collect import failure
from modelfetch.upstreams.reading import LFS_VERSION

if TYPE_CHECKING:
    from modelfetch.model.reference import Reference, UrlReference
    from modelfetch.net.answers import Answer
    from modelfetch.net.hub_client import HubClient
    from modelfetch.upstreams.access import Access

MAX_BYTES: Final = 1 << 40
"""Largest file of unknown size in bytes (1 TiB), so that a server that sends without end is left."""
HEAD_BYTES: Final = 1024
"""Bytes that are requested first; a Git LFS pointer has less than 200."""

_REST: Final = "Check the address in a browser; what can be pinned is the address of the download itself."
_PAGE: Final = re.compile(rb"\s*(?:<!doctype html|<html)", re.IGNORECASE)
_PAGES: Final = (".html", ".htm", ".xhtml")
_TOTAL: Final = re.compile(r"bytes (?:[0-9]{1,19}-[0-9]{1,19}|\*)/([0-9]{1,19})", re.IGNORECASE)
_FILENAME: Final = re.compile(r'(?:^|;)\s*filename\s*=\s*(?:"([^"\\]*)"|([^\s";]+))', re.IGNORECASE)
"""The plain parameter of Content-Disposition (RFC 6266, 4.1); an encoded one (``filename*``) is not read."""
_UNUSUAL: Final = re.compile(r"[^A-Za-z0-9._+-]+")


@dataclass(frozen=True, slots=True)
class Head:
    """What the answer to the first request says about a file."""

    size: int | None
    """Size in bytes; None if it is not stated."""
    start: bytes
    """The first bytes, at most :data:`HEAD_BYTES`."""
    kind: str
    """Media type without parameters; may be empty."""
    disposition: str
    """The field ``Content-Disposition``; may be empty."""


class Url:
    """Files at addresses of their own.

    Args:
        hub: Sends the requests.
    """

    def __init__(self, hub: HubClient) -> None:
        self._hub = hub

    @classmethod
    def from_access(cls, access: Access) -> Url:
        """Use the client of the run."""
        return cls(access.hub)

    def resolve(self, reference: Reference) -> Listing:
        """Find out name and size of the file; see :meth:`.Upstream.resolve`."""
        url = cast("UrlReference", reference).url
        require_usable(url)
        head = self._head(url)
        name, notices = name_of(url, head.disposition)
        refuse_page(head, url, name)
        if urlsplit(url).query:
            notices.append(
                "the address has a query, which is pinned too: make sure that it contains no secret"
            )
        file = UpstreamFile(name, head.size, None, fetch_url=url, urls=(url,))
        return Listing(
            reference,
            revision="",
            files=(file,),
            stated_by="computed",
            name=PurePosixPath(name).stem,
            notices=tuple(notices),
        )

    @contextmanager
    def open(self, file: UpstreamFile) -> Iterator[Iterator[bytes]]:
        """Open the file; see :meth:`.Upstream.open`."""
        yield pieces(self._hub, file)

    def _head(self, url: str) -> Head:
        try:
            fields = {"Range": f"bytes=0-{HEAD_BYTES - 1}"}
            with self._hub.get(url, accept="*/*", headers=fields) as answer:
                return read_head(answer)
        except SourceError as error:
            if error.fault is Fault.NOT_FOUND:
                raise UnknownModelError(
                    f"{host_of(url)} has no such file: {error.message}", hint=_REST
                ) from error
            hint = "Credentials never belong in an address; use a hub that modelfetch has a login for."
            raise failure(error, url, "read the file", refused=hint) from error


def require_usable(url: str) -> None:
    """Check an address before the first request.

    Raises:
        UsageError: It is malformed, has credentials, or is plain http to another machine.
    """
    if why := why_bad_url(url):
        raise UsageError(f"the address cannot be pinned: it {why}")
    if not (is_secure(url) or is_this_machine(urlsplit(url).hostname or "")):
        raise UsageError(
            f"{host_of(url)}: plain http is refused, because the file could be changed on the way",
            hint="Use https, or fetch the file yourself and add it from this disk.",
        )


def read_head(answer: Answer) -> Head:
    """Read size and beginning of a file from an answer to a request for its first bytes.

    Raises:
        SourceError: The status stands for a failure, or the body cannot be read.
    """
    total = _TOTAL.fullmatch(answer.headers.get("content-range", "").strip())
    stated = int(total[1]) if total else None
    kind = media_type(answer.headers.get("content-type", ""))
    disposition = answer.headers.get("content-disposition", "")
    if answer.status == 416 and stated == 0:  # an empty file has no first byte
        return Head(0, b"", kind, disposition)
    if answer.status not in (200, 206):
        raise refused(answer)
    size = answer.length if answer.status == 200 else stated
    start = bytearray()
    for piece in answer.pieces(MAX_BYTES):
        start += piece
        if len(start) >= HEAD_BYTES:
            break  # a server without ranges sends all of it: the connection is closed instead
    return Head(size, bytes(start[:HEAD_BYTES]), kind, disposition)


def refuse_page(head: Head, url: str, name: str) -> None:
    """Refuse an answer that is not the file itself.

    Raises:
        UsageError: It is a web page or a Git LFS pointer.
    """
    is_page = head.kind == "text/html" or _PAGE.match(head.start)
    if is_page and not name.casefold().endswith(_PAGES):
        raise UsageError(
            f"{host_of(url)} sends a web page instead of a file",
            hint="Open the address in a browser, log in if necessary, and copy the link of the download.",
        )
    if head.start.startswith(LFS_VERSION):
        raise UsageError(
            f"{host_of(url)} sends a Git LFS pointer instead of the file",
            hint="Use the address of the file itself; on GitHub that of media.githubusercontent.com.",
        )


def name_of(url: str, disposition: str) -> tuple[str, list[str]]:
    """Choose the name of a file: the last part of the path, else what the server suggests.

    The suggestion is used only if it is safe, and only if the path has no name with a suffix, as in
    ``/download?id=5``.

    Returns:
        A safe name, and notices.

    Raises:
        UsageError: Neither has a usable name.
    """
    own = unquote(urlsplit(url).path).rpartition("/")[2]
    match = _FILENAME.search(disposition)
    suggested = (match[1] or match[2] or "") if match else ""
    names = [own, suggested] if "." in own.strip(".") else [suggested, own]
    for name in names:
        if "/" not in name and not why_unsafe(name):
            return name, []
    for name in names:
        plain = _UNUSUAL.sub("_", name).strip("_-")
        if "/" not in name and not why_unsafe(plain):
            return plain, [f"{quote(name)} is called {quote(plain)} in the model"]
    raise UsageError(f"{host_of(url)}: the address contains no name that a file could have", hint=_REST)


def pieces(hub: HubClient, file: UpstreamFile) -> Iterator[bytes]:
    """Yield the bytes of a file from its address; raises like :meth:`.Upstream.open`."""
    try:
        yield from hub.download(file.fetch_url, MAX_BYTES if file.size is None else file.size)
    except SourceError as error:
        raise failure(error, file.fetch_url, f"read {quote(file.path)}") from error

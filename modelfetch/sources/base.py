"""The interface of all sources, and the HTTP offer most of them make."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from modelfetch.errors import Fault, SourceError
from modelfetch.net.limits import Memory
from modelfetch.net.responses import Ask
from modelfetch.net.urls import Credential, host_of

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.net.client import Client

LOCAL = "local"
"""The one kind of source that needs no network."""
IPFS = "ipfs"
"""The kind whose sources are volunteers: public gateways, which answer once, soon or not at all."""

_REFUSED = "Whoever runs that server decides who may read it: check its address, or use another source."
"""What to do about a refusal (401, 403) of a server of which nothing more is known."""


class Stream(Protocol):
    """Bytes of one file from some offset on."""

    @property
    def start(self) -> int:
        """Offset of the first byte: where we asked for, or 0 from those who send whole files only."""

    @property
    def ranged(self) -> bool:
        """Whether this source can send a part of the file."""

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """Yield the bytes in order, in pieces each valid until the next one is asked for.

        Raises SourceError when the source fails on the way.
        """

    def close(self) -> None:
        """Let go of the connection or file."""


class Offer(Protocol):
    """One place that claims to have one file."""

    @property
    def kind(self) -> str:
        """Kind of the source, a word of ``sources.order``."""

    @property
    def host(self) -> str:
        """Who would send it, for people and statistics; the directory's name on this disk."""

    @property
    def address(self) -> str:
        """Where exactly, so that one place is not asked twice. Never shown: it may hold a secret."""

    def open(self, offset: int, end: int | None = None, first_byte: float | None = None) -> Stream:
        """Begin to read at ``offset``.

        Args:
            offset: Position of the first byte.
            end: Where a part in the middle ends; None for the rest of the file.
            first_byte: Seconds that the first byte may take, if less than usual.

        Raises:
            SourceError: The place cannot serve it; Unranged when it has no parts to offer.
        """


class Source(Protocol):
    """All places of one kind."""

    @property
    def kind(self) -> str:
        """Kind of the source."""

    def offers(self, manifest: Manifest, file: FileSpec) -> Sequence[Offer]:
        """Where this file might be, best first; empty when this kind does not apply."""


class HttpOffer:
    """A file behind a URL.

    Args:
        kind: Kind of the source.
        url: Where it is.
        size: Its bytes.
        client: HTTP.
        credential: Sent to its origin only.
        refused: What to do when access is refused, where that depends on whose server this is.
    """

    def __init__(
        self,
        kind: str,
        url: str,
        size: int,
        client: Client,
        credential: Credential | None = None,
        refused: str = "",
    ) -> None:
        self.kind = kind
        self.host = host_of(url)
        self.address = url
        self._size = size
        self._client = client
        self._credential = credential
        self._refused = refused
        self._memory = Memory()
        self.before: Callable[[str], None] | None = None
        """Called with the address before each request."""

    def open(self, offset: int, end: int | None = None, first_byte: float | None = None) -> Stream:
        """Ask for the bytes from ``offset`` on."""
        ask = Ask(offset, self._size, end=end, first_byte=first_byte)
        try:
            self._announce()
            return self._client.open(self.address, ask, credential=self._credential, memory=self._memory)
        except SourceError as error:
            self._advise(error)
            raise

    def fetch(self, first_byte: float | None = None) -> bytes:
        """Ask for all of a small file, with as little ado as can be. Raises SourceError.

        Args:
            first_byte: Seconds that the first byte over a new connection may take, if less than usual.
        """
        try:
            self._announce()
            return self._client.fetch(self.address, self._size, self._credential, first_byte)
        except SourceError as error:
            self._advise(error)
            raise

    def close_idle(self) -> None:
        """Close the connections that :meth:`fetch` keeps and nobody uses."""
        self._client.close_idle()

    def _announce(self) -> None:
        if self.before is not None:
            self.before(self.address)

    def _advise(self, error: SourceError) -> None:
        """Say what to do about a refusal."""
        if error.fault is Fault.AUTHORISATION:
            error.hint = self._refused or error.hint or _REFUSED

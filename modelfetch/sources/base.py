"""The interface of all sources, and the HTTP offer that most of them return.

A :class:`Source` returns offers for a file, an :class:`Offer` opens a stream, and a :class:`Stream` yields
bytes::

    for offer in source.offers(manifest, file):
        stream = offer.open(0)
        for piece in stream: ...

A source of a run extends :class:`RegisteredSource`, which adds how it is made from the settings, and which
hosts settings and manifests name for it. Each such class is listed in :mod:`modelfetch.sources.registry`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar
from urllib.parse import urlsplit, urlunsplit

from modelfetch import tracing
from modelfetch.errors import Fault, SourceError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.net.credentials import Credential, split_credential
from modelfetch.net.responses import RangeRequest
from modelfetch.net.time_limits import Memory
from modelfetch.net.urls import host_of

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.model.source_kinds import SourceKind
    from modelfetch.net.client import Client
    from modelfetch.settings import Loaded, Settings
    from modelfetch.sources.local_digests import KnownDigests
    from modelfetch.store import Store

T = TypeVar("T")

_REFUSED = "The operator of that server controls access to it: check the address, or use another source."
"""Hint for a refusal (401, 403) by a server of an unknown kind."""


class Stream(Protocol):
    """Bytes of one file from an offset on."""

    @property
    def start(self) -> int:
        """Offset of the first byte: the requested one, or 0 if the source sends whole files only."""

    @property
    def ranged(self) -> bool:
        """Whether this source can send a part of the file."""

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """Yield the bytes in order, in pieces that are valid only until the next one is requested.

        Raises:
            SourceError: The source failed.
            Cancelled: The run was cancelled.
        """

    def close(self) -> None:
        """Release the connection or file."""


class Offer(Protocol):
    """One place that may have one file."""

    @property
    def kind(self) -> str:
        """Kind of the source: the value of a :class:`~modelfetch.model.source_kinds.SourceKind`."""

    @property
    def host(self) -> str:
        """Host for display and statistics; for a local file its directory."""

    @property
    def address(self) -> str:
        """Identifies the place, so that it is not used twice. Not shown, because it may contain a secret."""

    def open(self, offset: int, end: int | None = None, first_byte: float | None = None) -> Stream:
        """Open the file for reading at ``offset``.

        Args:
            offset: Position of the first byte.
            end: End of a part in the middle, exclusive; None for the rest of the file.
            first_byte: Seconds for the first byte, if less than the limits allow.

        Raises:
            SourceError: The place cannot serve the file. Unranged if ``end`` is given and it sends no ranges.
            Cancelled: The run was cancelled.
        """


class Source(Protocol):
    """All places of one kind."""

    @property
    def kind(self) -> str:
        """Kind of the source."""

    def offers(self, manifest: Manifest, file: FileSpec) -> Sequence[Offer]:
        """The places that may have this file, best first; empty if this kind does not apply to it."""


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What a source of a run may be made from."""

    loaded: Loaded
    """The settings, with the token and the cache directory of the Hugging Face libraries."""
    client: Client
    """HTTP client of the run."""
    store: Store
    cancel: Cancellation
    """Ends work on this disk that may take long, such as hashing."""
    digests: KnownDigests | None = None
    """Remembers the digests of files on this disk."""
    notice: Callable[[str], None] = lambda _: None
    """Receives lines for the user, such as about a file of credentials that cannot be read."""


@dataclass(frozen=True, slots=True)
class HostAddress:
    """A host that settings or a manifest name, by the request that shows whether it is reachable."""

    url: str
    """Address of the request. It contains no credentials."""
    is_head: bool = True
    """Whether to send HEAD; otherwise GET for one byte."""

    @classmethod
    def root_of(cls, url: str) -> HostAddress:
        """Return the host of an address, with a request for the root of its site."""
        bare, _ = split_credential(url)
        parts = urlsplit(bare)
        return cls(urlunsplit((parts.scheme, parts.netloc, "/", "", "")))


class RegisteredSource(ABC):
    """Base class of the sources of a run, one for each kind; it has the methods of :class:`Source`."""

    kind: ClassVar[SourceKind]

    @classmethod
    @abstractmethod
    def from_context(cls, context: SourceContext) -> RegisteredSource:
        """Make the source of a run."""

    @abstractmethod
    def offers(self, manifest: Manifest, file: FileSpec) -> Sequence[Offer]:
        """See :meth:`Source.offers`."""

    def discover(self, places: Sequence[tuple[Manifest, FileSpec]]) -> None:  # noqa: B027 - optional
        """Prepare for the files that are missing, before the first of them is fetched.

        Args:
            places: The files, each with its model.
        """

    @classmethod
    def configured_hosts(cls, settings: Settings) -> Iterable[HostAddress]:  # noqa: ARG003
        """The hosts that settings name, in the order in which they are asked; with repetitions."""
        return ()

    @classmethod
    def manifest_hosts(cls, manifest: Manifest) -> Iterable[HostAddress]:  # noqa: ARG003
        """The hosts that a manifest names, in its order; with repetitions."""
        return ()


class HttpOffer:
    """A file at a URL.

    Args:
        kind: Kind of the source.
        url: Address of the file.
        size: Size of the file in bytes.
        client: HTTP client of the run.
        credential: Sent to its own origin only.
        refused: Hint for the user if access is refused, where it depends on the kind of server.
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
        """Called with the URL before each request."""

    def open(self, offset: int, end: int | None = None, first_byte: float | None = None) -> Stream:
        """Request the bytes from ``offset`` on; see :meth:`Offer.open`."""
        request = RangeRequest(offset, self._size, end=end, first_byte=first_byte)
        return self._send(
            lambda credential: self._client.request(
                self.address, request, credential=credential, memory=self._memory
            )
        )

    def close_idle(self) -> None:
        """Close the connections of the run that have no request under way."""
        self._client.close_idle()

    def _send(self, request: Callable[[Credential | None], T]) -> T:
        try:
            if self.before is not None:
                self.before(self.address)
            if tracing.active is None:
                return self._authorized(request)
            from modelfetch.net.exchange_trace import sending_for

            with sending_for(self.kind):
                return self._authorized(request)
        except SourceError as error:
            self._advise(error)
            raise

    def _authorized(self, request: Callable[[Credential | None], T]) -> T:
        """Send a request with the credential for this server."""
        return request(self._credential)

    def _advise(self, error: SourceError) -> None:
        """Add a hint to a refusal; only here it is known whose server this is."""
        if error.fault is Fault.AUTHORIZATION:
            error.hint = self._refused or error.hint or _REFUSED

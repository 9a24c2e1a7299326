"""Verbose lines about HTTP exchanges, for ``-v`` and ``-vv``.

One line for each exchange, when its body was read or it failed, and the details around it, which have the
same number::

    #1 proxy: none is set
    #1 dns: cdn.example:443 is 192.0.2.7, 2001:db8::7; 0.003 s
    #1 tcp: connected to 192.0.2.7 port 443; 0.021 s
    #1 tls: TLSv1.3, TLS_AES_256_GCM_SHA384; certificate of cdn.example issued by R3, valid until 2027-01-01
    #1 > range: bytes=0-999
    #1 < etag: "abc"
    #1 GET https://cdn.example/a.bin bytes=0-999 -> 206 bytes 0-999/1000, 1.00 kB in 0.052 s (mirror)

Only fields in :data:`_SHOWN` have their value printed; all others may be secret, whatever their name. The
target of a redirect, and the address where an upload continues, are shown by their host only, because servers
sign such addresses also in the path. Nothing here is called unless verbose output was requested.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from urllib.parse import urljoin

import httpx

from modelfetch.errors import SourceError
from modelfetch.model.units import format_size
from modelfetch.net.certificate import read_certificate
from modelfetch.net.httpx_errors import source_error
from modelfetch.net.transport import FIELDS
from modelfetch.net.urls import host_of
from modelfetch.settings.redaction import redact

if TYPE_CHECKING:
    from modelfetch.net.proxies import Proxies, Proxy
    from modelfetch.net.transport import Exchange as Reported
    from modelfetch.net.transport import Response
    from modelfetch.tracing import Trace

_SHOWN: Final = frozenset(
    {
        *("accept", "accept-encoding", "accept-ranges", "age", "cache-control", "cf-cache-status", "cf-ray"),
        *("connection", "content-encoding", "content-length", "content-range", "content-type", "date"),
        *("deprecation", "docker-content-digest", "docker-distribution-api-version", "etag", "expires"),
        *("host", "if-match", "if-none-match", "if-range", "keep-alive", "last-event-id", "last-modified"),
        *("range", "ratelimit", "ratelimit-limit", "ratelimit-policy", "ratelimit-remaining"),
        *("ratelimit-reset", "retry-after", "server", "sunset", "transfer-encoding", "user-agent", "vary"),
        *("via", "warning", "x-cache", "x-error-code", "x-error-message", "x-github-request-id"),
        *("x-linked-etag", "x-linked-size", "x-ratelimit-limit", "x-ratelimit-remaining"),
        *("x-ratelimit-reset", "x-repo-commit", "x-request-id", "x-served-by"),
    }
)
"""Fields whose values are printed: standard ones, and those of hubs and caches that explain a status."""
_CHALLENGES: Final = frozenset({"www-authenticate", "proxy-authenticate"})
_REALM: Final = re.compile(r'realm="(https?://[^"]*)"', re.IGNORECASE)
_LONGEST: Final = 500
"""Characters of a field that are printed; servers may send 100 kB."""
_SENT: Final = ("scheme", "host", "port", "raw_path")
"""The parts of an address that a request sends; without the others, two addresses are the same request."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_numbers = count(1)


class _Here(threading.local):
    """What the current thread is doing."""

    source: str = ""
    """Kind of the source that sends requests."""
    asked: str = ""
    """The address of the request, before redirects; empty if every address may be shown."""
    exchange: Exchange | None = None


_here = _Here()


class Exchange:
    """One request and its response.

    Attributes:
        received: Bytes of the body so far.
        is_new: Whether a connection was made for it.

    Args:
        trace: Prints the lines.
        method: Method of the request.
        url: Its address.
        ranged: Its field ``Range``, or empty.
    """

    def __init__(self, trace: Trace, method: str, url: str, ranged: str) -> None:
        self.received = 0
        self.is_new = False
        self._trace = trace
        self._prefix = f"#{next(_numbers)}"
        self._request = f"{method} {_shown(url)} {ranged}".rstrip()
        self._source = f" ({_here.source})" if _here.source else ""
        self._url = url
        self._response = ""
        self._began = time.monotonic()
        self._is_finished = False
        _here.exchange = self

    def detail(self, text: str) -> None:
        """Print a detail about this exchange."""
        self._trace.detail(f"{self._prefix} {text}")

    def fields(self, sign: str, fields: Sequence[tuple[bytes, bytes]]) -> None:
        """Print header fields as details, if these are requested."""
        if self._trace.is_detailed:
            for name, value in fields:
                lowered = name.decode("latin-1").lower()
                self.detail(f"{sign} {lowered}: {_value(lowered, value.decode('latin-1'), self._url)}")

    def answered(self, status: int, content_range: str, target: str) -> None:
        """Note the head of the response.

        Args:
            status: Status code.
            content_range: Field ``Content-Range``, or empty.
            target: Field ``Location``, or empty.
        """
        self._response = f"{status} {content_range[:_LONGEST]}".rstrip()
        if target and status in _REDIRECTS:
            self._response += f" to {_target(self._url, target)}"
        _here.exchange = None

    def finish(self) -> None:
        """Print the line of this exchange, once."""
        if self._is_finished:
            return
        self._is_finished = True
        amount = f"{format_size(self.received)} in {time.monotonic() - self._began:.3f} s"
        self._trace.say(f"{self._prefix} {self._request} -> {self._response}, {amount}{self._source}")

    def fail(self, why: str) -> None:
        """Print that there was no response."""
        self._response = f"failed: {why}"
        _here.exchange = None
        self.finish()


class _CountedBody(httpx.SyncByteStream):
    """The body of a response; its end prints the line of the exchange."""

    def __init__(self, body: httpx.SyncByteStream, exchange: Exchange) -> None:
        self._body = body
        self._exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._body:
            self._exchange.received += len(piece)
            yield piece

    def close(self) -> None:
        try:
            self._body.close()
        finally:
            self._exchange.finish()


@contextmanager
def asking(url: str, *, is_named: bool = False) -> Iterator[None]:
    """Note the address that is asked for; those that a server names are not shown in full."""
    _here.asked = "/" if is_named else url  # "/" is no address that a request is sent to
    try:
        yield
    finally:
        _here.asked = ""


@contextmanager
def sending_for(source: str) -> Iterator[None]:
    """Note the kind of source that sends the requests of this thread."""
    before, _here.source = _here.source, source
    try:
        yield
    finally:
        _here.source = before


def send(
    trace: Trace,
    transport: httpx.BaseTransport,
    request: httpx.Request,
    proxy: Proxy | None,
    proxies: Proxies,
) -> httpx.Response:
    """Send a request, and print what happens.

    Args:
        trace: Prints the lines, and masks the credentials of request and proxy from now on.
        transport: Sends the request.
        request: The request.
        proxy: The proxy through which it is sent, if any.
        proxies: All proxies, to explain why there is none.

    Raises:
        Exception: Whatever the transport raises; it is passed on after its line was printed.
    """
    url = str(request.url)
    exchange = Exchange(trace, request.method, url, request.headers.get("range", ""))
    if proxy is not None:
        trace.hide(proxy.url.partition("://")[2].rpartition("@")[0])
    exchange.detail(f"proxy: {_route(url, proxy, proxies)}")
    trace.hide(request.headers.get("authorization", ""))
    exchange.fields(">", request.headers.raw)
    try:
        response = transport.handle_request(request)
    except SourceError as error:
        exchange.fail(error.message)
        raise
    except Exception as error:
        exchange.fail(source_error(error, body=False, proxy=proxy).message)
        raise
    exchange.detail(f"connection: {'new' if exchange.is_new else 'reused'}")
    exchange.fields("<", response.headers.raw)
    headers = response.headers
    exchange.answered(response.status_code, headers.get("content-range", ""), headers.get("location", ""))
    response.extensions["exchange"] = exchange
    assert isinstance(response.stream, httpx.SyncByteStream), "transports of httpx return nothing else"
    response.stream = _CountedBody(response.stream, exchange)
    return response


class _Direct(Protocol):
    """A response of :mod:`modelfetch.net.direct_transport`, as far as it is printed."""

    status: int
    headers: Mapping[str, str]
    raw: Callable[[], Sequence[tuple[bytes, bytes]]]
    is_new: bool
    exchange: Reported | None


_Response = TypeVar("_Response", bound=_Direct)


def send_directly(
    trace: Trace, url: str, headers: Mapping[str, str], proxies: Proxies, send: Callable[[], _Response]
) -> _Response:
    """Send a request past httpx, and print what happens.

    Args:
        trace: Prints the lines.
        url: Where it goes.
        headers: Its fields, besides those of every request.
        proxies: Those of the environment, none of which is for this target.
        send: Sends it; the result is returned.
    """
    exchange = Exchange(trace, "GET", url, headers.get("Range", ""))
    exchange.detail(f"proxy: {_route(url, None, proxies)}")
    trace.hide(headers.get("Authorization", ""))
    common = [("Host", host_of(url)), *(field.split(": ", 1) for field in FIELDS)]
    exchange.fields(">", [(name.encode(), value.encode()) for name, value in (*common, *headers.items())])
    try:
        response = send()
    except SourceError as error:
        exchange.fail(error.message)
        raise
    exchange.detail(f"connection: {'new' if response.is_new else 'reused'}")
    exchange.fields("<", response.raw())
    fields = response.headers
    exchange.answered(response.status, fields.get("content-range", ""), fields.get("location", ""))
    response.exchange = exchange
    return response


def note_body(response: Response, received: int) -> None:
    """Note the end of a body that was read past the parser.

    Args:
        response: Its response.
        received: Bytes of the body.
    """
    if response.exchange is not None:
        response.exchange.received = received
        response.exchange.finish()


def _route(url: str, proxy: Proxy | None, proxies: Proxies) -> str:
    if proxy is not None:
        return f"{redact(proxy.url)} of {proxy.variable}"
    if not proxies.is_set:
        return "none is set"
    return f"none for {host_of(url)}: by NO_PROXY, its scheme, or because it is this machine"


def _shown(url: str) -> str:
    """An address for display: that of a redirect by its host only."""
    redacted = redact(url)
    if not _here.asked or _is_same(url, _here.asked):
        return redacted
    return f"{redacted.partition('://')[0]}://{host_of(url)}/***"


def _is_same(url: str, asked: str) -> bool:
    with suppress(httpx.InvalidURL, ValueError):
        first, second = httpx.URL(asked), httpx.URL(url)
        return all(getattr(first, part) == getattr(second, part) for part in _SENT)
    return False


def _target(url: str, location: str) -> str:
    try:
        return host_of(urljoin(url, location))
    except ValueError:
        return "an invalid address"


def _value(name: str, value: str, url: str) -> str:
    """The value of a header field for display."""
    if name == "location":
        return f"{_target(url, value)}/***"
    if name in _CHALLENGES:  # the parameters are opaque; the address of a token service is of use
        realm = _REALM.search(value)
        scheme = value.partition(" ")[0]
        return f"{scheme}, realm at {_target(url, realm[1])}" if realm else scheme
    if name not in _SHOWN:
        return "***"
    return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}..."


def look_up(trace: Trace, host: str, port: int, resolve: Callable[[], list[Any]]) -> list[Any]:
    """Resolve a host, and print its addresses or that it has none.

    Args:
        trace: Prints the line.
        host: Name of the host.
        port: Port that is connected to.
        resolve: Returns its addresses (:class:`modelfetch.net.connect.Address`).

    Raises:
        OSError: It cannot be resolved.
        UnicodeError: Its name is not one that DNS can have.
    """
    began = time.monotonic()
    try:
        found = resolve()
    except (OSError, UnicodeError) as error:
        _detail(trace, f"dns: {host}:{port} cannot be resolved: {error}; {_since(began)}")
        raise
    texts = ", ".join(str(address.sockaddr[0]) for address in found)
    _detail(trace, f"dns: {host}:{port} is {texts}; {_since(began)}")
    return found


def connecting(trace: Trace, connect: Callable[[], socket.socket]) -> socket.socket:
    """Connect, and print the address that answered or that none did.

    Raises:
        OSError: No address answered.
    """
    began = time.monotonic()
    if _here.exchange is not None:
        _here.exchange.is_new = True
    try:
        sock = connect()
    except OSError as error:
        _detail(trace, f"tcp: no connection: {error}; {_since(began)}")
        raise
    with suppress(OSError):  # it was reset at once; the request over it reports that
        peer = sock.getpeername()
        _detail(trace, f"tcp: connected to {peer[0]} port {peer[1]}; {_since(began)}")
    return sock


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.3f} s"


def report_tls(trace: Trace, tls: ssl.SSLSocket | ssl.SSLObject) -> None:
    """Print what a TLS handshake agreed on, and the certificate of the server."""
    cipher = tls.cipher()
    certificate = read_certificate(tls.getpeercert(True) or b"")
    stated = ""
    if certificate is not None:
        stated = (
            f"; certificate of {certificate.subject} issued by {certificate.issuer}, "
            f"valid until {certificate.ends:%Y-%m-%d}"
        )
    _detail(trace, f"tls: {tls.version()}, {cipher[0] if cipher else 'no cipher'}{stated}")


def _detail(trace: Trace, text: str) -> None:
    (_here.exchange or trace).detail(text)

"""Asking for bytes: one client per run, redirects by hand, every answer judged before it is used."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
import truststore

from modelfetch import __version__
from modelfetch.errors import Fault, SourceError
from modelfetch.net.answers import Accept, Answer, Ask, judge, strong_etag
from modelfetch.net.body import Body
from modelfetch.net.cancel import Cancellation
from modelfetch.net.failures import source_error
from modelfetch.net.urls import Credential, host_of, is_public, next_hop, origin

MAX_HOPS = 10
"""Redirects followed for one request; between curl's strict advice (5) and httpx's 20."""
MAX_HEADERS = 256
"""Header fields accepted in one answer; httpx itself would take thousands."""
EXCERPT_BYTES = 1024
"""How much of an unusable body is read, to recognise what it is."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Limits:
    """The patience of a client. Times are in seconds, speeds in bytes per second."""

    connect_timeout: float = 10.0
    stall_timeout: float = 30.0
    """Longest silence, before the first byte and between two."""
    min_speed: float = 1024.0
    """Below this, measured over ``stall_timeout`` seconds of waiting, a transfer counts as stalled."""


@dataclass(slots=True)
class Memory:
    """What one source learned from its answers, to ask better next time. Not shared between files."""

    etag: str = ""
    etag_origin: tuple[str, str, int] | None = None
    """The origin that sent the validator: it means nothing to any other."""


class Client:
    """HTTP for one run, shared by all its threads."""

    def __init__(self, limits: Limits, cancel: Cancellation) -> None:
        self._limits = limits
        self._cancel = cancel
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None

    @property
    def _http(self) -> httpx.Client:
        """The client, made at the first request: it costs 16-36 ms, which a run without requests saves."""
        with self._lock:
            if self._client is None:
                self._client = _new_client(self._limits)
            return self._client

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            if self._client is not None:
                self._client.close()

    def open(self, url: str, ask: Ask, *, credential: Credential | None, memory: Memory) -> Body:
        """Ask ``url`` for the rest of a file and judge the answer.

        Returns:
            The body. It may start earlier than asked for (the server sends whole files only), or end early.

        Raises:
            SourceError: The source cannot serve this request; the fault says what may help.
            Cancelled: The run was cancelled.
        """
        while True:
            response, address = self._follow(url, ask, credential, memory)
            with _closing_on_error(response):
                verdict = judge(
                    _with_etag(ask, memory, address), _answer(response, ask, redirected=address != url)
                )
                if isinstance(verdict, Accept):
                    memory.etag, memory.etag_origin = strong_etag(_headers(response)), origin(address)
                    return Body(response, verdict, ask.size, self._limits, self._cancel)
            response.close()
            if not verdict.ask.etag:
                memory.etag = ""
            ask = verdict.ask

    def _follow(
        self, url: str, ask: Ask, credential: Credential | None, memory: Memory
    ) -> tuple[httpx.Response, str]:
        """Send the request, following redirects; the answer and the address it came from."""
        public = False
        for _ in range(MAX_HOPS + 1):
            headers = _range_headers(_with_etag(ask, memory, url))
            if credential is not None:
                headers |= credential.header_for(url)
            if public:
                _refuse_private(url)
            response = self._send(url, headers)
            with _closing_on_error(response):
                peer = _peer(response, url)
                if public and peer and not is_public(peer):
                    raise SourceError(Fault.REDIRECT, f"a redirect into a private network ({host_of(url)})")
                if response.status_code not in _REDIRECTS:
                    return response, url
                url = next_hop(url, response.headers.get("location"))
            response.close()
            public = public or is_public(peer)
        raise SourceError(Fault.REDIRECT, f"more than {MAX_HOPS} redirects")

    def _send(self, url: str, headers: dict[str, str]) -> httpx.Response:
        """One request. A kept-alive connection that had died meanwhile is replaced once, uncounted."""
        while True:
            self._cancel.check()
            fresh = False

            def trace(name: str, info: dict[str, Any]) -> None:
                nonlocal fresh
                if name.endswith(("connect_tcp.complete", "start_tls.complete")):
                    fresh = True
                    _watch(self._cancel, info["return_value"])

            try:
                request = self._http.build_request("GET", url, headers=headers, extensions={"trace": trace})
                response = self._http.send(request, stream=True, auth=_no_auth)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                self._cancel.check()
                if not fresh and isinstance(
                    error, (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
                ):
                    continue
                raise source_error(error, body=False) from error
            if len(response.headers.raw) > MAX_HEADERS:
                response.close()
                raise SourceError(Fault.PROTOCOL, f"sent more than {MAX_HEADERS} header fields")
            return response


_HEADERS = {
    "Accept": "*/*",
    # Ranges index the encoded representation (RFC 9110, 14.1.2), and a decoder would be a bomb's fuse.
    "Accept-Encoding": "identity",
    "User-Agent": f"modelfetch/{__version__}",
}


def _new_client(limits: Limits) -> httpx.Client:
    return httpx.Client(
        verify=tls_context(),
        follow_redirects=False,
        timeout=httpx.Timeout(limits.stall_timeout, connect=limits.connect_timeout, pool=None),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=60.0),
        headers=_HEADERS,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        mounts={f"all://{host}": None for host in ("127.0.0.1", "localhost", "[::1]")},  # never by proxy
    )


def tls_context() -> ssl.SSLContext:
    """The trust anchors: ``SSL_CERT_FILE`` / ``SSL_CERT_DIR`` where set, else the operating system's."""
    file, directory = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file or directory:
        return ssl.create_default_context(cafile=file or None, capath=directory or None)
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _no_auth(request: httpx.Request) -> httpx.Request:
    """Keep httpx from making credentials up from URLs or files: ours are in the headers already."""
    return request


def _with_etag(ask: Ask, memory: Memory, url: str) -> Ask:
    if not (ask.start and ask.ranged and memory.etag and memory.etag_origin == origin(url)):
        return ask
    return Ask(ask.start, ask.size, ask.ranged, memory.etag, ask.fresh)


def _range_headers(ask: Ask) -> dict[str, str]:
    headers = {"Range": f"bytes={ask.start}-{ask.size - 1}"} if ask.ranged else {}
    return headers | ({"If-Range": ask.etag} if ask.etag else {})


def _headers(response: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _answer(response: httpx.Response, ask: Ask, *, redirected: bool) -> Answer:
    length = response.headers.get("content-length", str(ask.size))
    may_be_used = response.status_code == 206 or (response.status_code == 200 and length == str(ask.size))
    excerpt = "" if may_be_used else _excerpt(response)
    return Answer(response.status_code, _headers(response), redirected, excerpt)


def _excerpt(response: httpx.Response) -> str:
    """The beginning of a body that will not be used."""
    with contextlib.suppress(httpx.HTTPError):
        return next(response.iter_raw(EXCERPT_BYTES), b"").decode("latin-1")
    return ""


@contextlib.contextmanager
def _closing_on_error(response: httpx.Response) -> Iterator[None]:
    try:
        yield
    except BaseException:
        response.close()
        raise


def _watch(cancel: Cancellation, stream: Any) -> None:
    sock = stream.get_extra_info("socket")
    if isinstance(sock, socket.socket):
        cancel.watch(sock)


def _peer(response: httpx.Response, url: str) -> str:
    """The address really connected to, or an empty string where only a proxy knows."""
    if urlsplit(url).scheme in getproxies() and not proxy_bypass(urlsplit(url).netloc):
        return ""
    address = response.extensions["network_stream"].get_extra_info("server_addr")
    return str(address[0]) if address else ""


def _refuse_private(url: str) -> None:
    """Refuse to go from a public host to a private address: a redirect must not choose whom we attack."""
    _, host, port = origin(url)
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError:
        return  # the connection will fail with a better message
    if any(not is_public(address) for address in found):
        raise SourceError(Fault.REDIRECT, f"a redirect into a private network ({host_of(url)})")

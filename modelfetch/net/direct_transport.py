"""Sends requests to servers directly, over HTTP/1.1 connections of its own.

It does what nearly every request needs, without loading httpx, which takes longer than everything else before
the first request (60 of 120 ms). What it cannot do goes through :mod:`modelfetch.net.httpx_transport`:
proxies, content to send, and URLs that have to be normalized first. Connections are kept for further requests
to the same server: also after a large body, because bodies are framed by
:mod:`modelfetch.net.body_framing`.
"""

from __future__ import annotations

import re
import socket
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from modelfetch import tracing
from modelfetch.errors import Fault, SourceError
from modelfetch.net.body_framing import framing_of, pieces
from modelfetch.net.connect import Addresses, connect_to
from modelfetch.net.errors import connect_error, socket_error
from modelfetch.net.http11 import Connection, is_readable
from modelfetch.net.response_heads import Head, HeadError
from modelfetch.net.transport import FIELDS, IDLE_SECONDS, MAX_HEADERS, MAX_IDLE, Exchange

if TYPE_CHECKING:
    import ssl

    from modelfetch.cancel import Cancellation
    from modelfetch.net.time_limits import StallTimer

_URL: Final = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<authority>(?P<host>[a-z0-9](?:[a-z0-9_-]|\.(?!\.))*)(?::(?P<port>[1-9][0-9]{0,4}))?)"
    r"(?P<target>"
    r"(?:/(?!\.{1,2}(?:[/?]|\Z))"
    r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]++|%[0-9A-Fa-f]{2})*+)++"
    r"(?:\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]++|%[0-9A-Fa-f]{2})*+)?)"
)
"""A URL that is sent as it is (RFC 3986): a lower-case host in ASCII, no user information, and a path without
dot segments and characters that need to be encoded."""
_PORTS: Final = {"http": 80, "https": 443}


class Target(NamedTuple):
    """Where a request is sent, and for what."""

    scheme: str
    host: str
    port: int
    authority: str
    """Host and port as in the URL."""
    path: str
    """Path and query."""


def parse_target(url: str) -> Target | None:
    """Parse a URL; None if it must not be sent as it is."""
    match = _URL.fullmatch(url)
    if match is None:
        return None
    scheme, authority, host, port, path = match.group("scheme", "authority", "host", "port", "target")
    number = int(port) if port else _PORTS[scheme]
    if number == _PORTS[scheme]:
        authority = host
    return Target(scheme, host, number, authority, path) if number < 1 << 16 else None


class DirectTransport:
    """Sends requests to servers. May be used by several threads.

    Args:
        addresses: Resolves hosts, and refuses addresses that must not be connected to.
        cancel: Wakes blocked reads when the run is cancelled.
        authorities: Returns the TLS context; called when TLS is used first. Raises SourceError.
    """

    def __init__(
        self, addresses: Addresses, cancel: Cancellation, authorities: Callable[[], ssl.SSLContext]
    ) -> None:
        self._addresses = addresses
        self._cancel = cancel
        self._authorities = authorities
        self._idle: defaultdict[tuple[str, str, int], deque[tuple[Connection, float]]] = defaultdict(deque)
        """Connections without a request under way, and when they were put here. ``pop`` and ``append`` of a
        deque are thread-safe."""
        self._is_closed = False

    def send(self, target: Target, headers: Mapping[str, str], timer: StallTimer) -> DirectResponse:
        """Send a request; see :meth:`modelfetch.net.transport.Transport.send`."""
        request = _request(target, headers)
        key = target[:3]
        while True:
            self._cancel.raise_if_cancelled()
            connection = self._idle_connection(key) or self._connect(target, timer)
            was_used = connection.is_used
            try:
                head = connection.exchange(request, timer)
            except (OSError, HeadError) as error:
                connection.close()
                # First, because a connection that cancel() shut down looks like one that the server closed.
                self._cancel.raise_if_cancelled()
                failure = _failure(error)
                if was_used and failure.fault in (Fault.CUT, Fault.PROTOCOL):
                    continue  # this ends: that connection is closed, and at last a fresh one is made
                raise failure from error
            if head.count > MAX_HEADERS:
                connection.close()
                raise SourceError(Fault.PROTOCOL, f"sent more than {MAX_HEADERS} header fields")
            return DirectResponse(
                connection, head, headers, timer, partial(self._keep, key, connection), is_new=not was_used
            )

    def _idle_connection(self, key: tuple[str, str, int]) -> Connection | None:
        """Take the connection to a server that was used last; those that the server closed are dropped."""
        idle = self._idle[key]
        while True:
            try:
                connection, since = idle.pop()
            except IndexError:  # none, or another thread took the last one
                return None
            if time.monotonic() - since < IDLE_SECONDS and not is_readable(connection.sock):
                return connection
            connection.close()

    def _connect(self, target: Target, timer: StallTimer) -> Connection:
        """Connect to a server.

        Raises:
            SourceError: There is no connection, or its address must not be connected to.
            Cancelled: The run was cancelled.
        """
        context = self._authorities() if target.scheme == "https" else None  # not within the time limit
        try:
            with timer.connecting() as seconds:
                until = time.monotonic() + seconds
                sock = connect_to(self._addresses, target.host, target.port, seconds, self._cancel)
                peer = str(sock.getpeername()[0])
                if context is not None:
                    sock = self._secured(sock, context, target.host, until - time.monotonic())
        except (OSError, UnicodeError) as error:  # UnicodeError: a label of the name is too long, or empty
            self._cancel.raise_if_cancelled()
            raise connect_error(error) from error
        return Connection(sock, peer)

    def _secured(
        self, sock: socket.socket, context: ssl.SSLContext, host: str, seconds: float
    ) -> socket.socket:
        """Start TLS on a connected socket, which is closed if that fails."""
        try:
            sock.settimeout(max(seconds, 1e-3))  # 0 would mean that it never waits
            context.set_alpn_protocols(["http/1.1"])  # RFC 7301: no other one is spoken here
            secured = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
        except BaseException:
            sock.close()
            raise
        try:
            self._cancel.register(secured)  # before the handshake, which may block
            secured.do_handshake()  # all of its reads together within the timeout of the socket
        except BaseException:
            secured.close()  # not ``sock``, which is empty now: its descriptor belongs to the new one
            raise
        if tracing.active is not None:
            from modelfetch.net.exchange_trace import report_tls

            report_tls(tracing.active, secured)
        return secured

    def _keep(self, key: tuple[str, str, int], connection: Connection) -> None:
        idle = self._idle[key]
        if self._is_closed or len(idle) >= MAX_IDLE:
            connection.close()
            return
        idle.append((connection, time.monotonic()))
        if self._is_closed:  # close() may have run meanwhile
            self.close_idle()

    def close_idle(self) -> None:
        """Close the connections that have no request under way."""
        for idle in list(self._idle.values()):
            while True:
                try:
                    idle.pop()[0].close()
                except IndexError:
                    break

    def close(self) -> None:
        """Close every connection that has no request under way; the others when their response is closed."""
        self._is_closed = True
        self.close_idle()


class DirectResponse:
    """A response over a connection of :class:`DirectTransport`.

    See :class:`modelfetch.net.transport.Response`.
    """

    def __init__(
        self,
        connection: Connection,
        head: Head,
        sent: Mapping[str, str],
        timer: StallTimer,
        keep: Callable[[], None],
        *,
        is_new: bool,
    ) -> None:
        self.status = head.status
        self.headers = head.headers
        self.location = head.location
        self.peer = connection.peer
        self.credential = sent.get("Authorization", "")
        self.raw = head.raw
        self.is_new = is_new
        self.exchange: Exchange | None = None
        self.is_head = False
        self._connection = connection
        self._timer = timer
        self._keep = keep
        self._framing = framing_of(self.status, head.version, self.headers)
        self._is_open = True

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it arrives."""
        for piece in pieces(self._connection, self._framing, self._timer, gathered=False):
            if self.exchange is not None:
                self.exchange.received += len(piece)
            yield bytes(piece)

    def pieces_of(self, length: int, direct_from: float) -> Iterator[bytes | memoryview]:
        """Yield a body whose length is known."""
        return pieces(self._connection, self._framing, self._timer, gathered=length >= direct_from)

    def close(self) -> None:
        """Keep the connection if the body was read to its end, else close it."""
        if not self._is_open:
            return
        self._is_open = False
        if self.exchange is not None:
            self.exchange.finish()
        if self._framing.is_complete and self._framing.may_continue:
            self._keep()
        else:
            self._connection.close()


def _request(target: Target, headers: Mapping[str, str]) -> bytes:
    """The head of a request.

    Raises:
        SourceError: A field has characters that no field may have (RFC 9110, 5.5).
    """
    lines = [f"GET {target.path} HTTP/1.1", f"Host: {target.authority}", *FIELDS]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    try:
        head = "\r\n".join([*lines, "", ""]).encode("ascii")
    except UnicodeEncodeError:
        head = b""
    if (
        not head
        or head.count(b"\r") != len(lines) + 1
        or head.count(b"\n") != len(lines) + 1
        or b"\0" in head
    ):
        raise SourceError(Fault.PROTOCOL, "the request has a header field that cannot be sent")
    return head


def _failure(error: Exception) -> SourceError:
    if isinstance(error, OSError):
        return socket_error(error, body=False)
    return SourceError(Fault.PROTOCOL, "sent an answer that is not valid HTTP")

"""Network backend for httpcore: makes the connections, and applies the limits of the request to each read.

httpcore passes the values of a request's ``timeout`` extension to the connection unchanged. If such a value
is a :class:`.StallTimer`, each read asks it for the remaining time, so that the limits hold for every part of
a response. A plain number is a timeout for each step, as usual in httpcore.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import httpcore

from modelfetch import tracing
from modelfetch.net.connect import Addresses, connect_to
from modelfetch.net.http11 import is_readable
from modelfetch.net.time_limits import StallTimer
from modelfetch.net.transport import MAX_INTERIM

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation

Timeout = float | StallTimer | None

_RECORD: Final = 16 * 1024 + 512
"""Largest TLS record in bytes, with its header and tag (RFC 8446, 5.2)."""
_HEAD_END: Final = re.compile(rb"\n\r?\n")
_INTERIM: Final = re.compile(rb"HTTP/1\.[0-9] 1[0-9][0-9]")


class Backend(httpcore.NetworkBackend):
    """Makes connections.

    Args:
        addresses: Resolves hosts, and refuses addresses that must not be connected to.
        cancel: Wakes blocked reads when the run is cancelled.
    """

    def __init__(self, addresses: Addresses, cancel: Cancellation) -> None:
        self._addresses = addresses
        self._cancel = cancel

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: Timeout = None,
        local_address: str | None = None,  # noqa: ARG002 - the interface of httpcore
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address that answers.

        Raises:
            SourceError: The host has an address that must not be connected to.
            httpcore.ConnectTimeout: No address answered in time.
            httpcore.ConnectError: No address answered.
        """
        with _mapped(httpcore.ConnectTimeout, httpcore.ConnectError), _connecting(timeout) as seconds:
            sock = connect_to(self._addresses, host, port, seconds, self._cancel)
            for option in socket_options or ():
                sock.setsockopt(*option)
            peer = sock.getpeername()
        return SocketStream(sock, peer, self._cancel)


class SocketStream(httpcore.NetworkStream):
    """A connection over a socket, with or without TLS.

    Args:
        sock: The socket, connected.
        peer: The remote address. Stored here, because ``getpeername`` fails after a reset.
        cancel: Wakes blocked reads when the run is cancelled.
    """

    def __init__(self, sock: socket.socket, peer: Any, cancel: Cancellation) -> None:
        self._sock = sock
        self._peer = peer
        self._cancel = cancel
        self._heads = HeadScanner()
        self._pending = b""
        """Bytes received together with the end of a head. The parser of httpcore gets them at its next read
        only, so that it holds no bytes of a body that is read past it."""
        cancel.register(sock)

    def read(self, max_bytes: int, timeout: Timeout = None) -> bytes:
        """Read up to ``max_bytes``, waiting for the first one."""
        if self._pending:
            data, self._pending = self._pending[:max_bytes], self._pending[max_bytes:]
            return data
        data = self.receive(max_bytes, timeout)
        end = self._heads.feed(data)
        self._pending = data[end:]
        return data[:end]

    def receive(self, max_bytes: int, timeout: Timeout) -> bytes:
        """Read bytes from the socket without looking for a head in them, for example TLS records."""
        with _mapped(httpcore.ReadTimeout, httpcore.ReadError):
            self._sock.settimeout(_seconds(timeout))
            return self._sock.recv(max_bytes)

    def read_raw(self, max_bytes: int, timer: StallTimer) -> bytes:
        """Read past the parser of httpcore, which cannot read this response any more afterwards.

        Raises:
            OSError: The connection broke; TimeoutError if ``timer`` has no time left.
        """
        if self._pending:
            return self.read(max_bytes)
        self._sock.settimeout(timer.remaining())
        return self._sock.recv(max_bytes)

    def write(self, buffer: bytes, timeout: Timeout = None) -> None:
        """Send all of ``buffer``. It begins a request, so the next bytes received begin with a head."""
        self._heads = HeadScanner()
        self.send(buffer, timeout)

    def send(self, buffer: bytes, timeout: Timeout) -> None:
        """Send all of ``buffer``."""
        with _mapped(httpcore.WriteTimeout, httpcore.WriteError):
            while buffer:
                self._sock.settimeout(_seconds(timeout))
                buffer = buffer[self._sock.send(buffer) :]

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: Timeout = None
    ) -> httpcore.NetworkStream:
        """Start TLS over this connection; inside its TLS if there is some already, as with an https proxy."""
        try:
            with _mapped(httpcore.ConnectTimeout, httpcore.ConnectError), _connecting(timeout) as seconds:
                if isinstance(self._sock, ssl.SSLSocket):
                    return NestedTlsStream(self, ssl_context, server_hostname, seconds)
                self._sock.settimeout(seconds)
                secured = ssl_context.wrap_socket(
                    self._sock, server_hostname=server_hostname, do_handshake_on_connect=False
                )
                self._sock = secured
                self._cancel.register(secured)  # before the handshake, which may block
                secured.do_handshake()  # all of its reads together within the timeout of the socket
        except BaseException:
            self.close()
            raise
        _report_tls(secured)
        return SocketStream(self._sock, self._peer, self._cancel)

    def get_extra_info(self, info: str) -> Any:
        """Details of the connection, by the names that httpcore defines."""
        match info:
            case "socket":
                return self._sock
            case "server_addr":
                return self._peer
            case "client_addr":
                return self._sock.getsockname()
            case "ssl_object" if isinstance(self._sock, ssl.SSLSocket):
                return self._sock._sslobj  # type: ignore[attr-defined]  # noqa: SLF001 - as httpcore itself
            case "is_readable":
                return is_readable(self._sock)
            case _:
                return None


class NestedTlsStream(httpcore.NetworkStream):
    """TLS inside the TLS of an https proxy.

    ``SSLContext.wrap_socket`` cannot wrap an SSLSocket, so records are en- and decrypted in memory here.

    Args:
        outer: The connection to the proxy.
        context: Trust anchors and settings.
        server_hostname: Host that the certificate must name.
        timeout: Timeout for each step of the handshake.

    Raises:
        ssl.SSLError: The handshake failed.
    """

    def __init__(
        self, outer: SocketStream, context: ssl.SSLContext, server_hostname: str | None, timeout: Timeout
    ) -> None:
        self._outer = outer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._heads = HeadScanner()
        self._run(self._tls.do_handshake, timeout)
        _report_tls(self._tls)

    def _run(self, step: Callable[[], Any], timeout: Timeout) -> Any:
        """Run a TLS operation, sending and receiving the records that it needs."""
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._flush(timeout)
                if data := self._outer.receive(_RECORD, timeout):
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
                continue
            self._flush(timeout)
            return result

    def _flush(self, timeout: Timeout) -> None:
        if data := self._outgoing.read():
            self._outer.send(data, timeout)

    def read(self, max_bytes: int, timeout: Timeout = None) -> bytes:
        """Read up to ``max_bytes``, waiting for the first one."""
        with _mapped(httpcore.ReadTimeout, httpcore.ReadError):
            data = bytes(self._run(partial(self._tls.read, max_bytes), timeout))
        self._heads.feed(data)
        return data

    def write(self, buffer: bytes, timeout: Timeout = None) -> None:
        """Send all of ``buffer``. It begins a request, so the next bytes received begin with a head."""
        self._heads = HeadScanner()
        with _mapped(httpcore.WriteTimeout, httpcore.WriteError):
            while buffer:
                buffer = buffer[self._run(partial(self._tls.write, buffer), timeout) :]

    def close(self) -> None:
        """Close the connection to the proxy."""
        self._outer.close()

    def get_extra_info(self, info: str) -> Any:
        """Details of the connection to the proxy; only ``ssl_object`` is that of the inner TLS."""
        return self._tls if info == "ssl_object" else self._outer.get_extra_info(info)


class HeadScanner:
    """Finds the end of a response head, and limits the interim responses before it. Sans I/O."""

    def __init__(self) -> None:
        self._pending = b""
        self._interim = 0
        self._is_done = False

    def feed(self, data: bytes) -> int:
        """Process the next bytes received after a request.

        Returns:
            How many of them the parser gets now. Those of a chunked body that arrived with its head are held
            back, because such a body may be read past the parser.

        Raises:
            httpcore.RemoteProtocolError: There were more than :data:`MAX_INTERIM` interim responses.
        """
        if self._is_done:
            return len(data)
        self._pending += data
        while (end := _HEAD_END.search(self._pending)) is not None:
            beyond = len(self._pending) - end.end()
            if not _INTERIM.match(self._pending):
                is_chunked = b"chunked" in self._pending[: end.end()].lower()
                self._pending, self._is_done = b"", True
                return len(data) - beyond if is_chunked else len(data)
            self._pending = self._pending[end.end() :]
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise httpcore.RemoteProtocolError("too many interim responses")
        return len(data)


def _report_tls(tls: ssl.SSLSocket | ssl.SSLObject) -> None:
    if tracing.active is not None:
        from modelfetch.net.exchange_trace import report_tls

        report_tls(tracing.active, tls)


def _seconds(timeout: Timeout) -> float | None:
    return timeout.remaining() if isinstance(timeout, StallTimer) else timeout


@contextmanager
def _connecting(timeout: Timeout) -> Iterator[float | None]:
    if isinstance(timeout, StallTimer):
        with timeout.connecting() as seconds:
            yield seconds
    else:
        yield timeout


@contextmanager
def _mapped(late: type[Exception], failed: type[Exception]) -> Iterator[None]:
    """Translate OSError to the exceptions of httpcore that its callers expect."""
    try:
        yield
    except TimeoutError as error:
        raise late(str(error)) from error
    except OSError as error:
        raise failed(str(error)) from error

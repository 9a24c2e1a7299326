"""The connections that httpcore speaks HTTP over: each step of them asks the watch of its exchange.

httpcore hands the values of a request's ``timeout`` extension down to the connection as they are. A
:class:`.StallTimer` among them is asked anew at each read, so that the limits hold whatever part of an answer
is on its way. A plain number is a limit for each step, as httpcore has it.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import httpcore

from modelfetch.net.connect import Addresses, connect
from modelfetch.net.limits import StallTimer

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation

Timeout = float | StallTimer | None

MAX_INTERIM: Final = 5
"""Interim answers (1xx) taken before the real one; servers send one or two."""
_RECORD: Final = 16 * 1024 + 512
"""Bytes of a TLS record at most, with its head and tag (RFC 8446, 5.2)."""
_HEAD_END: Final = re.compile(rb"\n\r?\n")
_INTERIM: Final = re.compile(rb"HTTP/1\.[0-9] 1[0-9][0-9]")


class Backend(httpcore.NetworkBackend):
    """Makes connections.

    Args:
        addresses: Finds the addresses of hosts, and says which of them may be connected to.
        cancel: Wakes what waits.
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
            SourceError: The host may not be connected to.
        """
        with _mapped(httpcore.ConnectTimeout, httpcore.ConnectError), _connecting(timeout) as seconds:
            found = self._addresses.resolve(host, port)
            sock = connect(found, seconds, self._cancel)
            for option in socket_options or ():
                sock.setsockopt(*option)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = sock.getpeername()
        self._addresses.remember_family(host, sock.family)
        return SocketStream(sock, peer, self._cancel)


class SocketStream(httpcore.NetworkStream):
    """A connection, plain or under TLS.

    Args:
        sock: It.
        peer: The address at its other end. Kept, because a reset makes the system forget it.
        cancel: Wakes what waits.
    """

    def __init__(self, sock: socket.socket, peer: Any, cancel: Cancellation) -> None:
        self._sock = sock
        self._peer = peer
        self._cancel = cancel
        self._heads = HeadScanner()
        self._held = b""
        """Bytes that came with the end of a head. The parser gets them when it asks for more, so that it
        holds none of a body that others are to read."""
        cancel.register(sock)

    def read(self, max_bytes: int, timeout: Timeout = None) -> bytes:
        """Read what is there, waiting for the first byte of it."""
        if self._held:
            data, self._held = self._held[:max_bytes], self._held[max_bytes:]
            return data
        data = self.receive(max_bytes, timeout)
        end = self._heads.feed(data)
        self._held = data[end:]
        return data[:end]

    def receive(self, max_bytes: int, timeout: Timeout) -> bytes:
        """Read bytes that are not the text of an answer, but what it is wrapped in."""
        with _mapped(httpcore.ReadTimeout, httpcore.ReadError):
            self._sock.settimeout(_seconds(timeout))
            return self._sock.recv(max_bytes)

    def read_raw(self, max_bytes: int, timer: StallTimer) -> bytes:
        """Read past the parser of httpcore, which must not be used on this answer afterwards.

        Raises:
            OSError: The connection broke; TimeoutError after too long a silence.
        """
        if self._held:
            return self.read(max_bytes)
        self._sock.settimeout(timer.remaining())
        return self._sock.recv(max_bytes)

    def write(self, buffer: bytes, timeout: Timeout = None) -> None:
        """Send all of it. A request begins: what comes next is a head."""
        self._heads = HeadScanner()
        self.send(buffer, timeout)

    def send(self, buffer: bytes, timeout: Timeout) -> None:
        """Send all of it."""
        with _mapped(httpcore.WriteTimeout, httpcore.WriteError):
            while buffer:
                self._sock.settimeout(_seconds(timeout))
                buffer = buffer[self._sock.send(buffer) :]

    def close(self) -> None:
        """Hang up."""
        self._sock.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: Timeout = None
    ) -> httpcore.NetworkStream:
        """Go on under TLS; inside TLS where that is spoken already, as with a proxy under https."""
        try:
            with _mapped(httpcore.ConnectTimeout, httpcore.ConnectError), _connecting(timeout) as seconds:
                if isinstance(self._sock, ssl.SSLSocket):
                    return NestedTlsStream(self, ssl_context, server_hostname, seconds)
                self._sock.settimeout(seconds)
                secured = ssl_context.wrap_socket(
                    self._sock, server_hostname=server_hostname, do_handshake_on_connect=False
                )
                self._sock = secured
                self._cancel.register(secured)  # before the handshake, which may hang
                secured.do_handshake()  # all of it within the timeout of the socket
        except BaseException:
            self.close()
            raise
        return SocketStream(self._sock, self._peer, self._cancel)

    def get_extra_info(self, info: str) -> Any:
        """What httpcore and those who read past it want to know."""
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
                return _is_readable(self._sock)
            case _:
                return None


class NestedTlsStream(httpcore.NetworkStream):
    """TLS inside the TLS of a proxy, which the standard library wraps around no socket.

    Args:
        outer: The connection to the proxy.
        context: Whom to trust.
        server_hostname: Whom the certificate must name.
        timeout: Seconds for each step of the handshake.
    """

    def __init__(
        self, outer: SocketStream, context: ssl.SSLContext, server_hostname: str | None, timeout: Timeout
    ) -> None:
        self._outer = outer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._heads = HeadScanner()
        self._do(self._tls.do_handshake, timeout)

    def _do(self, step: Callable[[], Any], timeout: Timeout) -> Any:
        """Take a step of TLS, with all that it must send and read for it."""
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
        """Read what is there, waiting for the first byte of it."""
        with _mapped(httpcore.ReadTimeout, httpcore.ReadError):
            data = bytes(self._do(partial(self._tls.read, max_bytes), timeout))
        self._heads.feed(data)
        return data

    def write(self, buffer: bytes, timeout: Timeout = None) -> None:
        """Send all of it. A request begins: what comes next is a head."""
        self._heads = HeadScanner()
        with _mapped(httpcore.WriteTimeout, httpcore.WriteError):
            while buffer:
                buffer = buffer[self._do(partial(self._tls.write, buffer), timeout) :]

    def close(self) -> None:
        """Hang up."""
        self._outer.close()

    def get_extra_info(self, info: str) -> Any:
        """As for the connection to the proxy, but for the TLS."""
        return self._tls if info == "ssl_object" else self._outer.get_extra_info(info)


class HeadScanner:
    """Counts the interim answers before the real one. Sans I/O: bytes in, an error out."""

    def __init__(self) -> None:
        self._held = b""
        self._interim = 0
        self._is_done = False

    def feed(self, data: bytes) -> int:
        """Look at the next bytes of what follows a request.

        Returns:
            How many of them the parser is to have now. Those of a chunked body that came with its head are
            for later: perhaps others read it.

        Raises:
            httpcore.RemoteProtocolError: There were more interim answers than :data:`MAX_INTERIM`.
        """
        if self._is_done:
            return len(data)
        self._held += data
        while (end := _HEAD_END.search(self._held)) is not None:
            beyond = len(self._held) - end.end()
            if not _INTERIM.match(self._held):
                is_chunked = b"chunked" in self._held[: end.end()].lower()
                self._held, self._is_done = b"", True
                return len(data) - beyond if is_chunked else len(data)
            self._held = self._held[end.end() :]
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise httpcore.RemoteProtocolError("too many interim answers")
        return len(data)


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
    """Raise errors of the system as httpcore's own."""
    try:
        yield
    except TimeoutError as error:
        raise late(str(error)) from error
    except OSError as error:
        raise failed(str(error)) from error


def _is_readable(sock: socket.socket) -> bool:
    """Whether a connection that is not in use has something to say, which then is its end."""
    if sock.fileno() < 0:
        return True
    if sys.platform == "win32":
        return bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()  # unlike select, also for descriptors above 1023
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))

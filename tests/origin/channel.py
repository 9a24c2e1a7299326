"""One accepted connection: reads heads, performs operations, ends as told."""

from __future__ import annotations

import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from tests.origin.stream import Data, End, Hold, Op, Part, Pause, Send
from tests.patience import IN_TIME

MAX_HEAD = 64 * 1024
STEPS = 50  # paced sends a second

_OUTGOING = 0x5411  # SIOCOUTQ of Linux: bytes sent and not yet acknowledged


class Channel:
    """A connection from a client.

    Attributes:
        sock: The socket, under TLS after `secure`.
        client: Address and port of the peer.
        number: 1 for the first connection of its listener.
    """

    def __init__(
        self, sock: socket.socket, client: tuple[str, int], number: int, closing: threading.Event
    ) -> None:
        self.sock = sock
        self.client = client
        self.number = number
        self._closing = closing
        self._buffer = b""
        self._due = 0.0
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def secure(self, context: ssl.SSLContext) -> None:
        """Do the server's side of a TLS handshake."""
        secured = context.wrap_socket(self.sock, server_side=True, do_handshake_on_connect=False)
        self.sock = secured
        secured.do_handshake()

    def read_head(self) -> bytes | None:
        """The next head without its empty line; None when the client has closed the connection.

        Raises:
            ValueError: It does not end within 64 KiB.
        """
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > MAX_HEAD:
                raise ValueError("request head longer than 64 KiB")
            if not (data := self.sock.recv(MAX_HEAD)):
                return None
            self._buffer += data
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head

    def discard(self, length: int) -> None:
        """Read and forget a request's body."""
        length -= len(self._buffer[:length])
        self._buffer = b""
        while length > 0 and (data := self.sock.recv(min(length, MAX_HEAD))):
            length -= len(data)

    def perform(
        self, ops: Iterator[Op], count: Callable[[int], None], rate: Callable[[], float | None] = lambda: None
    ) -> bool:
        """Do the operations; False when they ended the connection.

        Args:
            ops: What to do.
            count: Told how many bytes of the body are sent, before each send, and corrected after a failure.
            rate: Gives the bytes of the body per second, None for no limit; asked again before each send.
        """
        head: Data = b""
        for op in ops:
            if isinstance(op, Send) and op.part is Part.BODY:
                self._send_body(head, op.data, count, rate)
                head = b""
            elif isinstance(op, Send):
                head = b"".join((head, op.data))
            else:
                self._send(head)
                head = b""
                if not self._act(op):
                    return False
        self._send(head)
        return True

    def abort(self) -> None:
        """Wake whatever blocks on the connection, from another thread."""
        with suppress(OSError):
            # SSLSocket's own shutdown would drop its TLS layer under the thread that uses it.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Release the socket."""
        self.sock.close()

    def end(self, *, reset: bool = False, notify: bool = True) -> None:
        """End the connection with FIN or RST, under TLS with or without close_notify."""
        if reset:
            self._drain()
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            if notify and isinstance(self.sock, ssl.SSLSocket):
                self._notify(self.sock)
            with suppress(OSError):
                socket.socket.shutdown(self.sock, socket.SHUT_WR)
        self.close()

    def wait(self, seconds: float) -> None:
        """Sleep, but not longer than the listener lives."""
        if seconds > 0 and self._closing.wait(seconds):
            raise ConnectionAbortedError("the origin closes")

    def _act(self, op: Pause | Hold | End) -> bool:
        match op:
            case Pause(seconds):
                self.wait(seconds)
            case Hold(until):
                self._hold(until)
            case End(reset, notify):
                self.end(reset=reset, notify=notify)
        return not isinstance(op, End)

    def _hold(self, until: threading.Event) -> None:
        while not until.is_set():
            gone, _, _ = select.select([self.sock], [], [], 0.01)
            # A client that waits for an answer sends nothing: readable means that it has left.
            if gone or self._closing.is_set():
                raise ConnectionAbortedError("nobody waits any more")

    def _send_body(
        self, head: Data, data: Data, count: Callable[[int], None], rate: Callable[[], float | None]
    ) -> None:
        left = memoryview(data)
        while left and (pace := rate()) is not None:
            step = left[: max(1, int(pace / STEPS))]
            self._keep_pace(len(step) / pace)
            self._send_counted(head, step, count)
            head, left = b"", left[len(step) :]
        if left or head:
            self._send_counted(head, left, count)

    def _keep_pace(self, seconds: float) -> None:
        now = time.monotonic()
        self.wait(self._due - now)
        self._due = max(self._due, now) + seconds

    def _send_counted(self, head: Data, data: Data, count: Callable[[int], None]) -> None:
        # Counted first: a client that has its last byte may look at the count before send() returns here.
        count(len(data))
        view = memoryview(b"".join((head, data)) if head else data)
        try:
            while view:
                view = view[self.sock.send(view) :]
        finally:
            count(-min(len(view), len(data)))

    def _send(self, data: Data) -> None:
        if data:
            self.sock.sendall(data)

    def _drain(self) -> None:
        # RST throws away what is not delivered yet; the bytes before the fault are meant to arrive.
        deadline = time.monotonic() + IN_TIME
        while self._outgoing() and time.monotonic() < deadline and not self._closing.is_set():
            time.sleep(0.001)

    def _outgoing(self) -> int:
        try:
            import fcntl

            return int(struct.unpack("i", fcntl.ioctl(self.sock, _OUTGOING, b"\0\0\0\0"))[0])
        except (ImportError, OSError):
            time.sleep(0.05)
            return 0

    @staticmethod
    def _notify(sock: ssl.SSLSocket) -> None:
        sock.settimeout(0)
        with suppress(OSError):
            sock.unwrap()  # sends close_notify; the client's own is not waited for

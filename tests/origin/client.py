"""A client that hides nothing: one request, the raw bytes of the answer, and how the connection ended."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from tests.origin.message import Headers, find
from tests.patience import IN_TIME

Ended = Literal["closed", "truncated", "reset", "open"]
MOMENT = 0.2
"""Seconds that nothing has to come for, where nothing may come."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        raw: Every byte received.
        ended: How the connection ended; "truncated" is TLS without close_notify, "open" is not at all:
            the client left.
        seconds: From the request to the end.
    """

    raw: bytes
    ended: Ended
    seconds: float

    @property
    def head(self) -> list[str]:
        """Status line and header lines."""
        return self.raw.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")

    @property
    def status(self) -> int:
        """Status code; 0 if there is none."""
        return int(self.head[0].split(" ")[1]) if self.raw.startswith(b"HTTP/") else 0

    @property
    def headers(self) -> Headers:
        """Names and values in order."""
        parts = (line.partition(":") for line in self.head[1:])
        return tuple((name, value.strip()) for name, _, value in parts)

    def header(self, name: str) -> str | None:
        """Value of the first header of this name."""
        return find(self.headers, name)

    @property
    def body(self) -> bytes:
        """All that followed the head, chunk framing included."""
        return self.raw.partition(b"\r\n\r\n")[2]


def fetch(
    url: str,
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
    enough: Callable[[bytes], bool] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """Make one request that asks to close the connection, and read until it ends.

    Args:
        url: Where; its path and query go on the request line as they are.
        headers: More headers.
        method: Method.
        enough: Whether all that is expected has come; then the end is waited for :data:`MOMENT` only.
        tls: Context for an https URL.
    """
    address = urlsplit(url)
    target = address.path + (f"?{address.query}" if address.query else "")
    fields = {"Host": address.netloc, "Connection": "close", **(headers or {})}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    started = time.monotonic()
    with _connect(address.hostname or "", address.port or 80, tls) as sock:
        sock.sendall("\r\n".join(lines).encode("latin-1"))
        raw, ended = _read_to_end(sock, enough)
    return Answer(raw, ended, time.monotonic() - started)


def _read_to_end(sock: socket.socket, enough: Callable[[bytes], bool] | None) -> tuple[bytes, Ended]:
    raw = bytearray()
    try:
        while True:
            sock.settimeout(MOMENT if enough is not None and enough(bytes(raw)) else IN_TIME)
            if not (piece := sock.recv(1 << 20)):
                return bytes(raw), "closed"
            raw += piece
    except ConnectionResetError:
        return bytes(raw), "reset"
    except ssl.SSLError:  # of several kinds, by the release of Python
        return bytes(raw), "truncated"
    except TimeoutError:
        return bytes(raw), "open"


def _connect(host: str, port: int, tls: ssl.SSLContext | None) -> socket.socket:
    sock = socket.create_connection((host, port), timeout=IN_TIME)
    return tls.wrap_socket(sock, server_hostname=host, suppress_ragged_eofs=False) if tls else sock

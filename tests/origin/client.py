"""A client that hides nothing: one request, the raw bytes of the answer, and how the connection ended."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from tests.origin.message import Headers, find

Ended = Literal["closed", "truncated", "reset", "open"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        raw: Every byte received.
        ended: How the connection ended; "truncated" is TLS without close_notify, "open" is not at all as
            long as the client had patience.
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
    patience: float = 5.0,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """Make one request that asks to close the connection, and read until it ends.

    Args:
        url: Where; its path and query go on the request line as they are.
        headers: More headers.
        method: Method.
        patience: Seconds without a byte after which to stop.
        tls: Context for an https URL.
    """
    address = urlsplit(url)
    target = address.path + (f"?{address.query}" if address.query else "")
    fields = {"Host": address.netloc, "Connection": "close", **(headers or {})}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    started = time.monotonic()
    with _connect(address.hostname or "", address.port or 80, patience, tls) as sock:
        sock.sendall("\r\n".join(lines).encode("latin-1"))
        raw, ended = read_to_end(sock)
    return Answer(raw, ended, time.monotonic() - started)


def read_to_end(sock: socket.socket) -> tuple[bytes, Ended]:
    """Read until the connection ends or the socket's timeout passes."""
    pieces = []
    try:
        while piece := sock.recv(1 << 20):
            pieces.append(piece)
    except ConnectionResetError:
        return b"".join(pieces), "reset"
    except ssl.SSLError:  # of several kinds, by the release of Python
        return b"".join(pieces), "truncated"
    except TimeoutError:
        return b"".join(pieces), "open"
    return b"".join(pieces), "closed"


def _connect(host: str, port: int, patience: float, tls: ssl.SSLContext | None) -> socket.socket:
    sock = socket.create_connection((host, port), timeout=patience)
    return tls.wrap_socket(sock, server_hostname=host, suppress_ragged_eofs=False) if tls else sock

"""A running server that shares a cache, and clients for its shared endpoints."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from modelfetch.server.runner import ServerWorkspace
from modelfetch.server.share_limits import ShareLimits
from modelfetch.server.share_state import ShareState
from modelfetch.share.shared_cache import SharedCache
from modelfetch.share.shared_models import SharedModels
from tests.patience import IN_TIME
from tests.server.running import Answer, Served

MIB = 1 << 20
LARGE = 3 * MIB + 17
"""Bytes of a file that the kernel sends: neither small nor a multiple of anything."""


@lru_cache(maxsize=4)
def content(size: int, seed: int = 0) -> bytes:
    """Bytes that differ everywhere, so that a wrong offset shows."""
    return hashlib.shake_128(seed.to_bytes(4, "big")).digest(size)


@dataclass
class Sharing:
    """A server that shares the cache in a directory."""

    served: Served
    root: Path

    @property
    def share_state(self) -> ShareState:
        assert self.served.share_state is not None
        return self.served.share_state

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    def blob(self, digest: str) -> Path:
        return self.cache / "blobs" / "sha256" / digest[:2] / digest

    def put(self, data: bytes, digest: str | None = None) -> str:
        """Store a blob, under another digest if one is given; returns its digest."""
        digest = digest or hashlib.sha256(data).hexdigest()
        path = self.blob(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        return digest

    def get(
        self, path: str, headers: Mapping[str, str] | None = None, *, method: str = "GET", body: Any = None
    ) -> Answer:
        """Send a request without a token."""
        return self.served.ask(method, path, headers=headers, token=None, body=body)

    def get_blob(self, digest: str, **headers: str) -> Answer:
        """Request a blob; underscores in names of headers stand for hyphens."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.get(f"/blobs/sha256/{digest}", sent)

    def connect(self, buffer: int | None = None) -> socket.socket:
        """Open a connection, with a receive buffer of a given size."""
        to = socket.socket()
        if buffer is not None:
            to.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        to.settimeout(IN_TIME)
        to.connect(("127.0.0.1", self.served.port))
        return to

    def head(self, path: str, *fields: str, method: str = "GET") -> bytes:
        """Write a request."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.served.port}", *fields, "", ""]
        return "\r\n".join(lines).encode("latin-1")

    def raw(self, sent: bytes) -> bytes:
        """Send exactly these bytes; returns everything that comes until the server closes."""
        answer = b""
        with contextlib.suppress(ConnectionError), self.connect() as to:
            to.sendall(sent)
            while piece := to.recv(65536):
                answer += piece
        return answer

    def status(self, target: str) -> int:
        """Request a target exactly as written; returns the status."""
        return int(self.raw(self.head(target, "Connection: close")).split()[1])


def read_response(of: socket.socket, method: str = "GET") -> tuple[int, bytes]:
    """Read one response from a connection that stays open."""
    return next(read_responses(of, method))


def read_responses(of: socket.socket, method: str = "GET") -> Iterator[tuple[int, bytes]]:
    """Read responses that follow one another on a connection."""
    with of.makefile("rb") as file:
        while line := file.readline():
            fields = http.client.parse_headers(file)
            body = b"" if method == "HEAD" else file.read(int(fields.get("content-length", "0")))
            yield int(line.split()[1]), body


def share(limits: ShareLimits | None = None) -> Callable[[ServerWorkspace], ShareState]:
    """Return what makes the state of sharing for :class:`Served`."""
    return lambda workspace: ShareState(
        SharedCache(workspace.load().store), limits, SharedModels(workspace.load)
    )


@contextlib.contextmanager
def sharing_server(root: Path, limits: ShareLimits | None = None, **options: Any) -> Iterator[Sharing]:
    """Run a server that shares the cache below a directory."""
    with Served(root, make_share_state=share(limits), **options) as served:
        yield Sharing(served, root)


def open_descriptors(of: str) -> int:
    """How many descriptors this process has open, of what ``/proc`` describes by this text."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile, such as that of this listing
            found += of in os.readlink(descriptor)
    return found

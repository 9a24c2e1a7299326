"""The registry on loopback, with uploads. What goes wrong is an attribute that a test sets."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from tests.hubs.registry import Asked, Handler, Registry, digest_of
from tests.patience import HELD

CHUNK = 100_000
"""Bytes of a chunk in tests."""


@dataclass
class PushRegistry(Registry):
    """A registry that can be pushed to."""

    uploads: dict[str, bytearray] = field(default_factory=dict)
    """What was received of each upload."""
    received: int = 0
    """Bytes of blobs in all requests."""
    answers: list[tuple[str, int, Mapping[str, str]]] = field(default_factory=list)
    """Method, status and fields of answers to the next requests of uploads, in place of the right ones."""
    cuts: list[int] = field(default_factory=list)
    """The next chunks end after so many bytes, and the connection with them."""
    is_forgetful: bool = False
    """Whether an upload is lost when its connection is cut, as with distribution."""
    lost_from: int | None = None
    """Chunks from this position on are refused with 503, and their upload is lost."""
    location: str = ""
    """What stands before the path of each Location; a relative one if it is empty."""
    has_location: bool = True
    least_chunk: int = 0
    most_chunk: int | None = None
    """Chunks with more bytes are refused with 416, as by ghcr.io."""
    is_stale: bool = False
    """Whether the stated Range stays that of the first chunk, as with Amazon ECR."""
    stored_as: str = ""
    """Docker-Content-Digest of what is stored, if it is not the right one; ``-`` for none."""
    hold_at: int | None = None
    """The next chunk waits after so many bytes, until :attr:`go` is set."""
    held: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    """Set when the rest of that chunk was stored, or what came of it."""

    def handler(self) -> type[Handler]:
        return PushHandler

    def methods(self) -> Counter[str]:
        """How often each method was asked for."""
        return Counter(each.method for each in self.asked)

    def chunks(self) -> list[str]:
        """The positions of all chunks."""
        return [each.headers["content-range"] for each in self.asked if each.method == "PATCH"]


class PushHandler(Handler):
    owner: PushRegistry

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_GET(self) -> None:
        self._upload("GET") if "/blobs/uploads/" in self.path else self._answer("GET")

    def do_POST(self) -> None:
        self._upload("POST") if "/blobs/uploads/" in self.path else self._answer("POST")

    def do_PATCH(self) -> None:
        self._upload("PATCH")

    def do_PUT(self) -> None:
        self._upload("PUT")

    def do_DELETE(self) -> None:
        self._upload("DELETE")

    def _upload(self, method: str) -> None:
        owner = self.owner
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(method, self.path, headers)
        owner.asked.append(asked)
        scripted = next((each for each in owner.answers if each[0] == method), None)
        if scripted is not None:
            owner.answers.remove(scripted)
            self._receive()
            self._send(scripted[1], b"", {"Content-Type": "text/plain", **scripted[2]})
        elif not self._may_read(asked):
            self._receive()
            self._refuse()
        elif found := re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", self.path):
            self._manifest(found[1], found[2])
        else:
            self._blob_upload(asked, urlsplit(self.path).path.rpartition("/")[2])

    def _manifest(self, name: str, tag: str) -> None:
        body = self._receive()
        self.owner.push(name, tag, body, self.headers["Content-Type"])
        self._stored(digest_of(body))

    def _blob_upload(self, asked: Asked, number: str) -> None:
        owner = self.owner
        if asked.method == "POST":
            number = str(len(owner.uploads))
            owner.uploads[number] = bytearray()
            self._where(202, number)
        elif number not in owner.uploads:
            self._receive()
            self._error(404, "BLOB_UPLOAD_UNKNOWN")
        elif asked.method == "GET":
            self._where(204, number, end=CHUNK if owner.is_stale else None)
        elif asked.method == "DELETE":
            del owner.uploads[number]
            self._send(204, b"")
        elif asked.method == "PATCH":
            self._chunk(asked, number)
        else:
            self._finish(asked, number)

    def _chunk(self, asked: Asked, number: str) -> None:
        owner = self.owner
        start = int(asked.headers["content-range"].partition("-")[0])
        is_too_long = owner.most_chunk is not None and int(asked.headers["content-length"]) > owner.most_chunk
        if is_too_long or start != len(owner.uploads[number]):
            self._receive()
            self._error(416, "RANGE_INVALID")
            return
        if owner.lost_from is not None and start >= owner.lost_from:
            self._receive()
            del owner.uploads[number]
            self._error(503, "UNAVAILABLE")
            return
        size = int(self.headers["Content-Length"])
        if owner.hold_at is not None:
            held, owner.hold_at = min(owner.hold_at, size), None
            self._store(number, held)
            size -= held
            owner.held.set()
            owner.go.wait(HELD)
        if owner.cuts:
            self._store(number, min(owner.cuts.pop(0), size))
            if owner.is_forgetful:
                del owner.uploads[number]
            self.close_connection = True
            return
        self._store(number, size)
        if owner.held.is_set():
            owner.over.set()
        self._where(202, number, end=CHUNK if owner.is_stale and start else None)

    def _store(self, number: str, size: int) -> None:
        data = self.rfile.read(size)
        self.owner.received += len(data)
        self.owner.uploads[number] += data

    def _finish(self, asked: Asked, number: str) -> None:
        body = self._receive()
        self.owner.received += len(body)
        data = bytes(self.owner.uploads.pop(number)) + body
        [digest] = parse_qs(urlsplit(asked.path).query)["digest"]
        if digest_of(data) != digest:
            self._error(400, "DIGEST_INVALID")
            return
        self.owner.blobs[digest] = data
        self._stored(digest)

    def _stored(self, digest: str) -> None:
        stated = self.owner.stored_as or digest
        self._send(201, b"", {} if stated == "-" else {"Docker-Content-Digest": stated})

    def _where(self, status: int, number: str, end: int | None = None) -> None:
        owner = self.owner
        end = len(owner.uploads[number]) if end is None else end
        fields = {"Range": f"0-{max(0, end - 1)}"}
        if owner.has_location:
            fields["Location"] = f"{owner.location}/v2/lab/tiny/blobs/uploads/{number}?_state=a%3Db&x=1"
        if owner.least_chunk:
            fields["OCI-Chunk-Min-Length"] = str(owner.least_chunk)
        self._send(status, b"", fields)

    def _receive(self) -> bytes:
        """Read the body of the request; one whose client leaves in its middle is no request."""
        size = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(size)
        if len(body) < size:
            raise ConnectionError("the client left in the middle of a request")
        return body

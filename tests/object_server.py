"""A small object store on loopback, with the part of the S3 API that modelfetch uses.

It keeps objects in memory, accepts any signature, and records requests. Faults make it misbehave::

    with ObjectServer() as server:
        server.objects["models/a.bin"] = b"..."
        server.faults["models/a.bin"] = Fault(stall_after=1000)

Keys of ``objects`` and ``faults`` begin with the name of the bucket. The XML API of Google Cloud Storage has
the same form for reads, so a test may point either client at it.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_PIECE = 16 * 1024


@dataclass
class Fault:
    """How requests for one object fail."""

    status: int = 0
    """Answer with this status instead."""
    code: str = "Error"
    """``Code`` in the XML of that answer."""
    times: int = 1_000_000
    """So many requests fail; later ones succeed."""
    stall_after: int | None = None
    """Send so many bytes, then nothing more."""
    late: float = 0.0
    """Seconds before the answer to PUT."""
    silent: bool = False
    """Never answer."""
    cut_after: int | None = None
    """Send so many bytes, then close the connection."""
    drip: float = 0.0
    """Seconds between pieces of ten bytes."""
    body: bytes | None = None
    """Send this instead of the object."""
    unranged: bool = False
    """Ignore Range."""
    method: str = ""
    """Only requests with this method fail; empty for GET and HEAD."""


@dataclass
class Seen:
    """A request."""

    method: str
    key: str
    """Bucket and key."""
    query: dict[str, list[str]]
    range: str
    is_signed: bool
    authorization: str
    received: int = 0
    """Bytes of its body."""


@dataclass
class _State:
    objects: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    """Multipart uploads under way, by their id."""
    sent: int = 0
    """Bytes of objects that were sent."""
    page_size: int = 1000
    """Objects on a page of a listing."""
    delay: float = 0.0
    """Seconds before each answer."""
    endless: bool = False
    """Listings never end."""


class ObjectServer:
    """The server; a context that stops it."""

    def __init__(self) -> None:
        self.state = _State()
        self._stopped = threading.Event()
        handler = type("Handler", (_Handler,), {"state": self.state, "stopped": self._stopped})
        self._http = _Server(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.005,), daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables that lead S3 clients to it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def objects(self) -> dict[str, bytes]:
        """The objects, by bucket and key."""
        return self.state.objects

    @property
    def faults(self) -> dict[str, Fault]:
        """Faults, by bucket and key."""
        return self.state.faults

    @property
    def seen(self) -> list[Seen]:
        """The requests."""
        return self.state.seen

    def __enter__(self) -> ObjectServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._http.shutdown()
        self._http.server_close()


class _Server(ThreadingHTTPServer):
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        """Keep quiet about clients that leave."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: _State
    stopped: threading.Event

    def log_message(self, *_: Any) -> None:
        pass

    def _begin(self) -> tuple[str, dict[str, list[str]], bytes]:
        parts = urlsplit(self.path)
        key = unquote(parts.path).lstrip("/")
        query = parse_qs(parts.query, keep_blank_values=True)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        authorization = self.headers.get("authorization", "")
        is_signed = bool(authorization) or "X-Amz-Signature" in query
        self.state.seen.append(
            Seen(self.command, key, query, self.headers.get("range", ""), is_signed, authorization, len(body))
        )
        return key, query, body

    def _fault(self, key: str, *methods: str) -> Fault:
        found = self.state.faults.get(key)
        if found is None or found.times <= 0 or (found.method or self.command) != self.command:
            return Fault()
        if not found.method and self.command not in methods:
            return Fault()
        found.times -= 1
        return found

    def _answer(self, status: int, body: bytes = b"", **fields: str) -> None:
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", f"{len(body)}")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _error(self, status: int, code: str) -> None:
        text = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>refused</Message></Error>'
        self._answer(status, text.encode(), content_type="application/xml")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        key, query, _ = self._begin()
        if "list-type" in query:
            self._list(key.rstrip("/"), query)
            return
        fault = self._fault(key, "GET", "HEAD")
        self.stopped.wait(self.state.delay)
        if fault.silent:
            self.stopped.wait(60)
            return
        if fault.status:
            self._error(fault.status, fault.code)
            return
        data = self.state.objects.get(key) if fault.body is None else fault.body
        if data is None:
            self._error(404, "NoSuchKey")
            return
        tag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        if self.headers.get("if-match", tag) != tag:
            self._error(412, "PreconditionFailed")
            return
        self._send(data, fault, tag)

    def _send(self, data: bytes, fault: Fault, tag: str) -> None:
        start, end, status = 0, len(data), 200
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        if wanted and not fault.unranged:
            start = int(wanted[1])
            end = min(end, int(wanted[2]) + 1) if wanted[2] else end
            status = 206
            if start >= len(data):
                self._error(416, "InvalidRange")
                return
        self.send_response(status)
        if status == 206:
            self.send_header("content-range", f"bytes {start}-{end - 1}/{len(data)}")
        self.send_header("content-length", f"{end - start}")
        self.send_header("etag", tag)
        self.send_header("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        if self.command == "HEAD":
            return
        with suppress(OSError):
            for piece in self._pieces(data[start:end], fault):
                self.wfile.write(piece)
                self.state.sent += len(piece)

    def _pieces(self, data: bytes, fault: Fault) -> Iterator[bytes]:
        limit = fault.stall_after if fault.stall_after is not None else fault.cut_after
        size = 10 if fault.drip else _PIECE
        sent = 0
        while sent < len(data) and (limit is None or sent < limit):
            piece = data[sent : min(sent + size, len(data) if limit is None else limit)]
            sent += len(piece)
            yield piece
            if fault.drip and self.stopped.wait(fault.drip):
                return
        if fault.stall_after is not None and sent < len(data):
            self.wfile.flush()
            self.stopped.wait(60)
        if sent < len(data):
            self.close_connection = True

    def _list(self, bucket: str, query: dict[str, list[str]]) -> None:
        fault = self._fault(bucket, "GET")
        if fault.status:
            self._error(fault.status, fault.code)
            return
        prefix = f"{bucket}/{query.get('prefix', [''])[0]}"
        after = query.get("continuation-token", query.get("start-after", [""]))[0]
        keys = sorted(key[len(bucket) + 1 :] for key in self.state.objects if key.startswith(prefix))
        page = [key for key in keys if key > after][: self.state.page_size]
        is_more = self.state.endless or bool(page and page[-1] != keys[-1])
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;x&quot;</ETag><Size>{len(self.state.objects[f'{bucket}/{key}'])}</Size></Contents>"
            for key in (page or keys if self.state.endless else page)
        )
        token = f"<NextContinuationToken>{escape(page[-1]) if page else 'x'}</NextContinuationToken>"
        text = (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{bucket}</Name><KeyCount>{len(page)}</KeyCount>"
            f"<IsTruncated>{'true' if is_more else 'false'}</IsTruncated>{token if is_more else ''}{entries}"
            "</ListBucketResult>"
        )
        self._answer(200, text.encode(), content_type="application/xml")

    def do_PUT(self) -> None:
        key, query, body = self._begin()
        fault = self._fault(key, "PUT")
        if fault.silent:
            self.stopped.wait(60)
            return
        self.stopped.wait(fault.late)
        if fault.status:
            self._error(fault.status, fault.code)
            return
        tag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
        if "uploadId" in query:
            parts = self.state.parts.get(query["uploadId"][0])
            if parts is None:
                self._error(404, "NoSuchUpload")
                return
            parts[int(query["partNumber"][0])] = body
        else:
            self.state.objects[key] = body
        self._answer(200, etag=tag)

    def do_POST(self) -> None:
        key, query, _ = self._begin()
        fault = self._fault(key, "POST")
        if fault.status:
            self._error(fault.status, fault.code)
            return
        if "uploads" in query:
            name = f"upload-{len(self.state.parts)}"
            self.state.parts[name] = {}
            answer = (
                f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId></InitiateMultipartUploadResult>"
            )
        else:
            parts = self.state.parts.pop(query["uploadId"][0])
            self.state.objects[key] = b"".join(parts[number] for number in sorted(parts))
            answer = '<CompleteMultipartUploadResult><ETag>"x"</ETag></CompleteMultipartUploadResult>'
        self._answer(200, f'<?xml version="1.0"?>{answer}'.encode(), content_type="application/xml")

    def do_DELETE(self) -> None:
        key, query, _ = self._begin()
        if "uploadId" in query:
            self.state.parts.pop(query["uploadId"][0], None)
        else:
            self.state.objects.pop(key, None)
        self._answer(204)

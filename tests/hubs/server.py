"""The HTTP server below the loopback hubs: replies are values, requests are recorded, faults are scripted.

::

    with HuggingFaceHub() as hub:
        hub.script("/tree/", Reply(503), Reply(200, cut=100))  # the first two requests for a listing
"""

from __future__ import annotations

import json
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs, urlsplit

from tests.loopback import LoopbackHandler, LoopbackServer


@dataclass(frozen=True)
class Request:
    """One request."""

    method: str
    target: str
    headers: Mapping[str, str]
    """Names in lower case."""

    @property
    def path(self) -> str:
        """The path, still percent-encoded."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The first value of each field of the query."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def token(self) -> str:
        """The bearer token, or empty."""
        return self.headers.get("authorization", "").removeprefix("Bearer ")


@dataclass(frozen=True)
class Reply:
    """One reply."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    """Close the connection after this many bytes of the body."""
    length: int | None = None
    """``Content-Length``, if it is not that of the body."""
    chunked: bool = False
    """Send no ``Content-Length``; the end of the connection is the end of the body."""

    @classmethod
    def json(cls, document: object, status: int = 200, **headers: str) -> Reply:
        """A document; underscores in the names of fields become hyphens."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, {"Content-Type": "application/json"} | fields, json.dumps(document).encode())


Answer = Callable[[Request], Reply]


class HubServer(LoopbackServer, ABC):
    """A server on a loopback port. Use it as a context manager.

    Attributes:
        requests: Every request so far, in the order of arrival.
        cut_files: Files are cut after so many bytes of a body; None for never.
        is_dead: Every connection is closed without an answer.
    """

    def __init__(self) -> None:
        super().__init__(_handler_of(self), is_joined=True)
        self.requests: list[Request] = []
        self.cut_files: int | None = None
        self.is_dead = False
        self._scripts: list[tuple[str, list[Reply | Answer]]] = []
        self._lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        """The base address."""
        return self.url

    def script(self, part: str, *replies: Reply | Answer) -> None:
        """Answer the next requests whose target contains ``part`` with these replies."""
        self._scripts.append((part, list(replies)))

    def targets(self, part: str = "") -> list[str]:
        """The targets of requests so far that contain ``part``."""
        return [request.target for request in self.requests if part in request.target]

    def reply(self, request: Request) -> Reply:
        """Record a request and answer it."""
        with self._lock:
            self.requests.append(request)
            scripted = next((rest for part, rest in self._scripts if part in request.target and rest), None)
            step = scripted.pop(0) if scripted else None
        if step is None:
            return self.answer(request)
        return step if isinstance(step, Reply) else step(request)

    @abstractmethod
    def answer(self, request: Request) -> Reply:
        """Answer a request for which nothing is scripted."""

    def file(self, request: Request, content: bytes, headers: Mapping[str, str]) -> Reply:
        """Answer with a file, or the part of it that is asked for."""
        fields = {"Accept-Ranges": "bytes", **headers}
        reply = Reply(200, fields, content, cut=self.cut_files)
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        etag = request.headers.get("if-range")
        if part is None or (etag is not None and etag != headers.get("ETag")):
            return reply
        first, last = int(part[1]), min(int(part[2] or len(content) - 1), len(content) - 1)
        if first >= len(content):
            return Reply(416, {"Content-Range": f"bytes */{len(content)}"})
        where = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
        return replace(reply, status=206, headers=fields | where, body=content[first : last + 1])


def _handler_of(hub: HubServer) -> type[LoopbackHandler]:
    class Handler(LoopbackHandler):
        def do_GET(self) -> None:
            if hub.is_dead:
                self.close_connection = True
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._send(hub.reply(Request(self.command, self.path, headers)))

        do_HEAD = do_GET

        def _send(self, reply: Reply) -> None:
            self.send_response_only(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.chunked:
                self.send_header("Connection", "close")
                self.close_connection = True
            else:
                length = len(reply.body) if reply.length is None else reply.length
                self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body[: reply.cut])
            self.wfile.flush()
            self.close_connection = self.close_connection or (
                reply.cut is not None and reply.cut < len(reply.body)
            )

    return Handler

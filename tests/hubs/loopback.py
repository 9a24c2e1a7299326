"""A loopback server whose answers are functions of the path: the base of servers in the shape of a hub.

It answers GET, sends ranges where an answer allows them, and records every request.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    target: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        """The path, as sent, without the query."""
        return self.target.partition("?")[0]


@dataclass(frozen=True, slots=True)
class Said:
    """One answer.

    Attributes:
        status: Status code.
        body: The whole body.
        headers: Further fields; ``Content-Length`` is added unless ``has_length`` is false.
        ranges: Whether a requested range is honored.
        cut: Bytes after which the connection is cut; None for none.
        has_length: Whether the length is stated; otherwise the end of the connection ends the body.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    ranges: bool = True
    cut: int | None = None
    has_length: bool = True


class Loopback:
    """A server on 127.0.0.1; subclasses override :meth:`answer`.

    Attributes:
        url: ``http://127.0.0.1:PORT``.
        asked: Every request so far.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def answer(self, asked: Asked) -> Said:
        """Answer a request."""
        raise NotImplementedError

    def paths(self) -> list[str]:
        """The paths that were requested."""
        return [each.path for each in self.asked]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(hub: Loopback) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()})
            hub.asked.append(asked)
            _send(self, asked, hub.answer(asked))

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _send(handler: BaseHTTPRequestHandler, asked: Asked, said: Said) -> None:
    status, body, headers = said.status, said.body, dict(said.headers)
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.headers.get("range", ""))
    if match and said.ranges and status == 200:
        start = int(match[1])
        end = min(int(match[2]) + 1 if match[2] else len(body), len(body))
        if start >= len(body):
            status, headers["Content-Range"], body = 416, f"bytes */{len(body)}", b""
        else:
            status, headers["Content-Range"] = 206, f"bytes {start}-{end - 1}/{len(body)}"
            body = body[start:end]
    handler.send_response_only(status)
    if said.has_length:
        headers.setdefault("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    try:
        handler.wfile.write(body if said.cut is None else body[: said.cut])
    except OSError:  # the client has read enough
        handler.close_connection = True


class Table(Loopback):
    """A server with fixed answers by path; every other path is 404.

    Attributes:
        answers: An answer, or a function that makes one, by path.
    """

    def __init__(self, answers: Mapping[str, Said | Callable[[Asked], Said]] | None = None) -> None:
        super().__init__()
        self.answers = dict(answers or {})

    def answer(self, asked: Asked) -> Said:
        """Answer from the table."""
        found = self.answers.get(asked.path, Said(404, b"not found"))
        return found if isinstance(found, Said) else found(asked)

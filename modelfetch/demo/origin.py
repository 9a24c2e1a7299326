"""A small HTTP server for the demo, on the loopback interface.

It sends the generated files at a limited speed, so that a person can watch the progress bars, and supports
``Range``, so that a fetch can resume. A flaky one cuts the connection in the middle of one file and then no
longer has that file.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from modelfetch.demo.content import SIZES, content
from modelfetch.threads import require

PACE = 11_000_000
"""Bytes per second and connection: the largest file takes about 2.6 seconds."""
PIECE = 64 * 1024
"""Bytes per write: about 170 writes a second, so that progress looks continuous."""
FLAKY_PATH = "onnx/encoder_model.onnx"
FLAKY_SHARE = 0.4
"""Share of one file that a flaky server sends; then it cuts the connection, and answers 404 for that file."""


class Origin:
    """The server; a context manager that serves while it is entered.

    Args:
        flaky: Whether to fail in the middle of one file.
        pace: Bytes per second and connection.
    """

    def __init__(self, *, flaky: bool = False, pace: float = PACE) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.pace = pace
        self._server.flaky = flaky
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Origin:
        # It polls for the shutdown this often; the default of 0.5 s would delay the end of the run.
        require(partial(self._server.serve_forever, 0.05), "modelfetch-demo")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    # A connection that is still sending must delay neither the end of the run nor that of the process.
    daemon_threads = True
    block_on_close = False
    pace: float
    flaky: bool
    hung_up = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: a client that disconnects, as a cancelled run does, is no error."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.lstrip("/")
        fails = self.server.flaky and path == FLAKY_PATH
        if path not in SIZES or (fails and self.server.hung_up):
            self.send_error(404)
            return
        self._answer(memoryview(content(path)), fails=fails)

    def _answer(self, body: memoryview, *, fails: bool) -> None:
        start, end = self._range(len(body))
        self._head(start, end, len(body))
        self._send(body[start : min(end, int(len(body) * FLAKY_SHARE)) if fails else end])
        if fails:
            self.server.hung_up = self.close_connection = True

    def _range(self, size: int) -> tuple[int, int]:
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        return (int(match[1]), int(match[2] or size - 1) + 1) if match else (0, size)

    def _head(self, start: int, end: int, size: int) -> None:
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.send_header("Content-Length", str(end - start))
        self.end_headers()

    def _send(self, body: memoryview) -> None:
        for piece in _paced(body, self.server.pace):
            self.wfile.write(piece)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Print nothing: the reporters of the run own the terminal."""


def _paced(body: memoryview, pace: float) -> Iterator[memoryview]:
    # Measured from the start, so that the inaccuracy of single sleeps does not add up.
    started = time.monotonic()
    for sent in range(0, len(body), PIECE):
        time.sleep(max(0.0, started + sent / pace - time.monotonic()))
        yield body[sent : sent + PIECE]

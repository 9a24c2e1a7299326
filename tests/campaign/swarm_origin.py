"""An origin with a limited rate that counts what it sends: for the campaign of the swarm."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PIECE = 16 * 1024


class Origin(ThreadingHTTPServer):
    """Serves files by name, with ranges, all connections together at one rate.

    Args:
        files: The bytes of each file, by the last part of its path.
        rate: Bytes per second; None for no limit.
        host: Address to listen on.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, files: Mapping[str, bytes], rate: float | None, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), _Handler)
        self.files = files
        self.sent = 0
        self._rate = rate
        self._free_at = 0.0
        self._lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"

    def pace(self, count: int) -> None:
        """Count bytes, and wait until they may be sent."""
        with self._lock:
            self.sent += count
            if self._rate is None:
                return
            now = time.monotonic()
            self._free_at = max(self._free_at, now - 0.05) + count / self._rate
            wait = self._free_at - now
        if wait > 0:
            time.sleep(wait)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Origin

    def setup(self) -> None:
        # A small buffer: what is in flight when a client leaves counts as sent.
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * 1024)
        super().setup()

    def do_GET(self) -> None:
        data = self.server.files.get(self.path.rpartition("/")[2])
        if data is None:
            self.send_error(404)
            return
        start, end = 0, len(data)
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if found:
            start, end = int(found[1]), int(found[2]) + 1 if found[2] else end
        self.send_response(206 if found else 200)
        self.send_header("Content-Length", str(end - start))
        self.send_header("Accept-Ranges", "bytes")
        if found:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        self.end_headers()
        try:
            for at in range(start, end, PIECE):
                piece = data[at : min(at + PIECE, end)]
                self.server.pace(len(piece))
                self.wfile.write(piece)
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Print nothing."""

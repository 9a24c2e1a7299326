"""The origin of :mod:`tests.campaign.lan`: sends files by digest at a limited rate, and counts the bytes."""

from __future__ import annotations

import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

RATE, PIECE = 8e6, 256 << 10


def main() -> None:
    root = Path(sys.argv[1])
    lock, sent = threading.Lock(), [0]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = root / "blobs" / self.path.rpartition("/")[2]
            content = path.read_bytes() if path.is_file() else b""
            start, end = 0, len(content)
            if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
                start, end = int(match[1]), int(match[2] or end - 1) + 1
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
            else:
                self.send_response(200 if content else 404)
            self.send_header("Content-Length", str(end - start))
            self.end_headers()
            for at in range(start, end, PIECE):
                piece = content[at : min(end, at + PIECE)]
                self.wfile.write(piece)
                with lock:
                    sent[0] += len(piece)
                    (root / "origin.json").write_text(str(sent[0]))
                time.sleep(len(piece) / RATE)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    server = Server(("0.0.0.0", 8765), Handler)
    print("listening", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

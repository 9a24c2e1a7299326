"""A peer of :mod:`tests.campaign.lan` that has every file of the model, and sends wrong bytes of it."""

from __future__ import annotations

import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from modelfetch.net.mdns_announcement import Announcement

INSTANCE = "0123456789abcdef"


def main() -> None:
    root = Path(sys.argv[1])
    lock, sent = threading.Lock(), [0]
    (root / "liar.json").write_text("0")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = root / "blobs" / self.path.rpartition("/")[2]
            content = bytes(path.stat().st_size) if path.is_file() else b""
            start, end = 0, len(content)
            if (match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))) and content:
                start, end = int(match[1]), int(match[2] or end - 1) + 1
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
            else:
                self.send_response(200 if content else 404)
            self.send_header("Content-Length", str(end - start))
            self.send_header("X-Modelfetch-Instance", INSTANCE)
            self.end_headers()
            for at in range(start, end, 1 << 16):
                piece = content[at : min(end, at + (1 << 16))]
                self.wfile.write(piece)
                with lock:
                    sent[0] += len(piece)
                    (root / "liar.json").write_text(str(sent[0]))

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    server = Server(("0.0.0.0", 8765), Handler)
    announcement = Announcement(8765, INSTANCE, "0.0.0.0")
    announcement.announce()
    print("listening", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

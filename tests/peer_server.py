"""A peer for tests: what a machine with ``serve --share`` answers, from memory and as a test wants it."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest

from tests.loopback import LoopbackHandler, LoopbackServer
from tests.patience import HELD, IN_TIME

LATE = {
    "modelfetch.sources.peer": ("ANSWER_SECONDS", "SLOW_SECONDS"),
    "modelfetch.sources.peer_search": ("CONNECT_SECONDS", "SILENCE_SECONDS", "SEARCH_SECONDS"),
    "modelfetch.engine.peer_wait": ("PATIENCE",),
}
"""The time limits after which a run leaves a peer out, by module: usually 1.5 seconds are late."""

WAIT_FOR_PEERS = "\n".join(
    f"import {module} as module\nmodule.{name} = {IN_TIME}"
    for module, names in LATE.items()
    for name in names
)
"""What :func:`wait_for_peers` does, for processes of their own (:func:`tests.e2e.command.bend`)."""


def wait_for_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out no peer for being late, however busy the machine is."""
    for module, names in LATE.items():
        for name in names:
            monkeypatch.setattr(f"{module}.{name}", IN_TIME)


class PeerServer(LoopbackServer):
    """A peer.

    Args:
        files: The files that it has.
        instance: The name of its cache.

    Attributes:
        fetching: Files that it is fetching: bytes received by digest.
        sends: What it sends in place of its files, by digest.
        statuses: The status of its next answers, if not the right one; the last one for ever.
        document: The body of answers with one of these statuses.
        headers: Further fields of each answer.
        may_answer: While it is not set, requests are held up.
        asked: The request lines, and the fields of each request.
    """

    def __init__(self, *files: bytes, instance: str = "00" * 8) -> None:
        self.files: dict[str, bytes] = {hashlib.sha256(each).hexdigest(): each for each in files}
        self.instance = instance
        self.fetching: dict[str, tuple[int, int]] = {}
        self.sends: dict[str, bytes] = {}
        self.statuses: list[int] = []
        self.document = b"{}"
        self.headers: dict[str, str] = {}
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.chunk = 1 << 20
        self.pause = 0.0
        """Seconds after each chunk of a body."""
        self.cut_after: int | None = None
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.sent = 0
        """Bytes of files sent."""
        self.lock = threading.Lock()
        server = self

        class Handler(LoopbackHandler):
            def do_GET(self) -> None:
                server.answer(self)

            do_HEAD = do_GET

        super().__init__(Handler)

    def release(self) -> None:
        self.may_answer.set()

    def add(self, content: bytes) -> str:
        """Have a file; returns its digest."""
        sha256 = hashlib.sha256(content).hexdigest()
        self.files[sha256] = content
        self.fetching.pop(sha256, None)
        return sha256

    @property
    def questions(self) -> int:
        """How often it was asked whether it has a file."""
        return sum("prefer" in fields for _, fields in self.asked)

    @property
    def requests(self) -> int:
        """How often bytes were requested."""
        return len(self.asked) - self.questions

    def answer(self, handler: Any) -> None:
        """Answer one request."""
        fields = {name.lower(): value for name, value in handler.headers.items()}
        with self.lock:
            self.asked.append((handler.path, fields))
            status = self.statuses.pop(0) if len(self.statuses) > 1 else next(iter(self.statuses), 0)
        self.may_answer.wait(HELD)
        sha256 = handler.path.rpartition("/")[2]
        if status:
            self._reply(handler, status, self.document)
        elif sha256 in self.files:
            self._send_file(handler, self.sends.get(sha256, self.files[sha256]), fields.get("range", ""))
        elif sha256 in self.fetching and "prefer" in fields:
            received, size = self.fetching[sha256]
            document = {"received": received, "size": size, "begun": 1.5}
            self._reply(handler, 202, json.dumps(document).encode())
        else:
            self._reply(handler, 404, b"{}")

    def _send_file(self, handler: Any, content: bytes, range_: str) -> None:
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", range_)
        if match is None:
            self._reply(handler, 200, content)
            return
        start, end = int(match[1]), int(match[2] or len(content) - 1) + 1
        extra = {"Content-Range": f"bytes {start}-{end - 1}/{len(content)}"}
        self._reply(handler, 206, content[start:end], extra)

    def _reply(self, handler: Any, status: int, body: bytes, extra: Mapping[str, str] | None = None) -> None:
        handler.send_response(status)
        fields = {"Content-Length": str(len(body)), "X-Modelfetch-Instance": self.instance}
        for name, value in (fields | dict(extra or {}) | self.headers).items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command == "HEAD":
            return
        for at in range(0, len(body), self.chunk):
            piece = body[at : at + self.chunk]
            if self.cut_after is not None and self.sent + len(piece) > self.cut_after and len(body) > 1:
                handler.close_connection = True
                return
            handler.wfile.write(piece)
            handler.wfile.flush()
            if len(body) > 1:
                self.sent += len(piece)
                time.sleep(self.pause)

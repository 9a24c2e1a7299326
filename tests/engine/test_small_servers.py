"""Servers of few threads, each held by a connection for as long as the client keeps it: none is starved."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from modelfetch.cancel import Cancellation, Cancelled
from modelfetch.engine.batch_connections import FIRST, GROWTH, BatchConnections
from modelfetch.engine.events import Progress
from modelfetch.net.client import Client
from modelfetch.net.time_limits import Limits
from modelfetch.sources.mirror import MirrorSource
from tests.engine.fakes import Laboratory, body, code, model, of
from tests.patience import IN_TIME

FILES = {f"{n}.bin": body(3000 + n, n) for n in range(60)}
MODEL = model("m", FILES)
THINKING_SECONDS = 0.02
"""Long enough for a batch to want many connections."""


class SmallServer(HTTPServer):
    """Answers over as many connections at a time as it has threads; the others wait in line."""

    request_queue_size = 64

    def __init__(self, files: Mapping[str, bytes], threads: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.accepted = 0
        self.answered: list[str] = []
        self._pool = ThreadPoolExecutor(threads)

    @property
    def mirror(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{{path}}"

    def process_request(self, request: object, client_address: object) -> None:
        self.accepted += 1
        self._pool.submit(self._serve, request, client_address)

    def _serve(self, request: object, client_address: object) -> None:
        with suppress(OSError):
            self.finish_request(request, client_address)  # type: ignore[arg-type]
        self.shutdown_request(request)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SmallServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        time.sleep(THINKING_SECONDS)
        self.server.answered.append(self.path)
        content = self.server.files[self.path[1:]]
        head = f"HTTP/1.1 206 OK\r\nContent-Length: {len(content)}\r\n"
        span = f"Content-Range: bytes 0-{len(content) - 1}/{len(content)}\r\n\r\n"
        self.wfile.write(head.encode() + span.encode() + content)


@contextmanager
def serving(threads: int) -> Iterator[SmallServer]:
    server = SmallServer(FILES, threads)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 3, FIRST])
def test_a_server_of_few_threads_is_not_starved(lab: Laboratory, threads: int) -> None:
    """A thread is held until the client hangs up: without that, no other connection is ever answered."""
    cancel = Cancellation()
    client = Client(Limits(connect_timeout=30.0, stall_timeout=30.0), cancel)
    with serving(threads) as server:
        runtime = lab.runtime(
            cancel=cancel,
            sources=[MirrorSource(client, [server.mirror])],
            # Not the time of a busy machine, on which files seem to stand still, and are told of.
            clock=lambda: 1000.0 + 0.01 * len(server.answered),
        )
        events = lab.ensure(MODEL, runtime=runtime)
        client.close()
    assert code(events) == 0
    assert not of(events, Progress), "no file had to go the ordinary way"
    assert all(lab.read(MODEL, path) == content for path, content in FILES.items())
    # How many connections open depends on how long each waits, and so on the load of the machine. Their exact
    # number is tested below, without a server; here they must be fewer than one for each file.
    assert server.accepted < len(FILES) or threads == FIRST


def test_lanes_begin_as_answers_prove_them_useful() -> None:
    lanes = BatchConnections(Cancellation())
    assert all(lanes.enter(number) for number in range(FIRST))
    begun: list[bool] = []
    waiting = threading.Thread(target=lambda: begun.append(lanes.enter(FIRST)))
    waiting.start()
    for _ in range(FIRST // GROWTH):
        lanes.note_answer()
    assert waiting.is_alive()
    lanes.note_answer()
    waiting.join(IN_TIME)
    assert begun == [True]


def test_after_a_silence_no_more_lanes_begin() -> None:
    lanes = BatchConnections(Cancellation())
    assert all(lanes.enter(number) for number in range(FIRST))
    assert lanes.note_silence(), "others are there to do its work"
    for _ in range(FIRST):
        lanes.note_answer()
    begun: list[bool] = []
    waiting = threading.Thread(target=lambda: begun.append(lanes.enter(FIRST)))
    waiting.start()
    lanes.leave(is_over=True)
    waiting.join(IN_TIME)
    assert begun == [False]


def test_the_only_lane_goes_on_whatever_happens() -> None:
    lanes = BatchConnections(Cancellation())
    assert lanes.enter(0)
    assert not lanes.note_silence()


def test_of_lanes_that_are_silent_at_the_same_time_one_goes_on() -> None:
    lanes = BatchConnections(Cancellation())
    assert all(lanes.enter(number) for number in range(FIRST))
    assert [lanes.note_silence() for _ in range(FIRST)] == [True] * (FIRST - 1) + [False]


@pytest.mark.slow
def test_a_cancelled_run_lets_nobody_wait() -> None:
    cancel = Cancellation()
    cancel.cancel()
    with pytest.raises(Cancelled):
        BatchConnections(cancel).enter(FIRST)

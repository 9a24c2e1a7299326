"""A real server on loopback in a thread, with jobs that yield the events of a test."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, Final, Self

import starlette.routing
import uvicorn.server
from starlette.types import ASGIApp

from modelfetch.cancel import Cancellation
from modelfetch.engine.events import Event, RunFinished, RunStarted
from modelfetch.engine.stream import Reporter
from modelfetch.errors import UnknownModelError
from modelfetch.history import History
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.server import job_store
from modelfetch.server.connection_timeouts import Connection
from modelfetch.server.job_queue import Jobs
from modelfetch.server.job_state import Order
from modelfetch.server.job_store import JobStore
from modelfetch.server.listen_address import Address
from modelfetch.server.pins import Pins
from modelfetch.server.pull_through import PullThrough
from modelfetch.server.routes import build
from modelfetch.server.runner import JobEngine, ServerWorkspace
from modelfetch.server.serve import Server, config
from modelfetch.server.serve_options import Options
from modelfetch.server.share_limits import ShareLimits
from modelfetch.server.share_state import ShareState
from modelfetch.share.shared_cache import SharedCache
from modelfetch.share.shared_models import SharedModels
from tests.patience import HELD, IN_TIME
from tests.server.table_check import check_answer, check_message

TOKEN = "a-token-of-the-tests"
PATIENCE = IN_TIME

TICK_SECONDS: Final = 0.01

# uvicorn looks every 0.1 s whether to stop, and then waits as long for its connections: 0.2 s for each of the
# hundreds of servers here.
vars(uvicorn.server)["asyncio"] = SimpleNamespace(
    **{**vars(asyncio), "sleep": lambda seconds: asyncio.sleep(min(seconds, TICK_SECONDS))}
)

# The last batch is written before the next server reads it, however long a slow disk takes.
vars(job_store)["CLOSE_SECONDS"] = IN_TIME

# Every server has the same paths.
vars(starlette.routing)["compile_path"] = cache(starlette.routing.compile_path)

Play = Callable[[Order, Cancellation], Iterator[Event]]


def done(_order: Order, _cancel: Cancellation) -> Iterator[Event]:
    """A run with nothing to do."""
    yield RunStarted("ensure", ("m",))
    yield RunFinished("completed", 0, 0.0, (), None)


def manifest(name: str, kind: str = "model") -> Manifest:
    """A model of one file."""
    file = FileSpec("config.json", 100, "a" * 64)
    return Manifest(name, "1", (file,), kind=kind, title=f"The model {name}")  # type: ignore[arg-type]


@dataclass
class FakeEngine:
    """An engine with some models, whose runs yield the events of a test instead of downloading."""

    play_: Play = done
    models: dict[str, Manifest] = field(
        default_factory=lambda: (
            {name: manifest(name) for name in ("m", "n", "o")}
            | {"tool": manifest("tool", "worker"), "org/m": manifest("m")}
        )
    )
    told: tuple[Reporter, ...] = ()
    looked_after: int = 0

    def find(self, model: str) -> Manifest:
        if model not in self.models:
            raise UnknownModelError(f"no catalog has {model!r}", hint="modelfetch list shows all models.")
        return self.models[model]

    def start_run(self, order: Order, cancel: Cancellation, name: str) -> Generator[Event, None, None]:
        yield from self.play_(order, cancel)

    def reporters(self) -> Sequence[Reporter]:
        return self.told

    def look_after(self) -> None:
        self.looked_after += 1


def until(condition: Callable[[], object], what: str = "it", seconds: float = PATIENCE) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + seconds
    pause = 0.002
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(pause)
        pause = min(0.03, 1.5 * pause)  # many conditions ask the server


@dataclass(frozen=True)
class Answer:
    """The answer to one request."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of the error."""
        return str(self.document["error"]["code"])


class PatientConnection(Connection):
    """A connection that is not given up because the machine, and so the test, is slow to send or read."""

    head_seconds = HELD
    read_seconds = HELD


class Served:
    """A running server, and a client for it.

    Attributes:
        jobs: Its jobs, to look behind the answers.
        port: Where it listens.
    """

    def __init__(
        self,
        root: Path,
        engine: JobEngine | None = None,
        *,
        parallel: int = 2,
        history: History | None = None,
        connection: type[Connection] = PatientConnection,
        allow_add: bool = False,
        make_share_state: Callable[[ServerWorkspace], ShareState] | None = None,
        fetch: bool = False,
        options: Options | None = None,
    ) -> None:
        self._history = history or History(root / "state.db")
        self._job_store = JobStore(self._history)
        self.jobs = Jobs(engine or FakeEngine(), self._job_store, parallel=parallel)
        # With its protocol, as the server makes it: asyncio turns off Nagle's algorithm only then. With it,
        # each answer over a connection that was used before takes 40 ms.
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.port = int(self._listener.getsockname()[1])
        options = options or Options()
        self.address = Address(
            "127.0.0.1", "127.0.0.1", self.port, options.cert is not None, names=options.allow_hosts
        )
        environ = {"HOME": str(root), "MODELFETCH_CACHE_DIR": str(root / "cache")}
        self.workspace = (
            engine if isinstance(engine, ServerWorkspace) else ServerWorkspace({}, environ=environ, cwd=root)
        )
        self._listening = threading.Event()
        self.share_state = make_share_state(self.workspace) if make_share_state is not None else None
        if fetch:
            store = self.workspace.load().store
            models = SharedModels(self.workspace.load)
            self.share_state = PullThrough(
                SharedCache(store), ShareLimits(), models, self.workspace, self.jobs, store
            )
        self.pins = Pins(self.workspace, is_allowed=allow_add)
        self._server = Server(
            config(self._app(), options, connection), self.jobs, self._listening.set, self.pins
        )
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), daemon=True)

    def _app(self) -> ASGIApp:
        return build(
            self.jobs, self.workspace, self._history, self.address, TOKEN, self.pins, self.share_state
        )

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listening.wait(PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End it as a signal does."""
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        self._history.close()
        if self.share_state is not None:
            self.share_state.close()

    def ask(
        self,
        method: str,
        path: str,
        document: object = None,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        token: str | None = TOKEN,
    ) -> Answer:
        """Send one request; ``headers`` replace those a well-behaved client sends."""
        sent = {"Authorization": f"Bearer {token}"} if token is not None else {}
        if document is not None:
            body = json.dumps(document).encode()
            sent["Content-Type"] = "application/json"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, sent | dict(headers or {}))
            response = connection.getresponse()
            answer = Answer(response.status, dict(response.headers.items()), response.read())
        finally:
            connection.close()
        check_answer(method, path, answer.status, answer.body)
        return answer

    def submit(self, model: str = "m", operation: str = "model_download", **more: object) -> str:
        """Submit a job that is new."""
        answer = self.ask("POST", "/v1/jobs", {"operation": operation, "model": model, **more})
        assert answer.status == 202, answer
        return str(answer.document["job_id"])

    def snapshot(self, job_id: str) -> Any:
        """Look at a job."""
        return self.ask("GET", f"/v1/jobs/{job_id}").document

    def follow(self, path: str, after: int | None = None) -> Follower:
        """Open a stream."""
        return Follower(self.port, path, after)

    def messages(self, job_id: str, after: int | None = None) -> list[Message]:
        """Read the stream of a job to its end."""
        with self.follow(f"/v1/jobs/{job_id}/stream", after) as follower:
            return list(follower)

    def until_over(self, job_id: str) -> Any:
        """Wait for the end of a job, and look at it."""
        until(lambda: self.jobs.get(job_id).state.is_over, "the end of the job")
        return self.snapshot(job_id)


@dataclass(frozen=True)
class Message:
    """One event of a stream."""

    id: str | None
    event: str | None
    data: str

    @property
    def document(self) -> Any:
        return json.loads(self.data)


class Follower:
    """Reads a stream, strictly by its format."""

    def __init__(self, port: int, path: str, after: int | None = None, buffer: int | None = None) -> None:
        self._socket = socket.socket()
        if buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(("127.0.0.1", port))
        wish = f"Last-Event-ID: {after}\r\n" if after is not None else ""
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {TOKEN}\r\n{wish}\r\n"
        self._socket.sendall(head.encode())
        self._response = http.client.HTTPResponse(self._socket, method="GET")
        self._path = path
        self._messages = self._read()
        self.comments = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._response.close()
        self._socket.close()

    def begin(self) -> int:
        """Read the head of the answer; gives its status."""
        self._response.begin()
        return self._response.status

    def __iter__(self) -> Iterator[Message]:
        return self._messages

    def __next__(self) -> Message:
        return next(self._messages)

    def _read(self) -> Iterator[Message]:
        assert self.begin() == 200, self._response.read()
        fields: dict[str, str] = {}
        for line in self._response:
            text = line.decode().removesuffix("\n")
            assert "\r" not in text
            if text.startswith(":"):
                self.comments += 1
            elif text:
                name, _, value = text.partition(": ")
                assert name not in fields, "each field once"
                fields[name] = value
            elif fields:
                check_message(self._path, fields.get("event"), fields["data"])
                yield Message(fields.get("id"), fields.get("event"), fields["data"])
                fields = {}
        assert not fields, "a stream ends between two events"

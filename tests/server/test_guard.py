"""The guard after it accepted a request: bodies that do not end, applications that fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from modelfetch.history import JobEventRow, JobRow
from modelfetch.model.manifest import Manifest
from modelfetch.server.error_responses import Refusal, error_response
from modelfetch.server.guard import Guard
from modelfetch.server.job_queue import Jobs
from modelfetch.server.job_store import JobStore
from modelfetch.server.listen_address import Address
from modelfetch.server.runner import ServerWorkspace
from tests.patience import IN_TIME
from tests.server.running import TOKEN, FakeEngine, Served, until

Message = MutableMapping[str, Any]
ADDRESS = Address("127.0.0.1", "127.0.0.1", 8765)


async def reads_all(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that reads the whole body, and answers refusals as the real one does."""
    try:
        while (await receive()).get("more_body"):
            pass
        await Response("read")(scope, receive, send)
    except Refusal as refusal:
        await error_response(refusal)(scope, receive, send)


def ask(app: ASGIApp, pieces: list[bytes], pause: float) -> tuple[int, bytes]:
    """Send a body piece by piece, never to its end, through a guard that waits 0.2 seconds."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/jobs",
        "headers": [
            (b"host", b"127.0.0.1:8765"),
            (b"authorization", f"Bearer {TOKEN}".encode()),
            (b"content-type", b"application/json"),
            (b"transfer-encoding", b"chunked"),
        ],
    }
    sent: list[Message] = []
    left = iter(pieces)

    async def receive() -> Message:
        await asyncio.sleep(pause)
        piece = next(left, None)
        if piece is None:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": piece, "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(Guard(app, ADDRESS, TOKEN, body_seconds=0.2)(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


@pytest.mark.parametrize("pieces", [[], [b"{"], [b" "] * 1000], ids=["nothing", "a part", "drips"])
def test_p42_a_body_must_be_complete_in_time_however_slowly_it_arrives(pieces: list[bytes]) -> None:
    status, body = ask(reads_all, pieces, 0.01)
    assert (status, json.loads(body)["error"]["code"]) == (408, "too_slow")


def test_a_failing_handler_gives_one_error_and_the_server_continues(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(FakeEngine):
        def find(self, model: str) -> Manifest:
            raise ZeroDivisionError("\x1b[31m")

    with Served(tmp_path, Broken()) as served:
        answer = served.ask("POST", "/v1/jobs", {"operation": "model_download", "model": "m"})
        assert (answer.status, answer.code) == (500, "bug")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert served.ask("GET", "/v1/jobs").status == 200
    assert "ZeroDivisionError" in caplog.text
    assert "/v1/jobs" in caplog.text
    assert "\x1b" not in caplog.text


def test_a_response_that_fails_halfway_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    async def breaks(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    assert ask(breaks, [], 0.0) == (200, b"")
    assert "ZeroDivisionError" in caplog.text


def test_a_body_that_is_cut_off_is_not_reported_as_a_bug(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    import socket

    head = f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nAuthorization: Bearer {TOKEN}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    connections = served._server.server_state.connections
    with socket.create_connection(("127.0.0.1", served.port), IN_TIME) as connection:
        connection.sendall(head.encode())
        until(lambda: connections, "the connection")
    until(lambda: not connections, "the end of the connection")
    assert served.ask("GET", "/v1/jobs").document == {"jobs": []}
    assert caplog.text == ""


# What goes wrong behind it


def test_an_invalid_setting_is_reported_and_can_be_fixed_without_a_restart(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "MODELFETCH_CACHE_DIR": str(tmp_path / "cache")}
    with Served(tmp_path, ServerWorkspace({}, environ=environ, cwd=tmp_path)) as served:
        (tmp_path / "modelfetch.toml").write_text("[network]\nfiles = 0\n")
        answer = served.ask("GET", "/v1/models")
        assert (answer.status, answer.code) == (500, "config")
        assert "network.files" in answer.document["error"]["message"]
        submitted = served.ask("POST", "/v1/jobs", {"operation": "model_download", "model": "demo"})
        assert submitted.code == "config"
        assert served.workspace.reporters() == ()
        (tmp_path / "modelfetch.toml").unlink()
        assert served.ask("GET", "/v1/models").status == 200


class Broken:
    """A history that fails once."""

    def __init__(self) -> None:
        self.breaks = True
        self.rows: dict[str, JobRow] = {}

    def write(
        self, *, jobs: Iterator[JobRow], job_events: Iterator[JobEventRow], wait: float | None = None
    ) -> None:
        if self.breaks and wait is None:
            self.breaks = False
            raise ZeroDivisionError
        self.rows |= {row.id: row for row in jobs}

    def jobs(self) -> list[JobRow]:
        return list(self.rows.values())

    def job_events(self, job: str, after: int = -1) -> list[dict[str, Any]]:
        return []

    def forget_jobs(self, ids: object) -> None:
        raise AssertionError


def test_a_bug_in_the_job_store_ends_neither_the_job_nor_the_store(
    caplog: pytest.LogCaptureFixture,
) -> None:
    job_store = JobStore(Broken())  # type: ignore[arg-type]
    jobs = Jobs(FakeEngine(), job_store, parallel=1)
    job, _ = jobs.submit("model_download", "m")
    until(lambda: "jobs could not be stored" in caplog.text, "the report")
    until(lambda: jobs.get(job.id).state.is_over, "the end of the job")
    jobs.stop()
    assert jobs.get(job.id).state.status == "completed"

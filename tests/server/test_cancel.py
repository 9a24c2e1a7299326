"""A job of the real engine is cancelled within a second, whatever it is doing, and keeps verified data."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from modelfetch.remote import client
from modelfetch.server import job_queue
from modelfetch.server.runner import ServerWorkspace
from modelfetch.store import Store, partial
from tests.engine.fakes import workers
from tests.origin import Fault, Origin, ServedModel, faults, model
from tests.patience import IN_TIME, PATIENT
from tests.server.running import Served, until

MIB = 1 << 20
READ_SECONDS = 0.5
"""Seconds for each read of a slow disk."""
USUAL_SECONDS = job_queue.CANCEL_SECONDS
"""What a request to cancel waits for the end of the job outside of these tests."""
SLOW_BYTES = 60 * MIB
"""Bytes of a file that such a disk reads for longer than ``IN_TIME``, a MiB at a time."""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a request to cancel wait for the end of the job, however long a busy machine takes for it.

    And let the job keep every byte that came.
    """
    monkeypatch.setattr(job_queue, "CANCEL_SECONDS", IN_TIME)
    monkeypatch.setattr(partial, "CLOSE_SECONDS", IN_TIME)


@contextmanager
def real(tmp_path: Path, served: ServedModel, **settings: str) -> Iterator[Served]:
    """A server with the real engine and a catalog of one model."""
    environ = served.environment | {
        **PATIENT,
        "HOME": str(tmp_path),
        "MODELFETCH_CACHE_DIR": str(tmp_path / "cache"),
        "MODELFETCH_CACHE_FSYNC": "false",
        **settings,
    }
    with Served(tmp_path, ServerWorkspace({}, environ=environ, cwd=tmp_path)) as server:
        yield server


def cancel(server: Served, job_id: str) -> None:
    """Cancel, and check the answer."""
    started = time.monotonic()
    answer = server.ask("DELETE", f"/v1/jobs/{job_id}")
    assert time.monotonic() - started < IN_TIME
    assert (answer.status, answer.document["status"]) == (200, "cancelled")
    snapshot = server.snapshot(job_id)
    assert (snapshot["status"], snapshot["error"]["code"]) == ("cancelled", "cancelled")
    story = server.messages(job_id)
    assert (story[-2].event, story[-1].data) == ("run_finished", "[CANCELLED]")


def is_in(server: Served, job_id: str, phase: str) -> Callable[[], bool]:
    return lambda: bool(server.snapshot(job_id)["phase"] == phase)


WAITS: dict[str, tuple[Fault, str]] = {
    "stalled before an answer": (faults.stall(), "fetching"),
    "stalled in the body": (faults.stall(0.5), "fetching"),
    "in backoff": (faults.status(503, retry_after=60), "retrying"),
}


def test_a_client_waits_for_the_answer_longer_than_the_server_for_the_job() -> None:
    """Else a job that takes a while to end would be reported as a server that does not answer."""
    assert client.CANCEL_SECONDS > USUAL_SECONDS + 1


@pytest.mark.parametrize(
    "wait",
    [
        pytest.param("stalled before an answer", marks=pytest.mark.slow),
        "stalled in the body",
        "in backoff",
    ],
)
def test_a_job_waiting_for_a_retry_is_cancelled(tmp_path: Path, wait: str) -> None:
    fault, phase = WAITS[wait]
    with Origin() as origin:
        origin.fault("*", fault)
        served = model(origin, {"a.bin": 100_000}, catalog=tmp_path / "catalog")
        with real(tmp_path, served) as server:
            job_id = server.submit()
            origin.until(lambda origin: bool(origin.requests))
            until(is_in(server, job_id, phase))
            cancel(server, job_id)


def test_a_connecting_job_is_cancelled(tmp_path: Path) -> None:
    """A host that does not even accept: the queue of its listening socket is full."""
    with Origin() as origin, ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        served = model(origin, {"a.bin": 1000}, catalog=tmp_path / "catalog")
        endpoint = f"http://127.0.0.1:{full.getsockname()[1]}"
        with real(tmp_path, served, HF_ENDPOINT=endpoint) as server:
            job_id = server.submit()
            until(is_in(server, job_id, "fetching"))
            time.sleep(0.1)
            cancel(server, job_id)
    until(lambda: not workers(), "the end of the thread that was left behind")


def test_a_job_waiting_for_a_lock_is_cancelled(tmp_path: Path) -> None:
    with Origin() as origin, Store(tmp_path / "cache").lock_model("m") as lock:
        assert lock.try_acquire()
        lock.note(300, 1000)
        served = model(origin, {"a.bin": 1000}, catalog=tmp_path / "catalog")
        with real(tmp_path, served) as server:
            job_id = server.submit()
            until(is_in(server, job_id, "waiting"))
            waiting = server.snapshot(job_id)["waiting"]
            assert (waiting["received"], waiting["size"]) == (300, 1000)
            assert "process" in waiting["holder"]
            cancel(server, job_id)
        assert not origin.requests


@pytest.mark.slow
def test_a_verifying_job_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled, read = threading.Event(), os.readv

    def read_slowly(*arguments: Any) -> int:
        cancelled.wait(READ_SECONDS)
        return read(*arguments)

    with Origin() as origin:
        served = model(origin, {"a.bin": SLOW_BYTES}, catalog=tmp_path / "catalog")
        with real(tmp_path, served) as server:
            assert server.until_over(server.submit())["status"] == "completed"
            monkeypatch.setattr(os, "readv", read_slowly)
            job_id = server.submit("m", "model_verify")
            until(lambda: server.snapshot(job_id)["received"] > 0)
            cancel(server, job_id)
            cancelled.set()


@pytest.mark.slow
def test_a_retry_resumes_where_the_cancelled_job_stopped(tmp_path: Path) -> None:
    with Origin() as origin:
        served = model(origin, {"a.bin": 8 * MIB}, catalog=tmp_path / "catalog")
        origin.fault("a.bin", faults.stall(5 * MIB), times=1)
        with real(tmp_path, served) as server:
            first = server.submit()
            until(lambda: server.snapshot(first)["received"] >= 4 * MIB)
            cancel(server, first)
            kept = server.snapshot(first)["received"]
            origin.forget()
            second = server.ask("POST", f"/v1/jobs/{first}/retry").document["job_id"]
            snapshot = server.until_over(second)
            assert (snapshot["status"], snapshot["received"]) == ("completed", 8 * MIB)
            assert origin.bytes_sent <= 8 * MIB - kept
            assert snapshot["fetched"] == origin.bytes_sent
            assert [entry["outcome"] for entry in history(server)] == ["completed", "cancelled"]


def history(server: Served) -> list[dict[str, object]]:
    runs = server.workspace.load().history().runs()
    return [{"outcome": run.outcome} for run in runs]


@pytest.mark.slow
def test_a_command_and_a_job_of_the_same_model_are_one_download(tmp_path: Path) -> None:
    """The second one waits for the first, reports its progress, and fetches nothing."""
    release = threading.Event()
    with Origin() as origin:
        served = model(origin, {"a.bin": 6 * MIB}, catalog=tmp_path / "catalog")
        origin.fault("a.bin", faults.stall(3 * MIB, until=release), times=1)
        with real(tmp_path, served) as one, real(tmp_path, served) as two:
            first = one.submit()
            until(lambda: one.snapshot(first)["received"] > 0)
            second = two.submit()
            until(is_in(two, second, "waiting"))
            until(lambda: two.snapshot(second)["waiting"]["received"] > 0)
            release.set()
            assert two.until_over(second)["status"] == "completed"
            assert two.snapshot(second)["fetched"] == 0
            assert origin.bytes_sent == served.size

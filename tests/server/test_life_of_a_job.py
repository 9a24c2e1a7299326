"""The life of a job over HTTP: submitted, followed, cancelled, retried, forgotten."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation, Cancelled
from modelfetch.engine.events import (
    ErrorInfo,
    Event,
    FileCommitted,
    FileStarted,
    Planned,
    PlannedFile,
    Progress,
    RunFinished,
    RunStarted,
)
from modelfetch.errors import ConfigError
from modelfetch.server import job_queue, serve
from modelfetch.server.job_state import Order
from tests.origin import Origin, model
from tests.patience import IN_TIME
from tests.server.running import FakeEngine, Message, Served, manifest, until
from tests.server.test_cancel import real

FILE = PlannedFile("big.bin", 1000, "b" * 64, "missing", 0, ("mirror a.example",))
PLAN = Planned("m", "1", "The model m", "MIT", "", "", "/cache/models/m/1", 1000, 1000, (FILE,))
CANCELLED = RunFinished("cancelled", 130, 0.1, (), ErrorInfo("cancelled", "cancelled", "run it again"))


def at(received: int) -> Progress:
    return Progress("m", "big.bin", "mirror", "a.example", 1, received, 1000)


class Held:
    """A run that stops in the middle of its file until it is released or cancelled."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.plays = 0

    def __call__(self, order: Order, cancel: Cancellation) -> Iterator[Event]:
        self.plays += 1
        yield RunStarted("ensure", (order.model,))
        yield PLAN
        yield FileStarted("m", "big.bin", 1000, 0)
        yield at(400)
        try:
            while not self.go.is_set():
                cancel.sleep(0.002)
        except Cancelled:
            yield CANCELLED
            return
        yield FileCommitted("m", "big.bin", "/x", 1000, "b" * 64, "mirror", "a.example", 600, 1.0)
        yield RunFinished("completed", 0, 1.0, (), None)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let who cancels a job or ends the server wait, however long a busy machine takes for it."""
    monkeypatch.setattr(job_queue, "CANCEL_SECONDS", IN_TIME)
    monkeypatch.setattr(serve, "STOP_SECONDS", IN_TIME)


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def server(tmp_path: Path, held: Held) -> Iterator[Served]:
    """A server that runs one job at a time, which stops in its middle."""
    with Served(tmp_path, FakeEngine(held), parallel=1) as served:
        yield served


def start_running(server: Served, model: str = "m") -> str:
    job_id = server.submit(model)
    until(lambda: server.snapshot(job_id)["last_event_id"] == 3)
    return job_id


def kinds(story: list[Message]) -> list[str | None]:
    return [message.event for message in story]


# Submit


def test_a_submission_returns_an_id_and_the_url_of_its_stream(served: Served) -> None:
    answer = served.ask("POST", "/v1/jobs", {"operation": "model_download", "model": "m"})
    assert answer.status == 202
    assert set(answer.document) == {"job_id", "sse_url"}
    job_id = answer.document["job_id"]
    assert re.fullmatch(r"job-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", job_id)
    assert answer.document["sse_url"] == f"/v1/jobs/{job_id}/stream"


def test_a_job_runs_without_followers(served: Served) -> None:
    """A job that waited for its first follower would never run from a script."""
    job_id = served.submit()
    assert served.until_over(job_id)["status"] == "completed"


def test_the_same_order_joins_the_job_that_is_under_way(server: Served, held: Held) -> None:
    job_id = start_running(server)
    again = server.ask("POST", "/v1/jobs", {"operation": "model_download", "model": "org/m"})
    assert (again.status, again.document["job_id"]) == (200, job_id)
    held.go.set()
    server.until_over(job_id)
    assert held.plays == 1


def test_the_same_order_joins_a_job_in_the_queue(server: Served) -> None:
    start_running(server)
    queued = server.submit("n")
    again = server.ask("POST", "/v1/jobs", {"operation": "model_download", "model": "n"})
    assert (again.status, again.document["job_id"]) == (200, queued)


def test_another_operation_on_the_same_model_is_another_job(server: Served) -> None:
    start_running(server)
    checked = server.submit("m", "model_verify")
    assert server.submit("m", "model_verify", repair=True) != checked


def test_a_forced_download_is_another_job_and_stays_forced(server: Served) -> None:
    running = start_running(server)
    forced = server.submit("m", force=True, hive_id="localhost")
    assert forced != running
    assert (server.snapshot(running)["force"], server.snapshot(forced)["force"]) == (False, True)
    assert server.ask("DELETE", f"/v1/jobs/{forced}").status == 200
    again = server.ask("POST", f"/v1/jobs/{forced}/retry").document["job_id"]
    assert server.snapshot(again)["force"] is True


def test_force_fetches_what_is_there_again(tmp_path: Path) -> None:
    with (
        Origin() as origin,
        real(tmp_path, model(origin, {"a": 100}, catalog=tmp_path / "catalog")) as server,
    ):
        jobs = [server.until_over(server.submit(force=force)) for force in (False, False, True)]
    assert [job["fetched"] for job in jobs] == [100, 0, 100]


def test_the_same_order_after_the_end_is_a_new_job(served: Served) -> None:
    first = served.submit()
    served.until_over(first)
    assert served.submit() != first


BAD_ORDERS = {
    "no JSON": b"{",
    "no object": b"[]",
    "nothing": b"",
    "no operation": b'{"model":"m"}',
    "unknown operation": b'{"operation":"model_downlod","model":"m"}',
    "operation that is no text": b'{"operation":["model_download"],"model":"m"}',
    "no model": b'{"operation":"model_download"}',
    "model that is no text": b'{"operation":"model_download","model":7}',
    "worker as a model": b'{"operation":"model_download","model":"tool"}',
    "model as a worker": b'{"operation":"worker_download","model":"m"}',
    "repair of a download": b'{"operation":"model_download","model":"m","repair":true}',
    "repair that is no truth value": b'{"operation":"model_verify","model":"m","repair":"yes"}',
    "force of a check": b'{"operation":"model_verify","model":"m","force":true}',
    "force that is no truth value": b'{"operation":"model_download","model":"m","force":1}',
    "hive_id that is no text": b'{"operation":"model_download","model":"m","hive_id":{}}',
    "misspelt force": b'{"operation":"model_download","model":"m","froce":true}',
    "deep": b"[" * 30_000,
}


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("body", BAD_ORDERS.values(), ids=BAD_ORDERS)
def test_an_invalid_submission_is_refused_in_one_sentence(served: Served, body: bytes) -> None:
    answer = served.ask("POST", "/v1/jobs", body=body, headers={"Content-Type": "application/json"})
    assert (answer.status, answer.code) == (400, "bad_request")
    assert answer.document["error"]["message"]
    assert served.jobs.all() == []


def test_a_misspelt_operation_gets_a_guess(served: Served) -> None:
    answer = served.ask("POST", "/v1/jobs", {"operation": "model_downlod", "model": "m"})
    assert "Did you mean 'model_download'?" in answer.document["error"]["message"]


def test_a_worker_is_downloaded_as_one(served: Served) -> None:
    assert served.until_over(served.submit("tool", "worker_download"))["status"] == "completed"


def test_an_unknown_model_is_not_found(served: Served) -> None:
    answer = served.ask("POST", "/v1/jobs", {"operation": "model_download", "model": "../../etc/passwd"})
    assert (answer.status, answer.code) == (404, "unknown_model")


@pytest.mark.slow
def test_the_queue_is_bounded(server: Served) -> None:
    start_running(server)
    engine = server.jobs._engine
    assert isinstance(engine, FakeEngine)
    engine.models |= {f"m{n}": manifest(f"m{n}") for n in range(101)}
    for n in range(100):
        server.submit(f"m{n}")
    answer = server.ask("POST", "/v1/jobs", {"operation": "model_download", "model": "m100"})
    assert (answer.status, answer.code) == (429, "queue_full")


def test_as_many_jobs_run_at_once_as_are_allowed(tmp_path: Path, held: Held) -> None:
    with Served(tmp_path, FakeEngine(held), parallel=2) as server:
        jobs = [server.submit(model) for model in ("m", "n", "o")]
        assert server.jobs.counts() == {"queued": 1, "running": 2}
        assert [server.snapshot(job)["status"] for job in jobs] == ["running", "running", "queued"]
        held.go.set()
        assert {server.until_over(job)["status"] for job in jobs} == {"completed"}


# Follow


def test_a_stream_has_every_event_and_ends_with_one_marker(served: Served) -> None:
    story = served.messages(served.submit())
    assert kinds(story) == ["run_started", "run_finished", None]
    assert [message.id for message in story] == ["0", "1", None]
    assert story[-1].data == "[DONE]"
    document = story[0].document
    assert (document["v"], document["n"], document["event"]) == (1, 0, "run_started")
    assert document["human"]


def test_two_followers_read_the_same_and_a_late_one_reads_every_event(server: Served, held: Held) -> None:
    job_id = start_running(server)
    path = f"/v1/jobs/{job_id}/stream"
    with server.follow(path) as one, server.follow(path) as two:
        assert next(one).event == next(two).event == "run_started"
        held.go.set()
        rest = list(one)
        assert rest == list(two)
    assert kinds(rest) == ["planned", "file_started", "progress", "file_committed", "run_finished", None]
    server.until_over(job_id)
    late = [
        message for message in server.messages(job_id) if message.event not in ("run_started", "progress")
    ]
    assert late == [message for message in rest if message.event != "progress"]


def test_a_cut_stream_resumes_after_the_last_event_that_was_read(server: Served, held: Held) -> None:
    job_id = start_running(server)
    with server.follow(f"/v1/jobs/{job_id}/stream") as cut:
        seen = [next(cut), next(cut)]
    with server.follow(f"/v1/jobs/{job_id}/stream", after=1) as resumed:
        seen.append(next(resumed))
        held.go.set()
        seen += resumed
    assert [message.id for message in seen] == ["0", "1", "2", "3", "4", "5", None]


def test_events_that_were_read_are_not_replayed(served: Served) -> None:
    job_id = served.submit()
    served.until_over(job_id)
    assert [message.data for message in served.messages(job_id, after=1)] == ["[DONE]"]


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("value", ["", "x", "-1", "1.5", "٣", "9" * 40, "1, 2"])
def test_an_invalid_last_event_id_replays_everything(served: Served, value: str) -> None:
    job_id = served.submit()
    served.until_over(job_id)
    headers = {"Last-Event-ID": value.encode().decode("latin-1")}
    assert b"run_started" in served.ask("GET", f"/v1/jobs/{job_id}/stream", headers=headers).body


def test_a_stream_is_what_browsers_and_proxies_expect(served: Served) -> None:
    headers = served.ask("GET", f"/v1/jobs/{served.submit()}/stream").headers
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-store"
    assert headers["x-accel-buffering"] == "no"


def test_a_failure_is_in_the_marker_on_one_line(tmp_path: Path) -> None:
    error = ErrorInfo("unavailable", "no source\r\ncould\x1b[31m deliver\ndata: [DONE]", "try again")

    def fail(order: Order, _cancel: Cancellation) -> Iterator[Event]:
        yield RunStarted("ensure", (order.model,))
        yield RunFinished("failed", 6, 0.1, (), error)

    with Served(tmp_path, FakeEngine(fail)) as server:
        job_id = server.submit()
        story = server.messages(job_id)
        assert story[-1].data == "[ERROR] no source could[31m deliver data: [DONE]"
        snapshot = server.until_over(job_id)
    assert (snapshot["status"], snapshot["phase"], snapshot["exit_code"]) == ("failed", "failed", 6)
    assert snapshot["error"]["code"] == "unavailable"


def test_a_bug_ends_its_job_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def break_(order: Order, _cancel: Cancellation) -> Iterator[Event]:
        yield RunStarted("ensure", (order.model,))
        if order.model == "m":
            raise ZeroDivisionError("\x1b]0;title\x07")
        yield RunFinished("completed", 0, 0.1, (), None)

    with Served(tmp_path, FakeEngine(break_)) as server:
        snapshot = server.until_over(server.submit())
        assert (snapshot["status"], snapshot["exit_code"], snapshot["error"]["code"]) == ("failed", 1, "bug")
        assert kinds(server.messages(snapshot["job_id"])) == ["run_started", "run_finished", None]
        assert server.until_over(server.submit("n"))["status"] == "completed"
    assert "ZeroDivisionError" in caplog.text
    assert "\x1b" not in caplog.text


def test_a_run_that_cannot_start_fails_with_its_reason(tmp_path: Path) -> None:
    def refuse(_order: Order, _cancel: Cancellation) -> Iterator[Event]:
        raise ConfigError("the settings are wrong")
        yield

    with Served(tmp_path, FakeEngine(refuse)) as server:
        snapshot = server.until_over(server.submit())
        assert (snapshot["status"], snapshot["exit_code"]) == ("failed", 2)
        assert snapshot["error"]["message"] == "the settings are wrong"
        assert kinds(server.messages(snapshot["job_id"])) == ["run_finished", None]


# Look


def test_a_snapshot_is_the_state_of_the_run(server: Served) -> None:
    job_id = start_running(server)
    snapshot = server.snapshot(job_id)
    assert (snapshot["status"], snapshot["phase"]) == ("running", "fetching")
    assert (snapshot["received"], snapshot["size"], snapshot["percent"]) == (400, 1000, 40.0)
    assert (snapshot["files_total"], snapshot["files_done"], snapshot["fetched"]) == (1, 0, 400)
    assert (snapshot["title"], snapshot["last_event_id"]) == ("The model m", 3)
    assert snapshot["human"] == "📊 Progress: 40.0% (400 B / 1000 B)"
    assert (
        snapshot["finished_at"] is snapshot["error"] is snapshot["exit_code"] is snapshot["waiting"] is None
    )
    (file,) = snapshot["files"]
    assert (file["file"], file["phase"], file["status"], file["attempt"]) == (
        "big.bin",
        "fetching",
        "running",
        1,
    )
    assert (file["source"], file["host"], file["received"]) == ("mirror", "a.example", 400)


def test_a_list_has_the_newest_first_and_no_files(server: Served) -> None:
    first = start_running(server)
    second = server.submit("n")
    listed = server.ask("GET", "/v1/jobs").document["jobs"]
    assert [job["job_id"] for job in listed] == [second, first]
    assert all("files" not in job for job in listed)
    assert [job["phase"] for job in listed] == ["queued", "fetching"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs/job-0"),
        ("GET", "/v1/jobs/job-0/stream"),
        ("DELETE", "/v1/jobs/job-0"),
        ("POST", "/v1/jobs/job-0/retry"),
    ],
)
def test_an_unknown_job_is_not_found(served: Served, method: str, path: str) -> None:
    answer = served.ask(method, path)
    assert (answer.status, answer.code) == (404, "unknown_job")


# Cancel


def test_cancelling_ends_the_run_and_answers_after_its_end(server: Served) -> None:
    job_id = start_running(server)
    with server.follow(f"/v1/jobs/{job_id}/stream") as follower:
        started = time.monotonic()
        answer = server.ask("DELETE", f"/v1/jobs/{job_id}")
        assert time.monotonic() - started < IN_TIME
        assert (answer.status, answer.document) == (200, {"job_id": job_id, "status": "cancelled"})
        story = list(follower)
    assert kinds(story)[-2:] == ["run_finished", None]
    assert story[-1].data == "[CANCELLED]"
    snapshot = server.snapshot(job_id)
    assert (snapshot["status"], snapshot["phase"], snapshot["exit_code"]) == ("cancelled", "cancelled", 130)
    assert [file["status"] for file in snapshot["files"]] == ["cancelled"]
    assert snapshot["speed"] is snapshot["eta"] is None


def test_a_job_in_the_queue_is_cancelled_without_a_run(server: Served, held: Held) -> None:
    start_running(server)
    queued = server.submit("n")
    assert server.ask("DELETE", f"/v1/jobs/{queued}").status == 200
    story = server.messages(queued)
    assert kinds(story) == ["run_finished", None]
    assert (story[0].document["outcome"], story[1].data) == ("cancelled", "[CANCELLED]")
    snapshot = server.snapshot(queued)
    assert (snapshot["status"], snapshot["started_at"]) == ("cancelled", None)
    assert held.plays == 1


def test_the_next_job_begins_when_one_is_cancelled(server: Served) -> None:
    first = start_running(server)
    second = server.submit("n")
    server.ask("DELETE", f"/v1/jobs/{first}")
    until(lambda: server.snapshot(second)["status"] == "running")


@pytest.mark.parametrize("times", [1, 2])
def test_an_ended_job_cannot_be_cancelled(server: Served, held: Held, times: int) -> None:
    job_id = start_running(server)
    if times == 2:
        server.ask("DELETE", f"/v1/jobs/{job_id}")
    else:
        held.go.set()
    server.until_over(job_id)
    answer = server.ask("DELETE", f"/v1/jobs/{job_id}")
    assert (answer.status, answer.code) == (409, "already_ended")


# Retry


def test_a_cancelled_job_is_retried_as_a_new_one(server: Served, held: Held) -> None:
    first = start_running(server)
    server.ask("DELETE", f"/v1/jobs/{first}")
    held.go.set()
    answer = server.ask("POST", f"/v1/jobs/{first}/retry")
    assert answer.status == 202
    second = answer.document["job_id"]
    snapshot = server.until_over(second)
    assert (snapshot["status"], snapshot["retry_of"]) == ("completed", first)
    assert server.snapshot(first)["status"] == "cancelled"


def test_a_retry_joins_the_same_job_under_way(server: Served) -> None:
    first = start_running(server)
    server.ask("DELETE", f"/v1/jobs/{first}")
    second = server.submit()
    answer = server.ask("POST", f"/v1/jobs/{first}/retry")
    assert (answer.status, answer.document["job_id"]) == (200, second)


def test_completed_and_running_jobs_are_not_retried(server: Served, held: Held) -> None:
    job_id = start_running(server)
    assert server.ask("POST", f"/v1/jobs/{job_id}/retry").code == "not_retryable"
    held.go.set()
    server.until_over(job_id)
    answer = server.ask("POST", f"/v1/jobs/{job_id}/retry")
    assert (answer.status, answer.code) == (409, "not_retryable")


def test_a_repair_is_retried_as_a_repair(server: Served) -> None:
    start_running(server, "n")
    first = server.submit("m", "model_verify", repair=True)
    server.ask("DELETE", f"/v1/jobs/{first}")
    second = server.ask("POST", f"/v1/jobs/{first}/retry").document["job_id"]
    snapshot = server.snapshot(second)
    assert (snapshot["operation"], snapshot["repair"]) == ("model_verify", True)


# Clear


def test_clearing_forgets_ended_jobs_and_nothing_else(server: Served) -> None:
    first = start_running(server)
    server.ask("DELETE", f"/v1/jobs/{first}")
    second = start_running(server)
    assert server.ask("POST", "/v1/jobs/clear").document == {"cleared": [first]}
    assert [job["job_id"] for job in server.ask("GET", "/v1/jobs").document["jobs"]] == [second]
    assert server.ask("GET", f"/v1/jobs/{first}").status == 404


def test_one_job_can_be_cleared(served: Served) -> None:
    jobs = [served.submit(), served.submit("n")]
    for job_id in jobs:
        served.until_over(job_id)
    assert served.ask("POST", "/v1/jobs/clear", {"job_id": jobs[0]}).document == {"cleared": [jobs[0]]}
    assert [job.id for job in served.jobs.all()] == [jobs[1]]


def test_a_running_job_is_not_cleared(server: Served) -> None:
    job_id = start_running(server)
    answer = server.ask("POST", "/v1/jobs/clear", {"job_id": job_id})
    assert (answer.status, answer.code) == (409, "not_ended")


def test_clearing_an_unknown_job_is_not_found(served: Served) -> None:
    assert served.ask("POST", "/v1/jobs/clear", {"job_id": "job-0"}).status == 404
    assert served.ask("POST", "/v1/jobs/clear", {"jobs": []}).code == "bad_request"
    assert served.ask("POST", "/v1/jobs/clear", {"job_id": 7}).code == "bad_request"


# The end of the server


def test_stopping_the_server_cancels_jobs_and_ends_every_stream_with_its_marker(
    tmp_path: Path, held: Held
) -> None:
    with Served(tmp_path, FakeEngine(held), parallel=1) as server:
        running, queued = start_running(server), server.submit("n")
        with (
            server.follow(f"/v1/jobs/{running}/stream") as one,
            server.follow(f"/v1/jobs/{queued}/stream") as two,
        ):
            assert next(one).event == "run_started"
            assert two.begin() == 200, "the request is there"
            started = time.monotonic()
            server.stop()
            assert time.monotonic() - started < IN_TIME
            ends = [list(one), list(two)]
        assert [end[-1].data for end in ends] == ["[CANCELLED]", "[CANCELLED]"]
        last = [end[-2].document for end in ends]
        assert [end["exit_code"] for end in last] == [143, 143], "not that of a Ctrl-C: nobody pressed it"
        assert [end["error"]["code"] for end in last] == ["interrupted", "interrupted"]


def test_submissions_are_refused_while_the_server_stops(served: Served) -> None:
    served.jobs.stop()
    answer = served.ask("POST", "/v1/jobs", {"operation": "model_download", "model": "m"})
    assert (answer.status, answer.code) == (503, "stopping")

"""The options of ``serve`` for a pull-through cache, and the places of its jobs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.engine.events import Event, RunFinished, RunStarted
from modelfetch.errors import UsageError
from modelfetch.history import History
from modelfetch.server import job_queue
from modelfetch.server.error_responses import Refusal
from modelfetch.server.job_queue import MAX_ENDED_FILE_JOBS, MAX_FILE_JOBS, Jobs
from modelfetch.server.job_state import Order
from modelfetch.server.job_store import JobStore
from modelfetch.server.pull_through import PullThrough
from modelfetch.server.runner import ServerWorkspace
from modelfetch.server.serve import serve
from modelfetch.server.serve_options import Options
from modelfetch.server.sharing import sharing
from tests.patience import HELD, IN_TIME
from tests.server.running import FakeEngine, Served, manifest, until

WRONG = {
    "--fetch needs --share": Options(fetch=True),
    "--pin-on-demand needs --fetch": Options(share=True, pin_on_demand=True),
    "--pin-only needs --pin-on-demand": Options(share=True, fetch=True, pin_only=("org/*",)),
}


@pytest.mark.parametrize("message", WRONG)
def test_an_option_without_the_one_that_it_extends_is_a_usage_error(message: str) -> None:
    with pytest.raises(UsageError) as error:
        serve(WRONG[message], {}, lambda *_: pytest.fail("it listens"))
    assert error.value.message == message


@pytest.mark.parametrize(
    ("fetch", "pin_only", "fetches", "pins"),
    [(False, None, False, False), (True, None, True, False), (True, (), True, True)],
)
def test_a_server_shares_as_its_options_say(
    tmp_path: Path, fetch: bool, pin_only: tuple[str, ...] | None, fetches: bool, pins: bool
) -> None:
    environ = {"HOME": str(tmp_path), "MODELFETCH_CACHE_DIR": str(tmp_path / "cache")}
    engine = ServerWorkspace({}, environ=environ, cwd=tmp_path)
    with History(tmp_path / "state.db") as history:
        jobs = Jobs(engine, JobStore(history), parallel=1)
        with sharing(engine, engine.load(), jobs, fetch=fetch, pin_only=pin_only) as share_state:
            assert share_state.fetches is fetches
            on_demand = share_state.on_demand if isinstance(share_state, PullThrough) else None
            assert (on_demand is not None) is pins
        jobs.stop()


class Held:
    """Runs that end when they are allowed to."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def __call__(self, order: Order, cancel: Cancellation) -> Iterator[Event]:
        yield RunStarted("ensure", (order.model,))
        while not self.go.is_set():
            cancel.sleep(0.002)
        yield RunFinished("completed", 0, 0.0, (), None)


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def jobs(tmp_path: Path, held: Held) -> Iterator[Jobs]:
    with History(tmp_path / "state.db") as history:
        jobs = Jobs(FakeEngine(held), JobStore(history), parallel=1)
        yield jobs
        jobs.stop()


def statuses(jobs: Jobs) -> list[str]:
    return [job.state.status for job in jobs.all()]


def test_jobs_for_files_and_for_models_have_places_of_their_own(jobs: Jobs, held: Held) -> None:
    for model in ("m", "n"):
        jobs.submit("model_download", model)
    for number in range(MAX_FILE_JOBS + 1):
        jobs.submit_file(manifest("m"), f"file {number}")
    assert statuses(jobs) == ["running", "queued", *["running"] * MAX_FILE_JOBS, "queued"]
    assert jobs.counts() == {"queued": 2, "running": 1 + MAX_FILE_JOBS}
    held.go.set()
    until(lambda: set(statuses(jobs)) == {"completed"})


def test_the_queues_are_limited_each_by_itself(
    monkeypatch: pytest.MonkeyPatch, jobs: Jobs, held: Held
) -> None:
    monkeypatch.setattr(job_queue, "MAX_QUEUED", 1)
    for number in range(MAX_FILE_JOBS + 1):
        jobs.submit_file(manifest("m"), f"file {number}")
    with pytest.raises(Refusal) as refused:
        jobs.submit_file(manifest("m"), "more")
    assert refused.value.code == "queue_full"
    jobs.submit("model_download", "m")
    jobs.submit("model_download", "n")
    held.go.set()


def test_clients_take_turns(tmp_path: Path) -> None:
    begun: list[tuple[str, ...]] = []
    go = {f"a{number}": threading.Event() for number in range(MAX_FILE_JOBS + 2)} | {"b": threading.Event()}

    def play(order: Order, _cancel: Cancellation) -> Iterator[Event]:
        begun.append(order.only)
        assert go[order.only[0]].wait(HELD)
        yield RunStarted("ensure", (order.model,))
        yield RunFinished("completed", 0, 0.0, (), None)

    with History(tmp_path / "state.db") as history:
        jobs = Jobs(FakeEngine(play), JobStore(history), parallel=1)
        for path in go:
            jobs.submit_file(manifest("m"), path, client=path[0])
        until(lambda: len(begun) == MAX_FILE_JOBS)
        assert statuses(jobs)[-3:] == ["queued"] * 3
        go["a0"].set()
        until(lambda: len(begun) > MAX_FILE_JOBS)
        assert begun[-1] == ("b",)
        for event in go.values():
            event.set()
        until(lambda: set(statuses(jobs)) == {"completed"})
        jobs.stop()


def test_the_same_file_is_one_job_and_another_one_is_another(jobs: Jobs, held: Held) -> None:
    first, is_new = jobs.submit_file(manifest("m"), "a")
    assert is_new
    assert jobs.submit_file(manifest("m"), "a") == (first, False)
    assert jobs.submit_file(manifest("m"), "b")[1]
    assert jobs.submit("model_download", "m")[1]
    held.go.set()


def test_a_file_of_a_worker_is_a_job_for_a_worker(jobs: Jobs, held: Held) -> None:
    job, _ = jobs.submit_file(manifest("tool", "worker"), "a")
    assert job.order == Order("worker_download", "tool", only=("a",))
    held.go.set()


def test_ended_jobs_for_files_do_not_push_others_out(jobs: Jobs, held: Held) -> None:
    held.go.set()
    jobs.submit("model_download", "m")
    for number in range(MAX_ENDED_FILE_JOBS + 5):
        job, _ = jobs.submit_file(manifest("m"), f"file {number}")
        assert job.finished.wait(IN_TIME)
    until(lambda: len(jobs.all()) == 1 + MAX_ENDED_FILE_JOBS)
    assert jobs.all()[0].order == Order("model_download", "m")


def test_the_order_of_a_job_for_a_file_is_kept_and_retried(tmp_path: Path) -> None:
    def fail(order: Order, _cancel: Cancellation) -> Iterator[Event]:
        yield RunStarted("ensure", (order.model,))
        yield RunFinished("failed", 6, 0.0, (), None)

    with Served(tmp_path, FakeEngine(fail)) as served:
        job, _ = served.jobs.submit_file(manifest("m"), "a")
        served.until_over(job.id)
        until(lambda: served.jobs.get(job.id) is not job, "the stored job")
        again = served.ask("POST", f"/v1/jobs/{job.id}/retry").document["job_id"]
        snapshot = served.until_over(again)
    assert (snapshot["only"], snapshot["retry_of"]) == (["a"], job.id)
    with Served(tmp_path, FakeEngine(fail)) as served:
        assert [job.order.only for job in served.jobs.all()] == [("a",), ("a",)]

"""A random wait before the first request: who waits, for how long, and that it is a part of the run."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from modelfetch.cli.jitter import check_jitter, delayed, needs_request
from modelfetch.engine.events import Event, RunFinished, RunStarted
from modelfetch.engine.options import EnsureOptions
from modelfetch.engine.setup import RunOptions
from modelfetch.engine.stream import Terminated, follow
from modelfetch.errors import UsageError
from modelfetch.workspace import Workspace
from tests.e2e.command import InProcess, assert_fails
from tests.origin import Origin, model

DONE = RunFinished("completed", 0, 0.0, (), None)


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


def run(closed: list[str]) -> Generator[Event, None, None]:
    try:
        yield RunStarted("ensure", ("m",))
        yield DONE
    finally:
        closed.append("closed")


def test_the_wait_is_announced_and_comes_after_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    waited: list[float] = []
    events = delayed(run([]), 30.0, quiet=False, sleep=waited.append, choose=lambda low, high: low + high / 4)
    assert isinstance(next(events), RunStarted)
    assert not waited
    assert next(events) == DONE
    assert waited == [7.5]
    assert capsys.readouterr().err == "waiting 8 s before the first request (--jitter 30)\n"


def test_the_wait_is_random_up_to_the_limit(capsys: pytest.CaptureFixture[str]) -> None:
    waited: list[float] = []
    for _ in range(50):
        list(delayed(run([]), 10.0, quiet=True, sleep=waited.append))
    assert all(0 <= seconds <= 10 for seconds in waited)
    assert len(set(waited)) > 40
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("interrupt", "code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_a_signal_in_the_wait_cancels_the_run(interrupt: type[BaseException], code: int) -> None:
    def interrupted(seconds: float) -> None:
        raise interrupt

    closed: list[str] = []
    finished = follow(delayed(run(closed), 30.0, quiet=True, sleep=interrupted), [])
    assert (finished.outcome, finished.exit_code, closed) == ("cancelled", code, ["closed"])


def test_a_run_that_needs_no_request_does_not_wait(tmp_path: Path, origin: Origin) -> None:
    cli = InProcess(tmp_path / "cli")
    cli.serve(model(origin, {"a.bin": 1000}, catalog=cli.catalog))
    workspace = Workspace.open(environ=cli.environment, cwd=cli.work)
    manifests = workspace.manifests(["m"])
    offline, local = RunOptions(offline=True), RunOptions(only=("local",))
    asked = [EnsureOptions(run=run) for run in (RunOptions(), offline, local)]
    assert [needs_request(workspace, manifests, each) for each in asked] == [True, False, False]
    assert not list(cli.cache.rglob("*"))
    cli.prepare("m")
    assert not needs_request(workspace, manifests, EnsureOptions())
    assert needs_request(workspace, manifests, EnsureOptions(force=True))
    ready = cli("ensure", "m", "--jitter", "3000")
    assert (ready.code, "waiting" in ready.err) == (0, False)


def test_the_wait_counts_against_the_time_limit(tmp_path: Path, origin: Origin) -> None:
    """The limit of a run is reached by its wait alone, and the error names the limit that was given."""
    cli = InProcess(tmp_path / "cli")
    cli.serve(model(origin, {"a.bin": 1000}, catalog=cli.catalog))
    workspace = Workspace.open(environ=cli.environment, cwd=cli.work)
    events = workspace.ensure(workspace.manifests(["m"]), EnsureOptions(run=RunOptions(timeout=0.02)))
    finished = follow(delayed(events, 0.03, quiet=True, choose=lambda _, high: high), [])
    assert finished.exit_code == 10
    assert finished.error is not None
    assert "the time limit of 0.02 s" in finished.error.message


@pytest.mark.parametrize("jitter", [-1.0, 3601.0, float("nan"), float("inf")])
def test_a_limit_that_is_no_time_is_refused(jitter: float) -> None:
    with pytest.raises(UsageError, match="is not from 0 to 3600"):
        check_jitter(jitter, None)


def test_a_wait_that_may_take_all_of_the_time_is_refused(tmp_path: Path) -> None:
    cli = InProcess(tmp_path / "cli")
    assert_fails(cli("ensure", "demo", "--jitter", "30", "--timeout", "30"), 2, "--jitter 30", "--timeout")

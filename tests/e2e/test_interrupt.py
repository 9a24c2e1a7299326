"""Ending a run in the middle: by signal or by kill -9, and going on afterwards."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modelfetch.cli.run import run
from modelfetch.engine.events import Event, RunFinished, RunStarted
from modelfetch.engine.record import Record
from modelfetch.workspace import Workspace
from tests import plain
from tests.e2e.command import Command, Result, Running, bend, keep_all, noted
from tests.origin import Fault, Origin, ServedModel, faults, model
from tests.patience import IN_TIME, PATIENT

MIB = 1 << 20


def assert_cancelled(result: Result, code: int) -> None:
    """The contract of an interrupted run."""
    assert "Traceback" not in result.err
    assert result.code == code, result.err
    assert result.seconds < IN_TIME
    assert result.out == ""
    last = result.err.splitlines()[-1]
    assert last.startswith("cancelled")
    assert last.endswith("run the command again to continue")


def serve(cli: Command, origin: Origin, size: int = 1000, fault: Fault | None = None) -> ServedModel:
    if fault is not None:
        origin.fault("*", fault)
    return cli.serve(model(origin, {"a.bin": size}, catalog=cli.catalog))


def received(running: Running) -> int:
    """Bytes of the file that a run with --json said to have."""
    lines = [line for line in running.out.splitlines() if '"received":' in line]
    return int(lines[-1].partition('"received":')[2].partition(",")[0]) if lines else 0


@pytest.mark.slow
def test_after_kill_9_at_half_of_a_file_the_next_run_fetches_the_other_half(cli: Command) -> None:
    cli.environment |= PATIENT
    with Origin() as origin:
        served = serve(cli, origin, 16 * MIB)
        origin.fault("a.bin", faults.stall(9 * MIB), times=1)
        with cli.start("ensure", "m", "--json") as running:
            running.until(lambda _: noted(cli) >= 8 * MIB)
            killed = running.interrupt(signal.SIGKILL)
        assert killed.code == -signal.SIGKILL
        assert cli.files("models") == []
        assert cli.files("blobs") == []
        origin.forget()
        result = cli("ensure", "m")
        assert result.code == 0, result.err
        assert origin.bytes_sent <= 0.55 * served.size
        assert cli.has(served)
        assert cli.files("partial") == []


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_signal_ends_a_transfer_at_once_and_keeps_what_came(cli: Command, number: int, code: int) -> None:
    cli.environment |= PATIENT
    keep_all(cli)
    with Origin() as origin:
        served = serve(cli, origin, 4 * MIB)
        origin.fault("a.bin", faults.stall(2 * MIB), times=1)
        with cli.start("ensure", "m", "--json") as running:
            running.until(lambda running: received(running) >= MIB)
            result = running.interrupt(number)
        assert (result.code, result.err) == (code, "")
        assert result.seconds < IN_TIME
        last = result.records[-1]
        assert (last["event"], last["outcome"], last["exit_code"]) == ("run_finished", "cancelled", code)
        assert [file["status"] for file in last["files"]] == ["cancelled"]
        had = received(running)
        origin.forget()
        cli.prepare("m")
        assert origin.bytes_sent <= served.size - had
        assert cli.has(served)


WAITS: dict[str, tuple[Fault, Callable[[Running], bool]]] = {
    "stalled before an answer": (faults.stall(), lambda _: True),
    "stalled in the body": (faults.stall(0.5), lambda running: "to fetch" in running.err),
    "in backoff": (faults.status(503, retry_after=60), lambda running: "retry: " in running.err),
}
"""What the origin does, and when the command is waiting for it."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wait", "times"),
    [
        ("stalled before an answer", 1),
        ("stalled in the body", 3),
        ("in backoff", 1),
    ],
)
def test_ctrl_c_ends_a_wait_at_once(cli: Command, origin: Origin, wait: str, times: int) -> None:
    """Pressing it again does no harm."""
    fault, is_waiting = WAITS[wait]
    serve(cli, origin, 100_000, fault)
    with cli.start("ensure", "m") as running:
        origin.until(lambda origin: bool(origin.requests))
        running.until(is_waiting)
        assert_cancelled(running.interrupt(times=times), 130)


def test_whoever_presses_again_while_it_is_told_is_told_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Impatient:
        """Presses Ctrl-C, and again when the end is told."""

        def report(self, record: Record) -> None:
            raise KeyboardInterrupt

        def close(self) -> None:
            pass

    events: list[Event] = [RunStarted("ensure", ("m",)), RunFinished("completed", 0, 0.0, (), None)]
    environ = {"HOME": str(tmp_path), "MODELFETCH_CACHE_DIR": str(tmp_path / "cache")}
    workspace = Workspace.open(environ=environ, cwd=tmp_path)
    finished = run(workspace, iter(events), json=False, quiet=False, also=Impatient())
    assert (finished.outcome, finished.exit_code) == ("cancelled", 130)
    assert capsys.readouterr().err.splitlines()[-1] == "cancelled; run the command again to continue"


@pytest.mark.slow
def test_ctrl_c_ends_the_wait_for_another_process(cli: Command, origin: Origin) -> None:
    serve(cli, origin, 1000, faults.stall())
    with cli.start("ensure", "m") as holder:
        origin.until(lambda origin: bool(origin.requests))
        with cli.start("ensure", "m") as waiter:
            waiter.until_stderr_has("waiting for process")
            assert_cancelled(waiter.interrupt(), 130)
        assert holder.process.poll() is None


def test_an_interrupt_inside_a_definition_is_forgotten_once_it_was_dealt_with() -> None:
    """CPython would die of the signal at its end: it remembers interrupts that came up in an exec of text."""
    program = """
from modelfetch.cli import entry
try:
    exec("raise KeyboardInterrupt")
except KeyboardInterrupt:
    entry._exit_now(130)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 130


PRESSED = """
import sys
class Gone:
    def __del__(self):
        raise KeyboardInterrupt
class Pressed:
    def find_spec(self, name, *_):
        if name == "{module}":
            sys.meta_path.remove(self)
            {raised}
sys.meta_path.insert(0, Pressed())
"""
"""Ctrl-C while a module is loaded; Python 3.11 makes a RuntimeError of one that comes in ``__set_name__``."""
AS_IT_IS = "raise KeyboardInterrupt"
AS_AN_ERROR = "raise RuntimeError('Error calling __set_name__') from KeyboardInterrupt()"
LOST = "Gone()"
"""Python cannot raise it where it takes a thing apart, or calls back about one that is gone."""


@pytest.mark.quick(1)
@pytest.mark.skipif(bool(plain.command()), reason="without fast paths modules are loaded in another order")
@pytest.mark.parametrize(
    ("module", "raised"),
    [
        ("modelfetch.warm", AS_IT_IS),
        pytest.param("modelfetch.cli", AS_IT_IS, marks=pytest.mark.slow),
        pytest.param("modelfetch.streams", AS_IT_IS, marks=pytest.mark.slow),
        pytest.param("modelfetch.cli.entry", AS_IT_IS, marks=pytest.mark.slow),
        pytest.param("modelfetch.cli.run", AS_IT_IS, marks=pytest.mark.slow),
        pytest.param("modelfetch.cli.run", AS_AN_ERROR, marks=pytest.mark.slow),
        pytest.param("modelfetch.net.http11", AS_IT_IS, marks=pytest.mark.slow),
        ("modelfetch.net.http11", AS_AN_ERROR),
        pytest.param("modelfetch.streams", LOST, marks=pytest.mark.slow),
        ("modelfetch.cli.entry", LOST),
        pytest.param("modelfetch.net.http11", LOST, marks=pytest.mark.slow),
    ],
)
def test_ctrl_c_ends_it_whatever_is_loaded_at_that_moment(cli: Command, module: str, raised: str) -> None:
    bend(cli, PRESSED.format(module=module, raised=raised))
    with Origin() as origin:
        serve(cli, origin, fault=faults.stall())
        result = cli("ensure", "m")
    assert result.code == 130, result.err
    assert "Traceback" not in result.err
    assert "ignored" not in result.err
    assert "bug" not in result.err

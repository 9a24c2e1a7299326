"""Many processes at once on one model: one of them works, the others wait and say for whom."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.e2e.command import Command, Running, assert_fails, together
from tests.origin import Origin, faults, model
from tests.patience import PATIENT

PROCESSES = 4
WAITING = "waiting for process"


@pytest.fixture
def holder(cli: Command, origin: Origin) -> Iterator[Running]:
    """A process that has the lock of model ``m``, and will not give it back."""
    origin.fault("*", faults.stall())
    cli.serve(model(origin, {"a.bin": 1000}, catalog=cli.catalog))
    with cli.start("ensure", "m") as running:
        origin.until(lambda origin: bool(origin.requests))
        yield running


@pytest.mark.slow
def test_each_byte_is_sent_once_however_many_ask(cli: Command) -> None:
    release = threading.Event()
    cli.environment |= PATIENT
    with Origin() as origin:
        files = {"big.bin": 2_000_000, "small.bin": 300_000, "a/b.bin": 10, "c.bin": 0}
        served = cli.serve(model(origin, files, catalog=cli.catalog))
        origin.fault("big.bin", faults.stall(1000, until=release), times=1)
        running = [cli.start("ensure", "m") for _ in range(PROCESSES)]
        # One of them has the lock, and is held up until another one tells that it waits.
        running[0].until(lambda _: any(WAITING in each.err for each in running))
        release.set()
        results = [each.finish() for each in running]
        assert [result.code for result in results] == [0] * PROCESSES, [result.err for result in results]
        assert {result.out for result in results} == {f"{cli.directory(served)}\n"}
        assert origin.bytes_sent == served.size
    assert cli.has(served)
    pids = {str(each.process.pid) for each in running}
    waits = [line for result in results for line in result.stderr_lines(WAITING)]
    assert waits
    assert all(line.partition(f"{WAITING} ")[2].split()[0] in pids for line in waits)


@pytest.mark.slow
def test_a_waiter_names_the_holder_and_goes_by_its_own_patience(
    cli: Command, origin: Origin, holder: Running
) -> None:
    name = f"process {holder.process.pid}"
    waited, timed, removed = together(
        [
            lambda: cli("ensure", "m", "--lock-timeout", "0.3"),
            lambda: cli("ensure", "m", "--timeout", "0.3"),
            lambda: cli("remove", "m"),
        ]
    )
    assert_fails(waited, 8, name, "--lock-timeout")
    assert_fails(timed, 10, "--timeout")
    assert_fails(removed, 8, name)
    assert waited.out == timed.out == removed.out == ""
    assert holder.process.poll() is None

    with cli.start("ensure", "m") as waiter:
        waiter.until_stderr_has(f"waiting for {name}")
        origin.heal()
        holder.process.kill()
        assert waiter.finish().code == 0, "no lock outlives its process"

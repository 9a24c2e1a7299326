"""A run that another thread cancels ends by itself: soon, and as cancelled."""

from __future__ import annotations

import threading
import time

import pytest

from modelfetch.cancel import Cancellation, Cancelled
from modelfetch.engine.ensure import ensure
from modelfetch.engine.options import Request
from modelfetch.engine.workers import Task, merge
from tests.engine.fakes import Answer, Laboratory, all_workers_end, body, last, model
from tests.patience import HELD, IN_TIME


@pytest.mark.slow
def test_a_worker_that_cannot_be_woken_does_not_keep_the_run() -> None:
    free, cancel = threading.Event(), Cancellation()

    def deaf() -> Task[str]:
        free.wait(HELD)
        return ""
        yield

    happened = merge([deaf()], 1, cancel)
    threading.Timer(0.05, cancel.cancel).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        list(happened)
    assert time.monotonic() - began < IN_TIME
    free.set()
    assert all_workers_end()


@pytest.mark.parametrize("when", ["before", "in the middle"])
def test_the_run_ends_as_cancelled_and_keeps_what_came(lab: Laboratory, when: str) -> None:
    content, cancel = body(3_000_000), Cancellation()
    came = [0]

    def count() -> None:
        came[0] += 1
        if came[0] == 20:
            cancel.cancel()

    lab.serve(content, Answer(before_piece=count))
    if when == "before":
        cancel.cancel()
    events = list(ensure(lab.runtime(cancel=cancel), Request([model("m", {"f.bin": content})])))
    finished = last(events)
    assert (finished.outcome, finished.exit_code) == ("cancelled", 130)
    assert finished.error is not None
    assert finished.error.code == "cancelled"
    assert [(file.status, file.reason) for file in finished.files] == [("cancelled", "cancelled")]
    assert all_workers_end()
    assert lab.store.held(model("m", {"f.bin": content}).files[0]) == max(0, came[0] - 1) * 64 * 1024

"""The end of several jobs."""

from __future__ import annotations

import pytest

from modelfetch.engine.events import ErrorInfo, FileResult, Outcome, RunFinished
from modelfetch.engine.failures import _GRAVITY as GRAVITY_OF_FILES
from modelfetch.engine.totals import Totals
from modelfetch.remote import Job
from modelfetch.remote.remote_run import _SEVERITY, combine, detached_end

DONE = RunFinished("completed", 0, 3.0, (FileResult("m", "a", "completed", "", "url", 1),), None)
KEPT = RunFinished("cancelled", 130, 1.0, (), ErrorInfo("cancelled", "cancelled", "x"))
TOTALS = Totals(1_000_000, 3_000_000, None, None, None, 33.3, 2, 1)
OURS = Job("job-0b54c6de-5b0a", "m", is_ours=True)
THEIRS = Job("job-0b999999-5b0a", "n")


def failed(code: str, exit_code: int) -> RunFinished:
    return RunFinished("failed", exit_code, 2.0, (), ErrorInfo(code, f"because of {code}", "a hint"))


@pytest.mark.parametrize("ending", [DONE, KEPT, failed("disk", 7)])
def test_the_end_of_one_job_is_unchanged(ending: RunFinished) -> None:
    assert combine([ending]) == ending


def test_all_files_and_the_longest_time_are_kept() -> None:
    other = RunFinished("completed", 0, 5.0, (FileResult("n", "b", "completed", "", "url", 1),), None)
    assert combine([DONE, other]) == RunFinished("completed", 0, 5.0, DONE.files + other.files, None)


@pytest.mark.parametrize(
    ("endings", "code", "exit_code"),
    [
        ([DONE, failed("offline", 4)], "offline", 4),
        ([failed("unavailable", 6), failed("disk", 7), failed("integrity", 5)], "disk", 7),
        ([failed("disk", 7), failed("interrupted", 143)], "interrupted", 143),
        ([KEPT, DONE, failed("unavailable", 6)], "unavailable", 6),
        ([DONE, KEPT], "cancelled", 130),
    ],
)
def test_the_most_severe_end_wins(endings: list[RunFinished], code: str, exit_code: int) -> None:
    finished = combine(endings)
    assert finished.error is not None
    assert (finished.error.code, finished.exit_code) == (code, exit_code)


def test_more_failures_are_counted() -> None:
    finished = combine([failed("disk", 7), DONE, failed("offline", 4), failed("offline", 4)])
    assert finished.error is not None
    assert finished.error.message == "because of disk (and 2 more jobs)"


def test_failures_of_jobs_rank_as_failures_of_files_do() -> None:
    assert tuple(error.code for error in GRAVITY_OF_FILES) == _SEVERITY


@pytest.mark.parametrize(
    ("endings", "going_on", "message", "hint"),
    [
        ([KEPT], [], "cancelled: 1.00 MB of 3.00 MB stay on the server", "run the same command again"),
        ([KEPT, DONE, KEPT], [], "cancelled: 1.00 MB of", "run the same command again"),
        ([DONE], [THEIRS], "job-0b999999 continues on the server", "modelfetch attach job-0b999999"),
        ([], [OURS], "job-0b54c6de was cancelled but has not ended yet", "modelfetch jobs"),
        ([KEPT], [THEIRS], "stay on the server; job-0b999999 continues", "modelfetch attach job-0b999999"),
        (
            [],
            [OURS, THEIRS],
            "was cancelled but has not ended yet; job-0b999999 continues",
            "modelfetch jobs",
        ),
    ],
)
def test_a_detached_end_reports_what_each_job_does(
    endings: list[RunFinished], going_on: list[Job], message: str, hint: str
) -> None:
    finished = detached_end(143, endings, going_on, TOTALS)
    assert (finished.outcome, finished.exit_code) == ("cancelled", 143)
    assert finished.error is not None
    assert message in finished.error.message
    assert hint in finished.error.hint


def test_without_a_plan_no_kept_bytes_are_reported() -> None:
    finished = detached_end(130, [KEPT], [], Totals(0, 0, None, None, None, 0.0, 0, 0))
    assert finished.error is not None
    assert finished.error.message == "cancelled"


@pytest.mark.parametrize(
    ("outcome", "said", "exit_code"),
    [
        ("failed", 0, 1),
        ("cancelled", 0, 1),
        ("failed", 256, 1),
        ("failed", -1, 1),
        ("completed", 256, 1),
        ("completed", 5, 5),
        ("failed", 143, 143),
    ],
)
def test_only_success_exits_with_zero(outcome: Outcome, said: int, exit_code: int) -> None:
    assert combine([RunFinished(outcome, said, 0.0, (), None)]).exit_code == exit_code

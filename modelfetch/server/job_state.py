"""What a job does, and its states: queued, running, and one of three ends. Pure values.

The states are::

    queued -> running -> completed | failed | cancelled
    queued -> cancelled | failed

A job that ends never changes again. A retry is a new job.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

from modelfetch.engine.events import ErrorInfo, RunFinished, Status
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.text import sanitize
from modelfetch.signal_exit_codes import SIGINT_EXIT, SIGTERM_EXIT

Operation = Literal["model_download", "worker_download", "model_verify"]

OPERATIONS: Final[tuple[Operation, ...]] = ("model_download", "worker_download", "model_verify")


@dataclass(frozen=True, slots=True)
class Order:
    """The work that a job was submitted for. Equal orders are the same work, so one job serves them all."""

    operation: Operation
    model: str
    """The model's own name, never an alias: two aliases of one model must compare equal."""
    repair: bool = False
    """For ``model_verify``: whether to fetch damaged files again."""
    force: bool = False
    """For downloads: whether to fetch everything again, whatever is on disk."""
    only: tuple[str, ...] = ()
    """For downloads: paths of the only files to fetch, as a client of the shared endpoints asked for them;
    empty for all."""


@dataclass(frozen=True, slots=True)
class JobState:
    """The state of a job. Each transition returns a new value; an impossible one is a bug."""

    created_at: datetime
    status: Status = "queued"
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: ErrorInfo | None = None
    exit_code: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether the job has ended."""
        return self.finished_at is not None

    @property
    def is_retryable(self) -> bool:
        """Whether a retry may lead to another outcome."""
        return self.status in ("failed", "cancelled")

    @property
    def marker(self) -> str:
        """The last line of the stream of a job that has ended."""
        if self.status == "failed":
            return f"[ERROR] {sanitize(self.error.message if self.error is not None else '')}".rstrip()
        return "[DONE]" if self.status == "completed" else "[CANCELLED]"

    def started(self, at: datetime) -> JobState:
        """Return the state after a queued job has started."""
        assert self.status == "queued", "only a queued job can start"
        return replace(self, status="running", started_at=at)

    def ended(self, end: RunFinished, at: datetime) -> JobState:
        """Return the state after a queued or running job has ended."""
        assert not self.is_over, "a job ends once"
        return replace(self, status=end.outcome, finished_at=at, error=end.error, exit_code=end.exit_code)


CANCELLED_IN_QUEUE: Final = RunFinished(
    "cancelled",
    SIGINT_EXIT,
    0.0,
    (),
    ErrorInfo("cancelled", "cancelled before it began", "Run it again, or `modelfetch retry` the job."),
)
"""End of a job that never started; the exit code is that of Ctrl-C (128 + SIGINT)."""

INTERRUPTED: Final = RunFinished(
    "failed",
    SIGTERM_EXIT,
    0.0,
    (),
    ErrorInfo(
        "interrupted",
        "the server was stopped while this job ran",
        "Run it again, or `modelfetch retry` the job: it continues where it stopped.",
    ),
)
"""End of a job whose server was killed; the exit code is that of a killed command (128 + SIGTERM)."""

STOPPED: Final = ErrorInfo(
    "interrupted",
    "the server was stopped before this job ended; verified data was kept",
    "Once the server runs again, run it again, or `modelfetch retry` the job: it continues there.",
)


def stopped(end: RunFinished) -> RunFinished:
    """Return the end of a job that was cancelled because its server stops: with its exit code, 143."""
    if end.outcome != "cancelled":  # it completed or failed before the cancellation reached it
        return end
    return replace(end, exit_code=INTERRUPTED.exit_code, error=STOPPED)

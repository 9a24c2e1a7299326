"""What a job is to do, and how its life goes: queued, running, and one of three ends. Pure values."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final, Literal

from modelfetch.engine.events import ErrorInfo, RunFinished, Status
from modelfetch.exit_codes import SIGINT_EXIT, SIGTERM_EXIT
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import sanitise

Operation = Literal["model_download", "worker_download", "model_verify"]

OPERATIONS: Final[tuple[Operation, ...]] = ("model_download", "worker_download", "model_verify")


@dataclass(frozen=True, slots=True)
class Order:
    """What a job is to do. Equal orders are the same work, so one job at a time serves them."""

    operation: Operation
    model: str
    """The model's own name, never an alias."""
    repair: bool = False
    """For ``model_verify``: whether to fetch anew what is not right."""


@dataclass(frozen=True, slots=True)
class JobState:
    """How far a job's life is. Each step gives a new value; a step that cannot be is a bug."""

    created_at: datetime
    status: Status = "queued"
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: ErrorInfo | None = None
    exit_code: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen any more."""
        return self.finished_at is not None

    @property
    def is_retryable(self) -> bool:
        """Whether doing it again may change something."""
        return self.status in ("failed", "cancelled")

    @property
    def marker(self) -> str:
        """How the stream of a job that is over ends: its last data, in one line."""
        if self.status == "failed":
            return f"[ERROR] {sanitise(self.error.message if self.error is not None else '')}".rstrip()
        return "[DONE]" if self.status == "completed" else "[CANCELLED]"

    def begun(self, at: datetime) -> JobState:
        """From the queue into work."""
        assert self.status == "queued", "only what waits can begin"
        return replace(self, status="running", started_at=at)

    def ended(self, end: RunFinished, at: datetime) -> JobState:
        """To its end, from the queue or from work."""
        assert not self.is_over, "a life ends once"
        return replace(self, status=end.outcome, finished_at=at, error=end.error, exit_code=end.exit_code)


CANCELLED_IN_QUEUE: Final = RunFinished(
    "cancelled",
    SIGINT_EXIT,
    0.0,
    (),
    ErrorInfo("cancelled", "cancelled before it began", "retry the job to run it"),
)
"""The end of a job that never began; the exit code is that of Ctrl-C."""

INTERRUPTED: Final = RunFinished(
    "failed",
    SIGTERM_EXIT,
    0.0,
    (),
    ErrorInfo(
        "interrupted",
        "the server was stopped while this job ran",
        "retry the job; it goes on where it was",
    ),
)
"""The end of a job whose server was killed; the exit code is that of a command which is."""

STOPPED: Final = ErrorInfo(
    "interrupted",
    "the server was stopped before this job ended; what is good of it is kept",
    "once the server runs again, the same command or a retry of the job goes on there",
)


def stopped(end: RunFinished) -> RunFinished:
    """The end of a job that was cancelled because its server was asked to end: with its exit code."""
    if end.outcome != "cancelled":
        return end
    return replace(end, exit_code=INTERRUPTED.exit_code, error=STOPPED)

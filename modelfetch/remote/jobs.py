"""Jobs as a server describes them (``docs/reference/http-api.md``), as far as it matters here. Pure."""

from __future__ import annotations

from typing import Final

from modelfetch.engine.events import ErrorInfo, FileResult, RunFinished, Status
from modelfetch.values import dataclass

_SHORT: Final = 12
"""Characters of an id that are shown: ``job-`` and eight digits; no two of a hundred jobs share them."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job that can be followed."""

    id: str
    model: str
    is_ours: bool = False
    """Whether it began with our asking, so that it may end with our leaving."""


@dataclass(frozen=True, slots=True)
class FileSnapshot:
    """One file of a job at one moment."""

    file: str
    size: int
    status: Status
    source: str
    host: str
    note: str

    def result(self, model: str) -> FileResult:
        """How it ended, for the end of a run."""
        return FileResult(
            model, self.file, self.status, self.note, f"{self.source} {self.host}".strip(), self.size
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A job at one moment."""

    job_id: str
    operation: str
    model: str
    status: Status
    phase: str
    created_at: str
    received: int
    size: int
    speed: float | None
    eta: float | None
    percent: float
    idle: float | None = None
    """Seconds without a byte; None while bytes come, and from servers that do not say."""
    repair: bool = False
    exit_code: int | None = None
    error: ErrorInfo | None = None
    files: tuple[FileSnapshot, ...] = ()

    @property
    def job(self) -> Job:
        """The job, to follow it."""
        return Job(self.job_id, self.model)

    def finished(self) -> RunFinished | None:
        """How its run ended; None before it has."""
        if self.status == "queued" or self.status == "running":  # noqa: PLR1714 - mypy narrows this only
            return None
        exit_code = int(self.status != "completed") if self.exit_code is None else self.exit_code
        files = tuple(file.result(self.model) for file in self.files)
        return RunFinished(self.status, exit_code, 0.0, files, self.error)


def shorten(job_id: str, least: int = _SHORT) -> str:
    """The beginning of an id: as much as a person needs of it."""
    return job_id[: max(_SHORT, least)]

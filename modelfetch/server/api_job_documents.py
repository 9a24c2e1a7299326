"""The documents about jobs of the HTTP API as types; see :mod:`modelfetch.server.api_documents`.

The meaning of each field is in ``docs/reference/http-api.md``. A snapshot itself is written by
:mod:`modelfetch.server.job_snapshot`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from modelfetch.engine.events import ErrorInfo, Part, Status
from modelfetch.lazy_dataclass import dataclass
from modelfetch.server.job_state import Operation


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that was submitted, and its stream."""

    job_id: str
    sse_url: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A job that was cancelled."""

    job_id: str
    status: Literal["cancelled"]


@dataclass(frozen=True, slots=True)
class Cleared:
    """Ids of the jobs that were deleted."""

    cleared: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LeftSource:
    """A source that a file does not use any more."""

    source: str
    host: str


@dataclass(frozen=True, slots=True)
class JobFile:
    """One file of a job."""

    file: str
    size: int
    received: int
    speed: float | None
    eta: float | None
    idle: float | None
    percent: float
    phase: str
    status: Status
    source: str
    host: str
    attempt: int
    note: str
    left: LeftSource | None
    wait: float | None
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Supplier:
    """A source, and how many of the bytes that are there it supplied."""

    source: str
    host: str
    received: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """The lock that a job waits for, and the progress of its holder."""

    holder: str
    waited: float
    received: int
    size: int


@dataclass(frozen=True, slots=True)
class Job:
    """A snapshot of a job."""

    job_id: str
    operation: Operation
    model: str
    title: str
    repair: bool
    force: bool
    only: list[str]
    status: Status
    phase: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    retry_of: str | None
    received: int
    size: int
    speed: float | None
    eta: float | None
    idle: float | None
    percent: float
    files_total: int
    files_done: int
    files: tuple[JobFile, ...]
    sources: tuple[Supplier, ...]
    waiting: Waiting | None
    fetched: int
    error: ErrorInfo | None
    exit_code: int | None
    last_event_id: int | None
    human: str

"""What happens in a run, as facts: the one stream everything else is a fold over.

Events hold facts and absolute totals only, so any :class:`Progress` may be dropped. Percent, speed, ETA and
text are computed by the reader (:mod:`modelfetch.engine.state`). The field names are the contract of
``--json``; every kind is described in ``docs/reference/events.md``.

Units: bytes and seconds throughout.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from modelfetch.lazy_dataclass import dataclass

Outcome = Literal["completed", "failed", "cancelled"]
Status = Literal["queued", "running", "completed", "failed", "cancelled"]
"""The one status vocabulary; where bytes came from is ``source``, never a status."""


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins."""

    kind: ClassVar[str] = "run_started"
    operation: Literal["ensure", "verify"]
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LockWaiting:
    """Another process works on the same model or file.

    Repeated while it lasts: about every second as long as the holder gets on, else every five.
    """

    kind: ClassVar[str] = "lock_waiting"
    model: str
    file: str
    """The file waited for, or an empty string when the whole model is locked."""
    holder: str
    """Who holds the lock, for a person: ``process 4711 on host since 06:00:12``."""
    waited: float
    """Seconds waited so far."""
    received: int = 0
    """Bytes the holder has of the model; 0 when it does not say."""
    size: int = 0
    """Bytes of the whole model; 0 when the holder does not say."""


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One file of a plan."""

    file: str
    size: int
    sha256: str
    state: Literal["kept", "partial", "missing"]
    held: int
    """Bytes already on disk: the whole size when kept, what came already when partial."""
    sources: tuple[str, ...]
    """Where it would be fetched from, in order, each ``kind host``; empty when kept."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What will be done for one model."""

    kind: ClassVar[str] = "planned"
    model: str
    version: str
    title: str
    license: str
    license_notice: str
    """More to know about the licence before use; empty for permissive licences."""
    homepage: str
    directory: str
    size: int
    """Bytes of all files."""
    missing: int
    """Bytes that must be fetched."""
    files: tuple[PlannedFile, ...]


@dataclass(frozen=True, slots=True)
class FileKept:
    """A file is there already and verified."""

    kind: ClassVar[str] = "file_kept"
    model: str
    file: str
    size: int


@dataclass(frozen=True, slots=True)
class FileStarted:
    """Work on a file begins."""

    kind: ClassVar[str] = "file_started"
    model: str
    file: str
    size: int
    offset: int
    """Bytes already there from an earlier run; the transfer continues behind them."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a file is. Absolute, so a later one replaces an earlier one."""

    kind: ClassVar[str] = "progress"
    model: str
    file: str
    source: str
    """Kind of source: ``local``, ``mirror``, ``ipfs``, ``huggingface``, ``url``; ``cache`` when verifying."""
    host: str
    attempt: int
    """1 for the first try of this source; counts up with each retry."""
    received: int
    """Good bytes on disk, so far as is known; when verifying, bytes hashed."""
    size: int


@dataclass(frozen=True, slots=True)
class RetryScheduled:
    """A source failed in a way that may pass; it is asked again after ``wait`` seconds."""

    kind: ClassVar[str] = "retry_scheduled"
    model: str
    file: str
    source: str
    host: str
    attempt: int
    """The number the next try will have."""
    fault: str
    """One of :class:`modelfetch.errors.Fault`."""
    reason: str
    wait: float


@dataclass(frozen=True, slots=True)
class SourceFailed:
    """A source is left for this file; the good bytes are kept for the next one.

    When verifying, the source is ``cache``: the copy on this disk failed, with fault ``missing``, ``size``
    or ``hash``; or, with fault ``unlisted``, a file lies in a model's directory that is none of its files.
    """

    kind: ClassVar[str] = "source_failed"
    model: str
    file: str
    source: str
    host: str
    fault: str
    reason: str
    hint: str
    received: int
    next_source: str
    """Kind of the source asked next; empty when there is none left."""
    next_host: str


@dataclass(frozen=True, slots=True)
class FileVerified:
    """The bytes of a file are the pinned ones."""

    kind: ClassVar[str] = "file_verified"
    model: str
    file: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class FileQuarantined:
    """Bytes that failed verification were put aside."""

    kind: ClassVar[str] = "file_quarantined"
    model: str
    file: str
    path: str
    """The directory in quarantine."""
    expected: str
    actual: str
    source: str
    """Who supplied the bytes: ``kind host``."""


@dataclass(frozen=True, slots=True)
class FileCommitted:
    """A verified file stands under its final name."""

    kind: ClassVar[str] = "file_committed"
    model: str
    file: str
    path: str
    size: int
    sha256: str
    source: str
    """Kind of the source that completed the file."""
    host: str
    fetched: int
    """Bytes that came in for it in this run, good or not."""
    seconds: float


@dataclass(frozen=True, slots=True)
class ModelReady:
    """Every file of a model is there and verified."""

    kind: ClassVar[str] = "model_ready"
    model: str
    version: str
    path: str
    """Absolute directory of the model."""
    files: int
    size: int
    fetched: int
    """Bytes fetched for it in this run; 0 when everything was there."""
    note: str = ""
    """What could not be written down about it, so that the next run has to read all of it again."""


@dataclass(frozen=True, slots=True)
class FileResult:
    """How one file ended."""

    model: str
    file: str
    status: Status
    reason: str
    """Empty, or why it is not there: an error code; when verifying a fault: ``missing``, ``hash``..."""
    source: str
    size: int


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """Why a run failed."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class RunFinished:
    """A run ends. Exactly one is the last event of every run."""

    kind: ClassVar[str] = "run_finished"
    outcome: Outcome
    exit_code: int
    seconds: float
    files: tuple[FileResult, ...]
    error: ErrorInfo | None


Event = (
    RunStarted
    | LockWaiting
    | Planned
    | FileKept
    | FileStarted
    | Progress
    | RetryScheduled
    | SourceFailed
    | FileVerified
    | FileQuarantined
    | FileCommitted
    | ModelReady
    | RunFinished
)
"""Every kind of event."""

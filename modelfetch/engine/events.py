"""The events of a run. The engine reports only these; every reporter reads them.

Events hold facts and absolute totals only, so any :class:`Progress` may be dropped. Percent, speed and ETA
are derived from them (:mod:`modelfetch.engine.state`). The field names are the contract of ``--json``; every
kind is described in ``docs/reference/events.md``.

Units: bytes and seconds throughout.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from modelfetch.lazy_dataclass import dataclass

Outcome = Literal["completed", "failed", "cancelled"]
Status = Literal["queued", "running", "completed", "failed", "cancelled"]
"""Status of a file or job, everywhere. Where its bytes came from is its ``source``, never a status."""
Part = tuple[int, int, str]
"""A byte range of a file and its source: start, end (exclusive), and ``kind host``."""


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The first event of a run."""

    kind: ClassVar[Literal["run_started"]] = "run_started"
    operation: Literal["ensure", "verify"]
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LockWaiting:
    """Another process holds the lock of a model or file, or a peer is fetching it, and the run waits.

    Repeated during the wait: about every second while the holder makes progress, else after two seconds and
    then every five.
    """

    kind: ClassVar[Literal["lock_waiting"]] = "lock_waiting"
    model: str
    file: str
    """The locked file, or an empty string if the whole model is locked."""
    holder: str
    """The holder of the lock, as text: ``process 4711 on host since 06:00:12``; or ``peer host``."""
    waited: float
    """Seconds waited so far."""
    received: int = 0
    """Bytes of the model that the holder has; 0 if it does not report them."""
    size: int = 0
    """Bytes of the whole model; 0 if the holder does not report them."""


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One file of a plan."""

    file: str
    size: int
    sha256: str
    state: Literal["kept", "partial", "missing"]
    held: int
    """Bytes already on disk: the whole size if kept, the fetched part if partial."""
    sources: tuple[str, ...]
    """Sources in the order in which they are asked, each ``kind host``; empty if kept."""
    reused: int = 0
    """Bytes of those held that are chunks of other files on this disk, to be copied."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What the run will do for one model."""

    kind: ClassVar[Literal["planned"]] = "planned"
    model: str
    version: str
    title: str
    license: str
    license_notice: str
    """What to know about the license before use; empty for permissive licenses."""
    homepage: str
    directory: str
    size: int
    """Bytes of all files."""
    missing: int
    """Bytes that must be fetched."""
    files: tuple[PlannedFile, ...]


@dataclass(frozen=True, slots=True)
class FileKept:
    """A file was already there and verified."""

    kind: ClassVar[Literal["file_kept"]] = "file_kept"
    model: str
    file: str
    size: int


@dataclass(frozen=True, slots=True)
class FileStarted:
    """Work on a file begins."""

    kind: ClassVar[Literal["file_started"]] = "file_started"
    model: str
    file: str
    size: int
    offset: int
    """Bytes already there from an earlier run; the transfer continues after them."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a file. Absolute, so a later event replaces an earlier one."""

    kind: ClassVar[Literal["progress"]] = "progress"
    model: str
    file: str
    source: str
    """A :class:`~modelfetch.model.source_kinds.SourceKind`; ``cache`` when verifying; empty if the file waits
    without one."""
    host: str
    attempt: int
    """Number of the attempt at this source: 1 for the first, one more with each retry; 0 while no request is
    under way and the file waits."""
    received: int
    """Bytes on disk, wrong ones excluded as far as is known; in a verify run, bytes hashed."""
    size: int
    parts: tuple[Part, ...] = ()
    """Which source supplied which of these bytes, in order, at most
    :data:`modelfetch.engine.parts.MAX_PARTS`. Empty if all are from ``source`` and follow one another from
    the start of the file, and while there is no ``source``. They may be a moment older than ``received``."""


@dataclass(frozen=True, slots=True)
class RetryScheduled:
    """A source failed with a temporary fault; it is asked again after ``wait`` seconds."""

    kind: ClassVar[Literal["retry_scheduled"]] = "retry_scheduled"
    model: str
    file: str
    source: str
    host: str
    attempt: int
    """Number of the next attempt."""
    fault: str
    """One of :class:`modelfetch.errors.Fault`."""
    reason: str
    wait: float


@dataclass(frozen=True, slots=True)
class SourceFailed:
    """A source failed, and another one is asked for this file. Fetched bytes are kept for that one.

    In a verify run the source is ``cache``: the copy on this disk failed with fault ``missing``, ``size`` or
    ``hash``. With fault ``unlisted``, a file in the directory of a model is none of its files.
    """

    kind: ClassVar[Literal["source_failed"]] = "source_failed"
    model: str
    file: str
    source: str
    host: str
    fault: str
    reason: str
    hint: str
    received: int
    next_source: str
    """Kind of the source asked next; empty if none is left."""
    next_host: str
    ranges: tuple[tuple[int, int], ...] = ()
    """In a verify run, the damaged ranges as far as they are known: starts and ends in bytes."""


@dataclass(frozen=True, slots=True)
class FileVerified:
    """The SHA-256 of a file is the pinned one."""

    kind: ClassVar[Literal["file_verified"]] = "file_verified"
    model: str
    file: str
    size: int
    sha256: str
    cid: str = ""
    """Its CID, if this completed its chunk map, else empty."""


@dataclass(frozen=True, slots=True)
class FileQuarantined:
    """Bytes that failed verification were moved to quarantine."""

    kind: ClassVar[Literal["file_quarantined"]] = "file_quarantined"
    model: str
    file: str
    path: str
    """The directory in quarantine."""
    expected: str
    actual: str
    source: str
    """Sources of the bytes, each ``kind host``, joined by `` + ``."""


@dataclass(frozen=True, slots=True)
class FileCommitted:
    """A verified file has its final name."""

    kind: ClassVar[Literal["file_committed"]] = "file_committed"
    model: str
    file: str
    path: str
    size: int
    sha256: str
    source: str
    """Kind of the source that completed the file."""
    host: str
    fetched: int
    """Bytes received for it in this run, good or not."""
    seconds: float
    reused: int = 0
    """Bytes copied from chunks that were on this disk, in a damaged copy or in another file."""
    cid: str = ""
    """Its CID, if its chunk map was made while it was fetched, else empty."""
    parts: tuple[Part, ...] = ()
    """Which source supplied which bytes, those of earlier runs included, as in :class:`Progress`; empty if
    ``source`` supplied all."""


@dataclass(frozen=True, slots=True)
class ModelReady:
    """Every file of a model is there and verified."""

    kind: ClassVar[Literal["model_ready"]] = "model_ready"
    model: str
    version: str
    path: str
    """Absolute directory of the model."""
    files: int
    size: int
    fetched: int
    """Bytes fetched for it in this run; 0 if everything was there."""
    note: str = ""
    """Why its receipt could not be written, so that the next run must hash all of it again; else empty."""
    reused: int = 0
    """Bytes copied from chunks that were on this disk."""


@dataclass(frozen=True, slots=True)
class FileResult:
    """How one file ended."""

    model: str
    file: str
    status: Status
    reason: str
    """Why it is not there: an error code, in a verify run a fault (``missing``, ``hash``...); else empty."""
    source: str
    size: int
    ranges: tuple[tuple[int, int], ...] = ()
    """In a verify run, the damaged ranges as far as they are known: starts and ends in bytes."""


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """Why a run failed."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The last event of every run; there is exactly one."""

    kind: ClassVar[Literal["run_finished"]] = "run_finished"
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

"""The rows of the history: one dataclass per table, its fields in the order of the columns.

Times have a time zone and are stored to the millisecond, durations are in seconds, amounts in bytes.
``docs/reference/history.md`` describes the tables for users.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from modelfetch.lazy_dataclass import dataclass

Outcome = Literal["success", "error", "hit", "cancelled"]
"""How an attempt ended. ``hit``: the file was in this cache. ``cancelled``: no verdict, because the run ended
first, or because data of several sources together had a wrong digest."""

EXHAUSTED = "all_layers_exhausted"
"""The fault of the row of a file that no source could deliver; its source and host are empty."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run."""

    run: str
    operation: str
    models: tuple[str, ...]
    started_at: datetime
    finished_at: datetime | None
    """None while the run is active, and forever if its process was killed."""
    outcome: str
    """``running``, ``completed``, ``failed`` or ``cancelled``."""
    exit_code: int | None
    fetched: int
    """Bytes received over the network, verified or not."""
    error: str
    """Why the run did not complete, or empty."""
    seconds: float = 0.0
    failures: int = 0
    """Failed attempts."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """The result of one file of a run."""

    run: str
    model: str
    file: str
    status: str
    """A status of :mod:`modelfetch.engine.events`."""
    source: str
    """``kind`` or ``kind host``; empty if no source supplied the file."""
    size: int
    fetched: int
    seconds: float
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One attempt to fetch one file from one source."""

    run: str
    model: str
    file: str
    source: str
    """Kind of source; ``cache`` for a hit; empty if no source was left."""
    host: str
    attempt: int
    """Number of the attempt of this source for this file, from 1."""
    started_at: datetime
    first_byte: float | None
    """Seconds from the start of the attempt to its first new byte; None without one."""
    seconds: float
    """Duration of the attempt."""
    resumed: int
    """Bytes on disk when the attempt started."""
    received: int
    """Bytes received by the attempt."""
    size: int
    """Size of the whole file."""
    outcome: Outcome
    fault: str
    """A :class:`modelfetch.errors.Fault`, :data:`EXHAUSTED`, or empty."""
    message: str
    kind: str = "model"
    """Kind of the manifest: ``model``, ``worker`` or ``dataset``."""


@dataclass(frozen=True, slots=True)
class CidRow:
    """One IPFS address of a file, and how often it led to a verified file."""

    cid: str
    """The address: the CID of a file, requested or computed, or a requested ``<directory CID>/<path>``."""
    sha256: str
    model: str
    file: str
    seen_at: datetime
    successes: int
    failures: int


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event of a run, in the form of ``--json`` and with its narration as ``human``."""

    run: str
    n: int
    event: dict[str, Any]


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job of the server."""

    id: str
    operation: str
    model: str
    status: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    retry_of: str
    """The job that this one repeats, or empty."""
    error: dict[str, Any] | None
    snapshot: dict[str, Any]


@dataclass(frozen=True, slots=True)
class JobEventRow:
    """One event of a job."""

    job: str
    n: int
    event: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CheckRow:
    """What the upstream of a pin said when it was last asked; key: ``ref`` and ``identity``."""

    ref: str
    """The reference, ``[upstream].ref`` of the manifest."""
    identity: str
    """Identity of the manifest that was compared. After an upgrade the row no longer applies."""
    checked_at: datetime | None
    """Time of the last successful check; None if none succeeded. Writing None keeps the stored time."""
    moved: bool
    """Whether the last successful check found other files."""
    revision: str
    """The revision that the last successful check found; empty if the upstream has none."""
    failed_at: datetime | None
    """Time of the last check if it failed, else None."""
    error: str = ""
    """Why it failed."""


@dataclass(frozen=True, slots=True)
class DigestRow:
    """The SHA-256 of a file outside of the cache, as long as the file has this size, time and inode."""

    path: str
    size: int
    mtime_ns: int
    inode: int
    sha256: str
    seen_at: datetime


Row = RunRow | FileRow | AttemptRow | CidRow | EventRow | JobRow | JobEventRow | CheckRow | DigestRow
"""Any row of the history."""

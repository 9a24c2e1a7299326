"""What is remembered, as values: one dataclass per table, its fields in the order of the columns.

Times are aware and kept to the millisecond, durations are seconds, amounts are bytes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from modelfetch.lazy_dataclass import dataclass

Outcome = Literal["success", "error", "hit", "cancelled"]
"""How an attempt ended. ``hit``: the bytes were in this cache. ``cancelled``: nobody can say, because the run
ended first, or because bytes of several sources turned out not to fit together."""

CACHE = "cache"
"""The source of a hit."""
EXHAUSTED = "all_layers_exhausted"
"""The fault of the row that says a file had no source left; its source and host are empty."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run."""

    run: str
    operation: str
    models: tuple[str, ...]
    started_at: datetime
    finished_at: datetime | None
    """None while it runs, and for ever if its process was killed."""
    outcome: str
    """``running``, ``completed``, ``failed`` or ``cancelled``."""
    exit_code: int | None
    fetched: int
    """Bytes that came over the network, good or not."""
    error: str
    """Why it did not complete, or empty."""
    seconds: float = 0.0
    failures: int = 0
    """Attempts that failed, each of which made another one necessary."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """How one file of a run ended."""

    run: str
    model: str
    file: str
    status: str
    """A status of :mod:`modelfetch.engine.events`."""
    source: str
    """``kind`` or ``kind host``; empty when nobody supplied it."""
    size: int
    fetched: int
    seconds: float
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One source asked for one file, once."""

    run: str
    model: str
    file: str
    source: str
    """Kind of source; ``cache`` for a hit; empty where no source was left."""
    host: str
    attempt: int
    """1 for the first try of this source for this file, then counting up."""
    started_at: datetime
    first_byte: float | None
    """Seconds from the start of this attempt to its first new byte; None when none came."""
    seconds: float
    """From the start of this attempt to its end."""
    resumed: int
    """Bytes that were there when it began."""
    received: int
    """New bytes of this attempt."""
    size: int
    """Bytes of the whole file."""
    outcome: Outcome
    fault: str
    """A :class:`modelfetch.errors.Fault`, :data:`EXHAUSTED`, or empty."""
    message: str
    kind: str = "model"
    """What the manifest is: ``model``, ``worker`` or ``dataset``."""


@dataclass(frozen=True, slots=True)
class CidRow:
    """One address of IPFS, and how often it led to the right bytes."""

    cid: str
    """What gateways are asked for: a file's CID, or ``<directory CID>/<path>``."""
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
    """The job it repeats, or empty."""
    error: dict[str, Any] | None
    snapshot: dict[str, Any]


@dataclass(frozen=True, slots=True)
class JobEventRow:
    """One event of a job."""

    job: str
    n: int
    event: dict[str, Any]


Row = RunRow | FileRow | AttemptRow | CidRow | EventRow | JobRow | JobEventRow
"""Anything that is remembered."""

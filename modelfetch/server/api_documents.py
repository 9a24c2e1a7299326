"""The documents of the HTTP API as types: the JSON of each answer, from which its JSON Schema is made.

Every field is always present, in the order of ``docs/reference/http-api.md``, which has their meaning. The
answers themselves are written as plain dictionaries by the modules that know the facts; tests compare both.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from modelfetch.engine.events import ErrorInfo
from modelfetch.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Error:
    """Every answer that is not the requested one."""

    error: ErrorInfo


# Models


@dataclass(frozen=True, slots=True)
class Upstream:
    """What is known of the upstream of a pin."""

    ref: str
    state: Literal["current", "moved", "due", "failed"]
    checked_at: datetime | None
    moved: bool
    revision: str
    error: str


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the catalogs."""

    name: str
    title: str
    kind: str
    task: str | None
    format: str | None
    version: str
    license: str
    license_notice: str
    permissive: bool
    size: int
    files: int
    present: bool
    partial: int
    path: str
    aliases: tuple[str, ...]
    catalog: Literal["built-in", "user", "project", "environment"]
    homepage: str
    upstream: Upstream | None


@dataclass(frozen=True, slots=True)
class WrongManifest:
    """A manifest that cannot be used."""

    name: str
    message: str


@dataclass(frozen=True, slots=True)
class Models:
    """Every model of the catalogs."""

    models: tuple[Model, ...]
    faults: tuple[WrongManifest, ...]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model, and what of it is in the cache."""

    file: str
    size: int
    sha256: str
    state: Literal["kept", "partial", "missing"]
    held: int


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A source of the files of a model."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class ModelParts:
    """What the description of one model has in place of, or beside, the fields of a model in the list."""

    files: tuple[ModelFile, ...]
    identity: str
    sources: tuple[ModelSource, ...]


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed of a model."""

    model: str
    versions: tuple[str, ...]
    files: int
    freed: int


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """One file of a pin, and the hubs that state its digest."""

    path: str
    size: int
    sha256: str
    stated_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pinned:
    """A reference that is pinned, or would be."""

    reference: str
    name: str
    version: str
    kind: str
    title: str
    license: str
    permissive: bool
    homepage: str
    size: int
    files: tuple[PinnedFile, ...]
    fetched: int
    notices: tuple[str, ...]
    known: bool
    added: bool


@dataclass(frozen=True, slots=True)
class Variant:
    """One of several variants of a model in a repository."""

    label: str
    include: str
    files: int
    size: int


@dataclass(frozen=True, slots=True)
class Variants:
    """The variants among which a request must choose."""

    reference: str
    variants: tuple[Variant, ...]


# The server


@dataclass(frozen=True, slots=True)
class JobCounts:
    """Number of jobs that have not ended."""

    queued: int
    running: int


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes on the disk."""

    used: int
    free: int | None
    blobs: int
    partial: int
    quarantine: int


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """The state of the server and its cache."""

    version: str
    models_downloading: tuple[str, ...]
    models_complete: tuple[str, ...]
    models_error: dict[str, ErrorInfo]
    stale: tuple[str, ...]
    updates: tuple[str, ...]
    jobs: JobCounts
    disk: Disk
    history_notice: str
    can_add: bool


@dataclass(frozen=True, slots=True)
class RunElsewhere:
    """A model that another process fetches."""

    model: str
    title: str
    holder: str
    received: int
    size: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the history."""

    run: str
    operation: str
    models: tuple[str, ...]
    started_at: datetime
    finished_at: datetime | None
    outcome: str
    exit_code: int | None
    fetched: int
    error: str
    seconds: float
    failures: int


@dataclass(frozen=True, slots=True)
class Failure:
    """The last failure of a source."""

    at: datetime
    fault: str
    message: str


@dataclass(frozen=True, slots=True)
class Source:
    """The health of a source on this machine."""

    source: str
    host: str
    status: str
    success: float | None
    first_byte: float | None
    speed: float | None
    stalls: int
    samples: int
    last: datetime
    last_failure: Failure | None


# Quarantine


@dataclass(frozen=True, slots=True)
class Entry:
    """A quarantine entry."""

    id: str
    at: datetime
    size: int | None
    expected: str
    actual: str
    source: str
    file: str
    path: str
    directory: str


@dataclass(frozen=True, slots=True)
class Restored:
    """Where the data of an entry is now."""

    id: str
    path: str


@dataclass(frozen=True, slots=True)
class Purged:
    """What was removed of an entry."""

    id: str
    paths: tuple[str, ...]
    freed: int


# Metrics


@dataclass(frozen=True, slots=True)
class Metrics:
    """The attempts of the last 24 hours; a key without a value is left out of a record."""

    metrics: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Reset:
    """All attempts were deleted."""

    ok: bool
    message: str

"""The state of a run, derived from its events.

Events state facts (:mod:`modelfetch.engine.events`). Everything derived from them is computed here, once, for
all reporters: positions, totals, percent, speed and ETA. The result depends on no single
:class:`~modelfetch.engine.events.Progress`: dropping any of them changes speed and ETA, never the totals.

Units: bytes and seconds; ``at`` is a time on a monotonic clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from modelfetch.engine.events import (
    Event,
    FileCommitted,
    FileKept,
    FileQuarantined,
    FileResult,
    FileStarted,
    FileVerified,
    LockWaiting,
    ModelReady,
    Planned,
    PlannedFile,
    Progress,
    RetryScheduled,
    RunFinished,
    RunStarted,
    SourceFailed,
    Status,
)
from modelfetch.engine.parts import amounts, label_of, parts_of
from modelfetch.engine.speed_and_eta import Meter
from modelfetch.engine.totals import FileId, FileState, Ledger, Phase, Totals
from modelfetch.errors import Fault
from modelfetch.lazy_dataclass import dataclass, field
from modelfetch.model.source_kinds import CACHE

__all__ = ["FileId", "FileState", "ModelState", "Phase", "RunState", "Totals"]


@dataclass(slots=True)
class ModelState:
    """One model of a run."""

    name: str
    plan: Planned | None = None
    ready: ModelReady | None = None
    seconds: float = 0.0
    """Seconds from its plan, or from the start of the run, until it was ready."""
    began: float | None = None
    """Time of its plan."""
    sources: Counter[str] = field(default_factory=Counter)
    """Number of files that each kind of source completed in this run."""
    shares: Counter[str] = field(default_factory=Counter)
    """Bytes of each source, ``kind host``, in the files that were completed in this run."""
    is_shared: bool = False
    """Whether several sources supplied one of these files."""

    def add(self, event: FileCommitted) -> None:
        """Count a completed file."""
        self.sources[event.source] += 1
        if event.parts:
            counts = amounts(event.parts)
            self.shares += counts
            self.is_shared = self.is_shared or len(counts) > 1
        else:
            self.shares[label_of(event.source, event.host)] += event.size


@dataclass(slots=True)
class RunState:
    """A run after the events so far. Only :meth:`apply` changes it."""

    operation: Literal["ensure", "verify"] = "ensure"
    models: dict[str, ModelState] = field(default_factory=dict)
    waits: dict[FileId, LockWaiting] = field(default_factory=dict)
    """Locks that the run waits for; the path is empty if a whole model is locked."""
    finished: RunFinished | None = None
    began: float | None = None
    """Time of the first event; None before it."""
    now: float = 0.0
    """Time of the last event."""
    _ledger: Ledger = field(default_factory=Ledger)

    @property
    def files(self) -> dict[FileId, FileState]:
        """Every file, in the order of the plans."""
        return self._ledger.files

    @property
    def active(self) -> dict[FileId, FileState]:
        """The files under way, in the order they were started."""
        return self._ledger.active

    @property
    def phases(self) -> Counter[Phase]:
        """How many files are in each phase."""
        return self._ledger.phases

    @property
    def totals(self) -> Totals:
        """The figures of the whole run."""
        return self._ledger.totals

    @property
    def seconds(self) -> float:
        """Seconds from the first event to the last one."""
        return 0.0 if self.began is None else max(0.0, self.now - self.began)

    @property
    def waiting(self) -> LockWaiting | None:
        """The lock that the run has waited for longest, or None."""
        return max(self.waits.values(), key=lambda wait: wait.waited, default=None)

    def results(self, unfinished: Status) -> tuple[FileResult, ...]:
        """Return how each file ended.

        Args:
            unfinished: Status of a file that is neither done nor failed.
        """
        return tuple(file.result(unfinished) for file in self.files.values())

    def apply(self, event: Event, at: float) -> None:
        """Apply one event.

        Args:
            event: The next event of the run.
            at: Time of the event.

        Raises:
            TypeError: It is no event.
        """
        self.now = at
        if self.began is None:
            self.began = at
        self._end_wait(event)
        change = self._CHANGES.get(type(event))
        if change is None:
            raise TypeError(f"not an event: {event!r}")
        change(self, event)

    def _end_wait(self, event: Event) -> None:
        """Remove waits that are over: any other event of a model or file means that its lock was acquired."""
        if self.waits:
            model, file = getattr(event, "model", ""), getattr(event, "file", "")
            self.waits.pop((model, ""), None)
            self.waits.pop((model, file), None)

    def _run_started(self, event: RunStarted) -> None:
        self.operation = event.operation
        for name in event.models:
            self._model(name)

    def _lock_waiting(self, event: LockWaiting) -> None:
        self.waits[event.model, event.file] = event

    def _planned(self, event: Planned) -> None:
        model = self._model(event.model)
        model.plan, model.began = event, self.now
        for planned in event.files:
            self._plan_file(event.model, planned)

    def _plan_file(self, model: str, planned: PlannedFile) -> None:
        file = self._ledger.file(model, planned.file, planned.size)
        if self.operation == "verify":  # a verify run starts at 0: the bytes on disk are still to be hashed
            return
        file.kept = planned.held
        if planned.state == "kept":
            self._keep(file)
        else:
            self._ledger.move(file, "queued", planned.held, self.now, is_gain=False)

    def _file_kept(self, event: FileKept) -> None:
        self._keep(self._ledger.file(event.model, event.file, event.size))

    def _keep(self, file: FileState) -> None:
        file.source, file.kept = CACHE, file.size
        self._ledger.move(file, "done", file.size, self.now, is_gain=False)

    def _file_started(self, event: FileStarted) -> None:
        file = self._ledger.file(event.model, event.file, event.size)
        is_check = self.operation == "verify" and file.phase == "queued"
        file.kept = event.offset
        self._ledger.move(
            file, "verifying" if is_check else "fetching", event.offset, self.now, is_gain=False
        )
        file.known_parts = ()
        file.meter = Meter()  # the wait for bytes begins with the first progress of the file

    def _progress(self, event: Progress) -> None:
        file = self._ledger.file(event.model, event.file, event.size)
        if file.phase == "done":  # a late event: other threads may report the end of a file first
            return
        if not event.attempt:
            self._wait(file, event)
            return
        if file.source and (file.source, file.host) != (event.source, event.host):
            file.meter = Meter()  # the speed of the previous source is not that of this one
        file.source, file.host, file.attempt = event.source, event.host, event.attempt
        file.known_parts = parts_of(event.parts, event.received, label_of(event.source, event.host))
        is_verifying = event.source == CACHE or event.received >= event.size
        self._ledger.move(file, "verifying" if is_verifying else "fetching", event.received, self.now)

    def _wait(self, file: FileState, event: Progress) -> None:
        """Apply progress of a file without a request under way: what it waits for was reported before."""
        # An attempt that ended without an event is that of a batch: the file waits for its turn again.
        phase = "queued" if file.phase == "fetching" and file.attempt else file.phase
        self._ledger.move(file, phase, event.received, self.now, is_gain=False)
        file.meter = Meter()  # no byte is expected, so the time does not count as idle
        self._ledger.reset_if_waiting()

    def _retry_scheduled(self, event: RetryScheduled) -> None:
        file = self._ledger.file(event.model, event.file)
        file.source, file.host, file.attempt = event.source, event.host, event.attempt
        file.fault, file.note, file.left = event.fault, event.reason, None
        file.retry_at = self.now + event.wait
        self._ledger.move(file, "retrying", file.received, self.now)
        file.meter = Meter()  # neither the wait nor the bytes before it are the speed of the next attempt

    def _source_failed(self, event: SourceFailed) -> None:
        if event.fault == Fault.UNLISTED:  # the file is none of the model's, so it has no state here
            return
        file = self._ledger.file(event.model, event.file)
        file.source, file.host = event.source, event.host
        if event.next_source:
            file.source, file.host = event.next_source, event.next_host
        file.fault, file.note, file.left = event.fault, event.reason, (event.source, event.host)
        file.attempt = 0
        self._ledger.move(file, "fetching" if event.next_source else "failed", event.received, self.now)
        file.meter = Meter()

    def _file_verified(self, event: FileVerified) -> None:
        file = self._ledger.file(event.model, event.file, event.size)
        # In an ensure run a verified file is not done before it has its final name.
        self._ledger.move(file, "done" if self.operation == "verify" else "verifying", file.size, self.now)

    def _file_quarantined(self, event: FileQuarantined) -> None:
        """Forget the parts; the failure itself comes as SourceFailed."""
        file = self._ledger.files.get((event.model, event.file))
        if file is not None:  # a damaged copy may be of a file that is not in the plan
            file.known_parts = ()

    def _file_committed(self, event: FileCommitted) -> None:
        file = self._ledger.file(event.model, event.file, event.size)
        file.source, file.host, file.known_parts = event.source, event.host, event.parts
        self._model(event.model).add(event)
        self._ledger.move(file, "done", file.size, self.now)

    def _model_ready(self, event: ModelReady) -> None:
        model = self._model(event.model)
        model.ready = event
        model.seconds = self.seconds if model.began is None else max(0.0, self.now - model.began)

    def _run_finished(self, event: RunFinished) -> None:
        self.finished = event
        self.waits.clear()

    def _model(self, name: str) -> ModelState:
        return self.models.setdefault(name, ModelState(name))

    _CHANGES: ClassVar[Mapping[type[Event], Callable[[RunState, Any], None]]] = {
        RunStarted: _run_started,
        LockWaiting: _lock_waiting,
        Planned: _planned,
        FileKept: _file_kept,
        FileStarted: _file_started,
        Progress: _progress,
        RetryScheduled: _retry_scheduled,
        SourceFailed: _source_failed,
        FileVerified: _file_verified,
        FileQuarantined: _file_quarantined,
        FileCommitted: _file_committed,
        ModelReady: _model_ready,
        RunFinished: _run_finished,
    }
    """The method for each kind of event. A table: single dispatch would take longer than the change."""

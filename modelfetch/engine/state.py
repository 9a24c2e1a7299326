"""The fold: what a run looks like after the events so far.

Events state facts (:mod:`modelfetch.engine.events`); everything derived from them is computed here, once, for
every reporter: positions, totals, percent, speed and ETA. The result depends on no single
:class:`~modelfetch.engine.events.Progress`: dropping any of them changes speed and ETA, never the totals.

Units: bytes and seconds; ``at`` is a monotonic clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import field
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
from modelfetch.engine.totals import FileId, FileState, Ledger, Meter, Phase, Totals
from modelfetch.errors import Fault
from modelfetch.lazy_dataclass import dataclass

__all__ = ["FileId", "FileState", "ModelState", "Phase", "RunState", "Totals"]


@dataclass(slots=True)
class ModelState:
    """One model of a run."""

    name: str
    plan: Planned | None = None
    ready: ModelReady | None = None
    seconds: float = 0.0
    """From its plan (or the run's start) until it was ready."""
    began: float | None = None
    """When its plan was made."""
    sources: Counter[str] = field(default_factory=Counter)
    """How many files each kind of source completed in this run."""


@dataclass(slots=True)
class RunState:
    """A run after the events so far; :meth:`apply` is the only way to change it."""

    operation: Literal["ensure", "verify"] = "ensure"
    models: dict[str, ModelState] = field(default_factory=dict)
    waits: dict[FileId, LockWaiting] = field(default_factory=dict)
    """Locks waited for; the path is empty where a whole model is locked."""
    finished: RunFinished | None = None
    began: float | None = None
    """When the first event came; None before it."""
    now: float = 0.0
    """When the last event came."""
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
        """From the first event to the last one."""
        return 0.0 if self.began is None else max(0.0, self.now - self.began)

    @property
    def waiting(self) -> LockWaiting | None:
        """The lock waited for longest, or None."""
        return max(self.waits.values(), key=lambda wait: wait.waited, default=None)

    def results(self, unfinished: Status) -> tuple[FileResult, ...]:
        """How each file ended; ``unfinished`` is the status of those neither done nor failed."""
        return tuple(file.result(unfinished) for file in self.files.values())

    def apply(self, event: Event, at: float) -> None:
        """Fold one event in.

        Args:
            event: The next event of the run.
            at: When it came, on a monotonic clock, in seconds.
        """
        self.now = at
        if self.began is None:
            self.began = at
        self._end_wait(event)
        fold = self._FOLDS.get(type(event))
        if fold is None:
            raise TypeError(f"not an event: {event!r}")
        fold(self, event)

    def _end_wait(self, event: Event) -> None:
        """Drop waits that are over: any sign of life of a model or file means that its lock was obtained."""
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
        if self.operation == "verify":  # what is held is still to be hashed
            return
        file.kept = planned.held
        if planned.state == "kept":
            self._keep(file)
        else:
            self._ledger.move(file, "queued", planned.held, self.now, is_gain=False)

    def _file_kept(self, event: FileKept) -> None:
        self._keep(self._ledger.file(event.model, event.file, event.size))

    def _keep(self, file: FileState) -> None:
        file.source, file.kept = "cache", file.size
        self._ledger.move(file, "done", file.size, self.now, is_gain=False)

    def _file_started(self, event: FileStarted) -> None:
        file = self._ledger.file(event.model, event.file, event.size)
        is_check = self.operation == "verify" and file.phase == "queued"
        file.kept = event.offset
        self._ledger.move(
            file, "verifying" if is_check else "fetching", event.offset, self.now, is_gain=False
        )
        file.meter = Meter()  # it is its first progress from which on bytes are waited for

    def _progress(self, event: Progress) -> None:
        file = self._ledger.file(event.model, event.file, event.size)
        if file.phase == "done":  # overtaken by its own end
            return
        if file.source and (file.source, file.host) != (event.source, event.host):
            file.meter = Meter()  # the last source's speed says nothing about this one's
        file.source, file.host, file.attempt = event.source, event.host, event.attempt
        is_judged = event.source == "cache" or event.received >= event.size
        self._ledger.move(file, "verifying" if is_judged else "fetching", event.received, self.now)

    def _retry_scheduled(self, event: RetryScheduled) -> None:
        file = self._ledger.file(event.model, event.file)
        file.source, file.host, file.attempt = event.source, event.host, event.attempt
        file.fault, file.note, file.left = event.fault, event.reason, None
        file.retry_at = self.now + event.wait
        self._ledger.move(file, "retrying", file.received, self.now)
        file.meter = Meter()  # neither the wait nor what came before it is the speed of the next try

    def _source_failed(self, event: SourceFailed) -> None:
        if event.fault == Fault.UNLISTED:  # no file of the model's
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
        # A verified file of an ensure run has yet to be put under its final name.
        self._ledger.move(file, "done" if self.operation == "verify" else "verifying", file.size, self.now)

    def _file_quarantined(self, event: FileQuarantined) -> None:
        """Where bad bytes went; that they were bad came with SourceFailed."""

    def _file_committed(self, event: FileCommitted) -> None:
        file = self._ledger.file(event.model, event.file, event.size)
        file.source, file.host = event.source, event.host
        self._model(event.model).sources[event.source] += 1
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

    _FOLDS: ClassVar[Mapping[type[Event], Callable[[RunState, Any], None]]] = {
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
    """What each kind of event changes. A table: single dispatch on methods takes longer than the change."""

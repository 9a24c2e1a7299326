"""Make models present and verified: the main job, as a stream of events."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from modelfetch.engine.conclusions import worst
from modelfetch.engine.events import (
    ErrorInfo,
    Event,
    FileKept,
    FileResult,
    ModelReady,
    RunFinished,
    RunStarted,
)
from modelfetch.engine.heartbeat import with_heartbeat
from modelfetch.engine.locking import acquire
from modelfetch.engine.obtain import CACHE, Mode, Obtained, obtain
from modelfetch.engine.plan import Inventory, Job, jobs, planned, take_inventory
from modelfetch.engine.runtime import Runtime
from modelfetch.engine.workers import Done, Task, merge
from modelfetch.errors import ModelfetchError, StoreError
from modelfetch.model.manifest import Manifest
from modelfetch.store import Consulted

Distrusted = Mapping[str, Collection[str]]
"""Model name to paths that must be obtained anew, whatever their stat says."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to ensure, and how."""

    manifests: Sequence[Manifest]
    mode: Mode = field(default_factory=Mode)
    to: Path | None = None
    """A directory that gets the files as well, each model's at its root."""
    consulted: Sequence[Consulted] = ()
    """Files that decided what the models are, for the receipts."""
    distrusted: Distrusted = field(default_factory=dict)


def ensure(runtime: Runtime, request: Request) -> Iterator[Event]:
    """Make every requested model present and verified.

    Expected failures become the last event, :class:`RunFinished`, and never an exception. Closing the
    iterator cancels the run: what is good stays on disk.
    """
    started = runtime.clock()
    yield RunStarted("ensure", tuple(manifest.name for manifest in request.manifests))
    run = Run(runtime, request)
    error: ModelfetchError | None = None
    try:
        yield from run.events()
    except ModelfetchError as failure:
        error = failure
    yield finished(error, run.results(error), runtime.clock() - started)


def finished(error: ModelfetchError | None, files: Sequence[FileResult], seconds: float) -> RunFinished:
    """The last event of a run."""
    if error is None:
        return RunFinished("completed", 0, seconds, tuple(files), None)
    info = ErrorInfo(error.code, error.message, error.hint)
    return RunFinished("failed", error.exit_code, seconds, tuple(files), info)


class Run:
    """One run of ensure: what is open, what came of each file."""

    def __init__(self, runtime: Runtime, request: Request) -> None:
        self._runtime = runtime
        self._request = request
        self._sources: dict[tuple[str, str], str] = {}
        """Where each finished file came from."""
        self._fetched: dict[str, int] = {}
        self._errors: dict[tuple[str, str], ModelfetchError] = {}

    def events(self) -> Iterator[Event]:
        """Lock, plan, transfer, and say what is ready."""
        with ExitStack() as held:
            pending: list[Inventory] = []
            for manifest in sorted(self._request.manifests, key=lambda manifest: manifest.name):
                inventory = yield from self._open(manifest, held)
                yield planned(self._runtime, inventory)
                yield from self._kept(inventory)
                if inventory.missing:
                    pending.append(inventory)
                else:
                    yield self._ready(inventory)
            if pending:
                yield from self._obtain(pending)
        if self._errors:
            raise worst(list(self._errors.values()))

    def _open(self, manifest: Manifest, held: ExitStack) -> Task[Inventory]:
        """Take inventory; when something is missing, again under the model's lock."""
        inventory = self._inventory(manifest)
        if not inventory.missing:
            return inventory
        lock = self._runtime.store.lock_model(manifest.name)
        yield from acquire(lock, self._runtime, manifest.name)
        held.callback(lock.release)
        return self._inventory(manifest)

    def _inventory(self, manifest: Manifest) -> Inventory:
        if self._request.mode.force:
            return Inventory(manifest, frozenset())
        return take_inventory(self._runtime, manifest, self._request.distrusted.get(manifest.name, ()))

    def _kept(self, inventory: Inventory) -> Iterator[Event]:
        for file in inventory.manifest.files:
            if file.path in inventory.kept:
                self._sources[inventory.manifest.name, file.path] = CACHE
                yield FileKept(inventory.manifest.name, file.path, file.size)

    def _obtain(self, pending: Sequence[Inventory]) -> Iterator[Event]:
        """Obtain every missing digest, several at a time, and finish each model with its last file."""
        runtime, work = self._runtime, jobs(pending)
        self._check_space(work)
        mode = replace(self._request.mode, bad=self._bad_paths())
        tasks = [obtain(runtime, job, mode) for job in work]
        waiting = {id(inventory): inventory for inventory in pending}
        with closing(merge(tasks, runtime.files, runtime.cancel)) as merged:
            for happened in with_heartbeat(merged, runtime.clock):
                runtime.check_deadline()
                if isinstance(happened, Done):
                    self._account(work[happened.index], happened)
                    yield from self._finish(waiting)
                elif happened is not None:
                    yield happened
        runtime.store.sweep()

    def _bad_paths(self) -> frozenset[Path]:
        return frozenset(
            self._runtime.store.directory(manifest) / path
            for manifest in self._request.manifests
            for path in self._request.distrusted.get(manifest.name, ())
        )

    def _check_space(self, work: Sequence[Job]) -> None:
        store = self._runtime.store
        needed = sum(job.file.size - store.held(job.file) for job in work)
        if self._request.to is not None and not store.can_link_into(self._request.to):
            needed += sum(job.file.size for job in work)
        store.check_space(needed)

    def _account(self, job: Job, done: Done[Obtained]) -> None:
        if isinstance(done.error, StoreError) or not isinstance(done.error, ModelfetchError | None):
            raise done.error  # the disk ends the whole run; anything unexpected is a bug
        for manifest, file in job.places:
            key = manifest.name, file.path
            if done.error is not None:
                self._errors[key] = done.error
            elif done.result is not None:
                self._sources[key] = f"{done.result.source} {done.result.host}".strip()
        if done.result is not None:  # shared bytes came in once: they count for the first who needed them
            name = job.places[0][0].name
            self._fetched[name] = self._fetched.get(name, 0) + done.result.fetched

    def _finish(self, waiting: dict[int, Inventory]) -> Iterator[Event]:
        """Write the receipts of models whose last file just arrived."""
        for key, inventory in list(waiting.items()):
            name = inventory.manifest.name
            if all((name, file.path) in self._sources for file in inventory.missing):
                del waiting[key]
                sources = {file.path: self._sources.get((name, file.path), "") for file in inventory.missing}
                now = dict.fromkeys(sources, datetime.now(UTC))
                self._runtime.store.write_receipt(inventory.manifest, sources, now, self._request.consulted)
                yield self._ready(inventory)

    def _ready(self, inventory: Inventory) -> ModelReady:
        manifest, store = inventory.manifest, self._runtime.store
        if self._request.to is not None:
            for file in manifest.files:
                store.place_into(self._request.to, manifest, file, CACHE)
        return ModelReady(
            manifest.name,
            manifest.version,
            str(store.directory(manifest)),
            len(manifest.files),
            manifest.size,
            self._fetched.get(manifest.name, 0),
        )

    def has(self, model: str, path: str) -> bool:
        """Whether a file is there and verified."""
        return (model, path) in self._sources

    def results(self, error: ModelfetchError | None) -> list[FileResult]:
        """How every file ended; what was neither kept, obtained nor failed did not get its turn."""
        return [
            self._result(manifest, file.path, file.size, error)
            for manifest in self._request.manifests
            for file in manifest.files
        ]

    def _result(self, manifest: Manifest, path: str, size: int, error: ModelfetchError | None) -> FileResult:
        key = manifest.name, path
        if key in self._sources:
            return FileResult(manifest.name, path, "completed", "", self._sources[key], size)
        reason = self._errors.get(key)
        if reason is not None:
            return FileResult(manifest.name, path, "failed", reason.code, "", size)
        return FileResult(manifest.name, path, "cancelled", error.code if error else "", "", size)

"""Make models present and verified, as a stream of events.

A run takes these steps, each of which later ones rely on:

1. check the space in places outside the cache;
2. for each model: take inventory and, when something is missing, lock the model and take inventory again;
   models with nothing missing are ready at once;
3. check the space in the cache, then fetch all missing files, several at a time;
4. with the last file of a model: write its receipt, fill the places outside the cache, report it ready.

The errors of single files do not stop the others; the gravest one ends the run. An error of the disk ends it
at once.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.cancel import Cancelled
from modelfetch.engine.batch import Batch, split_small
from modelfetch.engine.disk_check import check_disk
from modelfetch.engine.events import (
    Event,
    FileKept,
    FileResult,
    ModelReady,
    Planned,
    RunStarted,
)
from modelfetch.engine.failures import Failure, code_of, finished
from modelfetch.engine.file import (
    FileDone,
    Item,
    Mode,
    Obtained,
    displaced,
    flatten,
    obtain_alone,
    obtain_rivals,
)
from modelfetch.engine.locking import LockNotes, acquire
from modelfetch.engine.options import Request
from modelfetch.engine.parts import label_of
from modelfetch.engine.plan import (
    FileKey,
    Holdings,
    Inventory,
    Job,
    ModelKey,
    jobs,
    key_of,
    model_key,
    planned,
    split_rivals,
    take_inventory,
)
from modelfetch.engine.progress import Deadline, with_heartbeat
from modelfetch.engine.workers import More, Task, merge
from modelfetch.errors import ModelfetchError, StoreError
from modelfetch.model.source_kinds import CACHE
from modelfetch.store import Lock, ReceiptError

if TYPE_CHECKING:
    from modelfetch.engine.runtime import Runtime
    from modelfetch.engine.single_files import SingleFilesRun
    from modelfetch.model.manifest import FileSpec, Manifest


def ensure(runtime: Runtime, request: Request) -> Iterator[Event]:
    """Make every requested model present and verified.

    Expected failures become the last event, :class:`RunFinished`, and are never raised. Closing the iterator
    cancels the run: verified bytes stay on disk.
    """
    started = runtime.clock()
    yield RunStarted("ensure", tuple(manifest.name for manifest in request.manifests))
    run = _run_of(runtime, request)
    error: Failure | None = None
    try:
        yield from run.events()
    except (ModelfetchError, Cancelled) as failure:
        error = failure
    yield finished(error, run.results(code_of(error)), runtime.clock() - started)


def _run_of(runtime: Runtime, request: Request) -> Run | SingleFilesRun:
    """Return the run of a request: for whole models, or for some files of one."""
    if not request.options.files:
        return Run(runtime, request)
    from modelfetch.engine.single_files import SingleFilesRun  # only a server asks for single files

    [manifest] = request.manifests
    return SingleFilesRun(runtime, manifest, request.options.files)


class Run:
    """The state of one run: the locks it holds, and how each file ended. Used by one thread only."""

    def __init__(self, runtime: Runtime, request: Request) -> None:
        self._runtime = runtime
        self._request = request
        self._export = request.export
        self._manifests = {model_key(manifest): manifest for manifest in request.manifests}
        self._lock_notes = LockNotes(runtime.clock)
        self._locks: dict[str, Lock] = {}
        """The locks of models that this run holds, by name: versions of a model share one."""
        self._waiting: dict[ModelKey, tuple[Inventory, set[str]]] = {}
        """Models that are not ready, each with the paths that it still needs."""
        self._plans: dict[ModelKey, Planned] = {}
        """The plans of models that miss a file."""
        self._sources: dict[FileKey, str] = {}
        """The source of each file that is present: ``kind host``, or ``cache``."""
        self._fetched: dict[ModelKey, int] = {}
        """Bytes received for each model."""
        self._reused: dict[ModelKey, int] = {}
        """Bytes copied from chunks on this disk for each model."""
        self._errors: dict[FileKey, ModelfetchError] = {}
        self._placed: set[ModelKey] = set()
        """Models of which this run placed a file."""
        self._notes: dict[ModelKey, str] = {}
        """Why the receipt of a model that is ready could not be written."""

    def events(self) -> Iterator[Event]:
        """Do the work, and write progress into the notes of the locks, for waiting processes."""
        with closing(self._work()) as work:
            for event in work:
                self._lock_notes.apply(event)
                yield event

    def _work(self) -> Task[None]:
        """Do the work."""
        # First of all: models that are ready are copied to places outside the cache too.
        self._export.check_space(self._manifests.values(), self._runtime.store)
        with ExitStack() as held:
            pending: list[Inventory] = []
            # Sorted, so that two runs with the same models lock them in the same order and cannot deadlock.
            for _, manifest in sorted(self._manifests.items()):
                inventory = yield from self._open(manifest, held)
                plan = planned(self._runtime, inventory)
                yield plan
                yield from self._kept(inventory)
                if inventory.missing:
                    pending.append(inventory)
                    self._plans[model_key(manifest)] = plan
                else:
                    yield from self._ready(inventory)
            if pending:
                yield from self._obtain(pending)
            else:
                self._runtime.store.sweep(thorough=False)
        if self._errors:
            from modelfetch.engine.failures import worst

            raise worst(list(self._errors.values()))

    def _open(self, manifest: Manifest, held: ExitStack) -> Task[Inventory]:
        """Take inventory; when something is missing, again under the model's lock.

        Another process may have fetched it before it released the lock. A model that is complete needs no
        lock, so that runs with nothing to do neither wait nor write.
        """
        inventory = self._inventory(manifest)
        if not inventory.missing:
            return inventory
        lock = self._locks.get(manifest.name)
        if lock is None:
            lock = self._runtime.store.lock_model(manifest.name)
            yield from acquire(lock, self._runtime, manifest.name)
            held.callback(lock.release)
            self._locks[manifest.name] = lock
            self._lock_notes.add(manifest.name, lock)
        self._runtime.store.claim(manifest, exclusive=lock.effective)
        return self._inventory(manifest)

    def _inventory(self, manifest: Manifest) -> Inventory:
        if self._request.options.force:
            return Inventory(manifest, frozenset(), force=True)
        return take_inventory(self._runtime, manifest, self._distrusted(manifest))

    def _distrusted(self, manifest: Manifest) -> list[str]:
        return [file.path for file in manifest.files if key_of(manifest, file) in self._request.distrusted]

    def _kept(self, inventory: Inventory) -> Iterator[Event]:
        for file in inventory.manifest.files:
            if file.path in inventory.kept:
                self._sources[key_of(inventory.manifest, file)] = CACHE
                yield FileKept(inventory.manifest.name, file.path, file.size)

    def _obtain(self, pending: Sequence[Inventory]) -> Iterator[Event]:
        """Obtain every missing digest, several at a time, and finish each model with its last file."""
        runtime = self._runtime
        plain, rivals = split_rivals(jobs(pending))
        work = [*plain, *chain.from_iterable(rivals)]
        held = self._held(work)
        mode = Mode(self._request.options.force, self._bad_paths())
        swarm = None if mode.force else runtime.swarm
        self._check_disk(work, held, frozenset() if swarm is None else swarm.covered(plain))
        if runtime.discover is not None:
            runtime.discover([(each.manifest, file) for each in pending for file in each.missing])
            runtime.first_offers.clear()  # those of the plan, which asked no peer
        swarmed = frozenset() if swarm is None else swarm.begin(plain)
        others, small = split_small(runtime, plain, held, mode, swarmed)
        tasks: list[Generator[Item | Sequence[Item] | More, None, None]] = [
            obtain_alone(runtime, job, mode) for job in others
        ]
        missing = sum(job.file.size - held[job.key] for job in others)
        runtime.hosts.expect(missing, min(len(others), runtime.files))
        if small:
            tasks.append(Batch(runtime, small, mode).run())
        tasks += [obtain_rivals(runtime, group, mode) for group in rivals]
        for inventory in pending:
            needed = {file.path for file in inventory.missing}
            self._waiting[model_key(inventory.manifest)] = inventory, needed
        deadline = Deadline(runtime)
        with closing(merge(tasks, runtime.files, runtime.cancel)) as merged:
            items = with_heartbeat(flatten(merged), runtime.clock, runtime.positions, runtime.requests)
            for item in items:
                if isinstance(item, FileDone):  # counts even when the deadline has passed
                    yield from self._account(item)
                    continue
                deadline.check(item)
                if item is not None:
                    yield item
        runtime.store.sweep()

    def _bad_paths(self) -> frozenset[Path]:
        return frozenset(
            self._runtime.store.directory(manifest) / path
            for manifest in self._manifests.values()
            for path in self._distrusted(manifest)
        )

    def _check_disk(
        self, work: Sequence[Job], held: Mapping[tuple[str, int], int], swarmed: Collection[tuple[str, int]]
    ) -> None:
        missing = sum(job.file.size - held[job.key] for job in work)
        staged = sum(job.file.size for job in work if job.key in swarmed)
        check_disk(self._runtime, missing, (place for job in work for place in job.places), staged)

    def _held(self, work: Sequence[Job]) -> dict[tuple[str, int], int]:
        """The bytes of each job that need not be fetched."""
        if self._request.options.force:
            return dict.fromkeys((job.key for job in work), 0)
        if len(self._plans) == 1 and not self._request.distrusted:
            # Planned a moment ago. With several models, the wait for a lock may have come in between.
            [plan] = self._plans.values()
            planned_bytes = {file.file: file.held for file in plan.files}
            return {job.key: max(planned_bytes[file.path] for _, file in job.places) for job in work}
        holdings = Holdings(self._runtime.store)
        with self._runtime.store.looking():
            return {
                job.key: 0 if self._is_distrusted(job) else max(holdings.of(*place) for place in job.places)
                for job in work
            }

    def _is_distrusted(self, job: Job) -> bool:
        distrusted = self._request.distrusted
        return bool(distrusted) and any(key_of(*place) in distrusted for place in job.places)

    def _account(self, done: FileDone) -> Iterator[Event]:
        """Note how a job ended; a model whose last file was obtained is ready."""
        if isinstance(done.error, StoreError):
            raise done.error  # further files would fail in the same way
        if done.error is not None:
            self._errors |= dict.fromkeys((key_of(*place) for place in done.job.places), done.error)
        elif done.obtained is not None:
            yield from self._finish(done.job, done.obtained)

    def _finish(self, job: Job, obtained: Obtained) -> Iterator[Event]:
        """Note that a file is present in all models that need it; one without missing files is ready."""
        first = model_key(job.places[0][0])  # shared bytes were received once: they count for one model
        self._fetched[first] = self._fetched.get(first, 0) + obtained.fetched
        self._reused[first] = self._reused.get(first, 0) + obtained.reused
        source = label_of(obtained.source, obtained.host)
        for manifest, file in job.places:
            key = model_key(manifest)
            self._sources[*key, file.path] = source
            if obtained.is_placed:
                self._placed.add(key)
            inventory, missing = self._waiting[key]
            missing.remove(file.path)
            if not missing:
                self._write_receipt(inventory)
                yield from self._ready(inventory)

    def _write_receipt(self, inventory: Inventory) -> None:
        manifest, consulted = inventory.manifest, self._request.consulted
        key = model_key(manifest)
        sources = {file.path: self._sources[*key, file.path] for file in inventory.missing}
        times, placed = dict.fromkeys(sources, datetime.now(UTC)), key in self._placed
        try:
            self._runtime.store.write_receipt(manifest, sources, times, consulted, placed=placed)
        except ReceiptError as error:  # all files are present and verified, so the run did not fail
            self._notes[key] = f"its receipt could not be written: {error.message}"

    def _ready(self, inventory: Inventory) -> Iterator[Event]:
        manifest, store = inventory.manifest, self._runtime.store
        store.note_use(manifest)
        if self._request.circumstances:
            store.note_ready(manifest, self._request.consulted, self._request.circumstances)
        for place in self._export.places(manifest):
            if place.replaces:
                placed = store.place_into(place.directory, manifest, place.file, CACHE, path=place.path)
                yield from displaced(manifest, place.file, placed)
            else:
                store.guest.place(place.directory, manifest, place.file, place.path)
        for note in self._export.notes(manifest):
            store.note_into(*note)
        yield ModelReady(
            manifest.name,
            manifest.version,
            str(store.directory(manifest)),
            len(manifest.files),
            manifest.size,
            self._fetched.get(model_key(manifest), 0),
            self._notes.get(model_key(manifest), ""),
            self._reused.get(model_key(manifest), 0),
        )

    def has(self, key: FileKey) -> bool:
        """Whether a file is present and verified."""
        return key in self._sources

    def results(self, reason: str) -> list[FileResult]:
        """How every file ended. A file that was neither kept, obtained nor failed counts as cancelled.

        Args:
            reason: The code of the failure that ended the run, for cancelled files.
        """
        return [
            self._result(manifest.name, file, (*key, file.path), reason)
            for key, manifest in self._manifests.items()
            for file in manifest.files
        ]

    def _result(self, model: str, file: FileSpec, key: FileKey, reason: str) -> FileResult:
        if key in self._sources:
            return FileResult(model, file.path, "completed", "", self._sources[key], file.size)
        if key in self._errors:
            return FileResult(model, file.path, "failed", self._errors[key].code, "", file.size)
        return FileResult(model, file.path, "cancelled", reason, "", file.size)

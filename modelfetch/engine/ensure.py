"""Make models present and verified: the main job, as a stream of events."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import field, replace
from datetime import UTC, datetime
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.cancel import Cancelled
from modelfetch.engine.batch import Batch, first_small
from modelfetch.engine.events import (
    ErrorInfo,
    Event,
    FileKept,
    FileResult,
    ModelReady,
    RunFinished,
    RunStarted,
)
from modelfetch.engine.export import Export
from modelfetch.engine.failures import worst
from modelfetch.engine.file import (
    CACHE,
    End,
    Mode,
    News,
    Obtained,
    displaced,
    obtain,
    obtain_rivals,
    unpacked,
)
from modelfetch.engine.locking import LockNotes, acquire
from modelfetch.engine.pace import FEW, LARGE
from modelfetch.engine.plan import Holdings, Inventory, Job, apart, jobs, planned, take_inventory
from modelfetch.engine.progress import Deadline, with_heartbeat
from modelfetch.engine.workers import Done, Task, merge
from modelfetch.errors import ModelfetchError, StoreError
from modelfetch.exit_codes import SIGINT_EXIT
from modelfetch.lazy_dataclass import dataclass
from modelfetch.store import Consulted, Lock, ReceiptError

if TYPE_CHECKING:
    from modelfetch.engine.runtime import Runtime
    from modelfetch.model.manifest import FileSpec, Manifest

FileKey = tuple[str, str, str, str]
"""Name, version, identity and path: several versions of a model, and claims to one, may be in one run."""


Failure = ModelfetchError | Cancelled
"""What may end a run before its end; anything else is a bug."""


def key_of(manifest: Manifest, file: FileSpec) -> FileKey:
    """What a file of a model is told apart by."""
    return *model_key(manifest), file.path


def model_key(manifest: Manifest) -> tuple[str, str, str]:
    """What a model is told apart by: name and version are claims, which two manifests may both make."""
    return manifest.name, manifest.version, manifest.identity


@dataclass(frozen=True, slots=True)
class Request:
    """What to ensure, and how."""

    manifests: Sequence[Manifest]
    mode: Mode = field(default_factory=Mode)
    elsewhere: Export = field(default_factory=Export)
    """Places outside the cache that get the files as well."""
    consulted: Sequence[Consulted] = ()
    """Files that decided what the models are, for the receipts."""
    circumstances: Sequence[str] = ()
    """What else decided it: :func:`modelfetch.warm.circumstances`."""
    distrusted: Collection[FileKey] = frozenset()
    """Files that must be obtained anew, whatever their stat says."""


def ensure(runtime: Runtime, request: Request) -> Iterator[Event]:
    """Make every requested model present and verified.

    Expected failures become the last event, :class:`RunFinished`, and never an exception. Closing the
    iterator cancels the run: what is good stays on disk.
    """
    started = runtime.clock()
    yield RunStarted("ensure", tuple(manifest.name for manifest in request.manifests))
    run = Run(runtime, request)
    error: Failure | None = None
    try:
        yield from run.events()
    except (ModelfetchError, Cancelled) as failure:
        error = failure
    yield finished(error, run.results(code_of(error)), runtime.clock() - started)


def finished(error: Failure | None, files: Sequence[FileResult], seconds: float) -> RunFinished:
    """The last event of a run."""
    if error is None:
        return RunFinished("completed", 0, seconds, tuple(files), None)
    if isinstance(error, Cancelled):
        info = ErrorInfo(code_of(error), "cancelled", "run the command again to continue")
        return RunFinished("cancelled", SIGINT_EXIT, seconds, tuple(files), info)
    info = ErrorInfo(error.code, error.message, error.hint)
    return RunFinished("failed", error.exit_code, seconds, tuple(files), info)


def code_of(error: Failure | None) -> str:
    """Why files did not get their turn: the code of what ended the run, or empty."""
    return "cancelled" if isinstance(error, Cancelled) else error.code if error is not None else ""


class Run:
    """One run of ensure: what is open, what came of each file."""

    def __init__(self, runtime: Runtime, request: Request) -> None:
        self._runtime = runtime
        self._request = request
        self._manifests = {model_key(manifest): manifest for manifest in request.manifests}
        self._board = LockNotes(runtime.clock)
        self._locks: dict[str, Lock] = {}
        """By name of its model: every lock of a model that we hold."""
        self._waiting: dict[int, tuple[Inventory, set[str]]] = {}
        """By identity of its manifest: a model that is not ready, and the paths it still needs."""
        self._sources: dict[FileKey, str] = {}
        """Where each finished file came from."""
        self._fetched: dict[int, int] = {}
        """By identity of its manifest: bytes that came in for a model."""
        self._errors: dict[FileKey, ModelfetchError] = {}
        self._placed: set[int] = set()
        """By identity of its manifest: models of which a file got its place in this run."""
        self._notes: dict[int, str] = {}
        """By identity of its manifest: why the receipt of a model that is ready could not be written."""

    def events(self) -> Iterator[Event]:
        """Do the work, and keep those who wait for our locks informed."""
        with closing(self._work()) as work:
            for event in work:
                self._board.heard(event)
                yield event

    def _work(self) -> Task[None]:
        """Lock, plan, transfer, and say what is ready."""
        with ExitStack() as held:
            pending: list[Inventory] = []
            for _, manifest in sorted(self._manifests.items()):
                inventory = yield from self._open(manifest, held)
                yield planned(self._runtime, inventory)
                yield from self._kept(inventory)
                if inventory.missing:
                    pending.append(inventory)
                else:
                    yield from self._ready(inventory)
            if pending:
                yield from self._obtain(pending)
            else:
                self._runtime.store.sweep(thorough=False)
        if self._errors:
            raise worst(list(self._errors.values()))

    def _open(self, manifest: Manifest, held: ExitStack) -> Task[Inventory]:
        """Take inventory; when something is missing, again under the model's lock."""
        inventory = self._inventory(manifest)
        if not inventory.missing:
            return inventory
        lock = self._locks.get(manifest.name)
        if lock is None:
            lock = self._runtime.store.lock_model(manifest.name)
            yield from acquire(lock, self._runtime, manifest.name)
            held.callback(lock.release)
            self._locks[manifest.name] = lock
            self._board.hold(manifest.name, lock)
        self._runtime.store.claim(manifest, exclusive=lock.effective)
        return self._inventory(manifest)

    def _inventory(self, manifest: Manifest) -> Inventory:
        if self._request.mode.force:
            return Inventory(manifest, frozenset(), anew=True)
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
        plain, rivals = apart(jobs(pending))
        work = [*plain, *chain.from_iterable(rivals)]
        held = self._held(work)
        self._check_disk(work, held)
        runtime.hosts.expect(sum(job.file.size for job in work))
        mode = replace(self._request.mode, bad=self._bad_paths())
        first = first_small(runtime, plain, mode)
        new = [number for number in range(first, len(plain)) if not held[number]]
        tasks: list[Generator[Event | News, None, Obtained | None]] = [
            obtain(runtime, job, mode) for job in work[:first]
        ]
        if first < len(plain):
            tasks.append(Batch(runtime, plain, first, new, mode).run())
        ends = accumulate(map(len, rivals), initial=len(plain))
        tasks += [obtain_rivals(runtime, work, range(*span), mode) for span in pairwise(ends)]
        for inventory in pending:
            self._waiting[id(inventory.manifest)] = inventory, {file.path for file in inventory.missing}
        pace, deadline = (runtime.pace if _are_large(work[:FEW]) else None), Deadline(runtime)
        with closing(merge(tasks, runtime.files, runtime.cancel, pace=pace)) as merged:
            for happened in with_heartbeat(unpacked(merged), runtime.clock, runtime.positions):
                if isinstance(happened, Done):  # counts, however late
                    yield from self._account(work[happened.index], happened)
                    continue
                deadline.check(happened)
                if happened is not None:
                    yield happened
        runtime.store.sweep()

    def _bad_paths(self) -> frozenset[Path]:
        return frozenset(
            self._runtime.store.directory(manifest) / path
            for manifest in self._manifests.values()
            for path in self._distrusted(manifest)
        )

    def _check_disk(self, work: Sequence[Job], held: Sequence[int]) -> None:
        store = self._runtime.store
        needed = sum(job.file.size for job in work) - sum(held)
        if needed and not self._request.mode.offline:  # nobody is asked for what could not be kept
            store.check_writable()
        elsewhere = self._request.elsewhere
        places = [place for manifest in self._manifests.values() for place in elsewhere.places(manifest)]
        linked = {place.directory: store.can_link_into(place.directory) for place in places}
        needed += sum(place.file.size for place in places if not linked[place.directory])
        store.check_space(needed)

    def _held(self, work: Sequence[Job]) -> list[int]:
        """The bytes of each file that need not be fetched."""
        if self._request.mode.force:
            return [0] * len(work)
        holdings = Holdings(self._runtime.store)
        with self._runtime.store.looking():
            return [
                0 if self._is_distrusted(job) else max(holdings.of(*place) for place in job.places)
                for job in work
            ]

    def _is_distrusted(self, job: Job) -> bool:
        distrusted = self._request.distrusted
        return bool(distrusted) and any(key_of(*place) in distrusted for place in job.places)

    def _account(self, job: Job, done: End) -> Iterator[Event]:
        """Note how a file ended; a model that has its last one is ready."""
        if isinstance(done.error, StoreError) or not isinstance(done.error, ModelfetchError | None):
            raise done.error  # the disk ends the whole run; anything unexpected is a bug
        if done.error is not None:
            self._errors |= dict.fromkeys((key_of(*place) for place in job.places), done.error)
        elif done.result is not None:
            yield from self._finish(job, done.result)

    def _finish(self, job: Job, obtained: Obtained) -> Iterator[Event]:
        """Strike a file off the lists of the models that need it."""
        first = id(job.places[0][0])  # shared bytes came in once: they count for the first who needed them
        self._fetched[first] = self._fetched.get(first, 0) + obtained.fetched
        source = f"{obtained.source} {obtained.host}".strip()
        for manifest, file in job.places:
            self._sources[key_of(manifest, file)] = source
            self._placed |= {id(manifest)} if obtained.is_placed else set()
            inventory, missing = self._waiting[id(manifest)]
            missing.remove(file.path)
            if not missing:
                self._write_receipt(inventory)
                yield from self._ready(inventory)

    def _write_receipt(self, inventory: Inventory) -> None:
        manifest, consulted = inventory.manifest, self._request.consulted
        key = model_key(manifest)
        sources = {file.path: self._sources[*key, file.path] for file in inventory.missing}
        times, placed = dict.fromkeys(sources, datetime.now(UTC)), id(manifest) in self._placed
        try:
            self._runtime.store.write_receipt(manifest, sources, times, consulted, placed=placed)
        except ReceiptError as error:  # all files are there and right: that is what was asked for
            self._notes[id(manifest)] = f"its receipt could not be written: {error.message}"

    def _ready(self, inventory: Inventory) -> Iterator[Event]:
        manifest, store = inventory.manifest, self._runtime.store
        if self._request.circumstances:
            store.note_ready(manifest, self._request.consulted, self._request.circumstances)
        for place in self._request.elsewhere.places(manifest):
            if place.replaces:
                placed = store.place_into(place.directory, manifest, place.file, CACHE, path=place.path)
                yield from displaced(manifest, place.file, placed)
            else:
                store.guest.place(place.directory, manifest, place.file, place.path)
        for note in self._request.elsewhere.notes(manifest):
            store.note_into(*note)
        yield ModelReady(
            manifest.name,
            manifest.version,
            str(store.directory(manifest)),
            len(manifest.files),
            manifest.size,
            self._fetched.get(id(manifest), 0),
            self._notes.get(id(manifest), ""),
        )

    def has(self, key: FileKey) -> bool:
        """Whether a file is there and verified."""
        return key in self._sources

    def results(self, reason: str) -> list[FileResult]:
        """How every file ended; what was neither kept, obtained nor failed did not get its turn.

        Args:
            reason: Why it did not: the code of the error that ended the run.
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


def _are_large(work: Sequence[Job]) -> bool:
    """Whether these files last long enough to find out how many can be fetched at the same time."""
    return all(job.file.size >= LARGE for job in work)

"""Obtain one file: lock, check what is on disk, transfer, commit, place.

A job is one digest, which several models may need. Its bytes come from the first of these that has them:

1. the places themselves, as in a cache that was copied: hashed, and nothing is written;
2. the blob of an earlier run: hashed before it is used;
3. the sources of the run.

The lock of the digest is held all the time, so that two processes do not fetch the same bytes. Each task ends
with one :class:`FileDone`. Jobs that claim one digest for several sizes run one after the other: at most one
of them can be right, and the manifests of the others are wrong.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.cancel import Cancelled
from modelfetch.engine.events import (
    Event,
    FileCommitted,
    FileQuarantined,
    FileStarted,
    FileVerified,
    Progress,
)
from modelfetch.engine.locking import acquire
from modelfetch.engine.plan import Holdings, Job
from modelfetch.engine.progress import hash_with_progress
from modelfetch.engine.workers import More, Task
from modelfetch.errors import IntegrityError, ModelfetchError, StoreError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.source_kinds import CACHE, SWARM, SourceKind

if TYPE_CHECKING:
    from modelfetch.engine.events import Part
    from modelfetch.engine.file_chunks import FileChunks
    from modelfetch.engine.runtime import Runtime
    from modelfetch.engine.sink import Sink
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.sources.base import Offer
    from modelfetch.sources.local_files import LocalOffer
    from modelfetch.store import Lock, Placed


@dataclass(frozen=True, slots=True)
class Obtained:
    """Where a file's bytes came from."""

    source: str
    host: str
    fetched: int
    """Bytes received for it, good or bad; 0 when they were on this disk."""
    reused: int = 0
    """Bytes copied from chunks on this disk."""
    is_placed: bool = True
    """Whether this run placed it; False where it was in place already."""
    cid: str = ""
    """Its CID, if its chunk map was made."""
    parts: tuple[Part, ...] = ()
    """Which source supplied which bytes; empty if ``source`` supplied all."""


IN_PLACE: Final = Obtained(CACHE, "", 0, is_placed=False)
"""The right bytes were in every place, only with another stat than the receipt says."""


@dataclass(frozen=True, slots=True)
class Mode:
    """How a run treats files that are on disk already."""

    force: bool = False
    """Fetch every file again, whatever is on disk."""
    bad: frozenset[Path] = frozenset()
    """Files on this disk that are known to be damaged: they are replaced, and never used as a source."""


@dataclass(frozen=True, slots=True)
class FileDone:
    """The end of a job: what was obtained, or the error."""

    job: Job
    obtained: Obtained | None
    error: ModelfetchError | None = None

    @property
    def model(self) -> str:
        """The model that the events of the job name."""
        return self.job.places[0][0].name

    @property
    def file(self) -> str:
        """The path that the events of the job name."""
        return self.job.places[0][1].path


Item = Event | FileDone
"""What a task of a run yields."""


def flatten(items: Iterator[Item | Sequence[Item] | More | None]) -> Iterator[Item | None]:
    """Yield the items of sequences one by one; batches hand on many items at once, and none to show the time.

    An empty sequence becomes None: a batch that waits hands on one so often that the thread that follows the
    run might never find its queue empty, and so never look at the clock.
    """
    for item in items:
        if isinstance(item, Sequence):
            yield from item or (None,)
        elif not isinstance(item, More):  # which merge() takes out
            yield item


def obtain_alone(runtime: Runtime, job: Job, mode: Mode) -> Generator[Item, None, None]:
    """Run one job as a task of its own; its last item is the :class:`FileDone`.

    Raises:
        Cancelled: The run was cancelled; verified bytes stay on disk.
    """
    try:
        obtained = yield from obtain(runtime, job, mode)
    except ModelfetchError as error:
        yield FileDone(job, None, error)
    else:
        yield FileDone(job, obtained)


def obtain(runtime: Runtime, job: Job, mode: Mode) -> Task[Obtained]:
    """Make one file present and verified in every place that needs it.

    Raises:
        ModelfetchError: No source had it, the disk refused, or a lock was held for too long.
        Cancelled: The run was cancelled; verified bytes stay on disk.
    """
    return (yield from _report_quarantine_once(_obtain(runtime, job, mode), len(job.places)))


def _report_quarantine_once(work: Task[Obtained], places: int) -> Task[Obtained]:
    """Hold back the quarantine events of a file, and report the last one before its last commit or failure.

    Quarantine keeps only the newest entry for each file. After a second wrong answer, or when a damaged copy
    is replaced too, the path in an earlier event no longer exists.
    """
    quarantined: list[FileQuarantined] = []
    try:
        while True:
            event = next(work)
            places -= isinstance(event, FileCommitted)
            if isinstance(event, FileQuarantined):
                quarantined = [event]
                continue
            if not places:
                yield from quarantined
                quarantined = []
            yield event
    except StopIteration as stop:
        obtained: Obtained = stop.value
        return obtained
    except (ModelfetchError, Cancelled):
        yield from quarantined
        raise
    finally:
        work.close()


def _obtain(runtime: Runtime, job: Job, mode: Mode) -> Task[Obtained]:
    manifest, file = job.places[0]
    lock = runtime.store.lock_blob(file.sha256)
    lock.is_asking = runtime.discover is not None
    started = runtime.clock()
    yield from acquire(lock, runtime, manifest.name, file.path)
    try:
        if not mode.force and (yield from _is_in_place(runtime, job, mode)):
            yield from _report_in_place(runtime, job, runtime.clock() - started)
            return IN_PLACE
        obtained = None if mode.force else (yield from _from_cache(runtime, job, exclusive=lock.effective))
        if obtained is None:
            obtained = yield from _fetched(runtime, job, mode, lock)
        yield from _place(runtime, job, obtained, runtime.clock() - started)
    finally:
        lock.release()
    return obtained


def _is_in_place(runtime: Runtime, job: Job, mode: Mode) -> Task[bool]:
    """Whether the right bytes are in every place already, as in a cache that was copied or unpacked.

    Nothing is written, because such a cache may be read-only.
    """
    paths = [runtime.store.directory(manifest) / file.path for manifest, file in job.places]
    size, sha256 = job.file.size, job.file.sha256
    if any(path in mode.bad or runtime.store.size_of(path) != size for path in paths):
        return False
    if not all(runtime.store.has_mode(*place) for place in job.places):
        return False
    return (yield from _is_right(runtime, job, paths, sha256))


def _is_right(runtime: Runtime, job: Job, paths: Sequence[Path], sha256: str) -> Task[bool]:
    """Whether the SHA-256 of every file is the right one. Reports the hashing as progress."""
    manifest, file = job.places[0]
    yield FileStarted(manifest.name, file.path, file.size, file.size)
    for path in paths:
        if (yield from hash_with_progress(runtime, manifest.name, file, path)) != sha256:
            return False
    yield FileVerified(manifest.name, file.path, file.size, sha256)
    return True


def _from_cache(runtime: Runtime, job: Job, *, exclusive: bool) -> Task[Obtained | None]:
    """Use the blob if there is one and its SHA-256 is right."""
    file = job.file
    path = runtime.store.find_blob(file)
    if path is None or not (yield from _is_right(runtime, job, [path], file.sha256)):
        return None
    runtime.store.forget_partial(file, exclusive)
    return Obtained(CACHE, "", 0)


def _fetched(runtime: Runtime, job: Job, mode: Mode, lock: Lock) -> Task[Obtained]:
    """Fetch a file; when the disk refuses, report how much of it the next run will find."""
    try:
        return (yield from _from_sources(runtime, job, mode, lock))
    except StoreError:
        manifest, file = job.places[0]
        yield Progress(manifest.name, file.path, CACHE, "", 1, runtime.store.held(file), file.size)
        raise


def _from_sources(runtime: Runtime, job: Job, mode: Mode, lock: Lock) -> Task[Obtained]:
    # Loaded here, because a run of small files needs none of it where each first source delivers.
    from modelfetch.engine.candidates import Candidates
    from modelfetch.engine.chunk_reuse import known_chunks, reuse
    from modelfetch.engine.failures import Exhausted, file_error
    from modelfetch.engine.parts import label_of, limited, unless_implied
    from modelfetch.engine.transfer import Transfer

    manifest, file = job.places[0]
    candidates = Candidates(offers_for(runtime, job, mode))
    with runtime.store.partial(file, lock.effective, lambda: runtime.cancel.cancelled) as partial:
        runtime.cancel.raise_if_cancelled()
        if mode.force:
            partial.restart()
        yield FileStarted(manifest.name, file.path, file.size, partial.received)
        chunks = known_chunks(runtime, job)
        runtime.opened(partial, chunks)
        reused = 0 if mode.force else (yield from reuse(runtime, job, chunks, partial))
        transfer = Transfer(
            runtime, manifest.name, file, partial, candidates, chunks, note_begun=lock.note_begun
        )
        swarm = None if runtime.swarm is None or mode.force else runtime.swarm.file(runtime, job)
        if swarm is not None:
            lock.note_begun(True)  # the swarm may bring the file before a peer is asked
        try:
            yield from transfer.run() if swarm is None else swarm.run(transfer)
            parts = limited(partial.parts, file.size)
            placed = runtime.store.commit(partial, displaced_source=CACHE)
        except BaseException as error:
            if mode.force and runtime.store.find_blob(file) is not None:
                partial.forget()  # the file on disk stays in use, so no later run would resume this
            if isinstance(error, Exhausted):
                asked = runtime.discover is not None
                raise file_error(
                    manifest.name, file.path, error, offline=runtime.offline, has_peers=asked
                ) from error
            raise
    yield from displaced(manifest, file, placed)
    cid = placed.cid or _keep_table(runtime, file, chunks)
    source, host = _main_source(transfer.sink)
    runtime.hosts.note_file(file.sha256, host, is_awaited=source == SourceKind.PEER)
    parts = unless_implied(parts, label_of(source, host))
    return Obtained(source, host, transfer.sink.fetched, reused, cid=cid, parts=parts)


def _main_source(sink: Sink) -> tuple[str, str]:
    """Return kind and host of the source that a file is counted for: the swarm, or that of the last bytes."""
    if sink.brought * 2 > sink.fetched:
        return SWARM, SWARM
    return (CACHE, "") if sink.last is None else (sink.last.offer.kind, sink.last.offer.host)


def _keep_table(runtime: Runtime, file: FileSpec, chunks: FileChunks) -> str:
    """Store a proven table as the chunk map of a file whose chunks were not hashed; returns its CID."""
    maps = runtime.store.chunk_maps
    if not chunks.is_proven or maps.is_intact(file):
        return ""
    return maps.write(file.sha256, maps.tree_of(chunks.table))


def displaced(manifest: Manifest, file: FileSpec, placed: Placed) -> Iterator[Event]:
    """Report that bad bytes under a file's name were quarantined once their replacement was verified."""
    if placed.quarantined is not None:
        kept = placed.quarantined
        yield FileQuarantined(
            manifest.name, file.path, str(kept.directory), kept.expected, kept.actual, kept.source
        )


def offers_for(runtime: Runtime, job: Job, mode: Mode) -> list[Offer]:
    """The offers of every manifest that needs this digest, without duplicates and untrusted files."""
    from modelfetch.sources.local_files import LocalOffer

    offers: dict[str, Offer] = {}
    for offer in runtime.offers(*job.places):
        if not (isinstance(offer, LocalOffer) and _is_useless(offer, mode)):
            offers.setdefault(offer.address, offer)
    answer = runtime.first_answers.pop(job.file.sha256, None)
    if answer is not None:
        offers[answer.address] = answer  # in the place of its offer
    return list(offers.values())


def _is_useless(offer: LocalOffer, mode: Mode) -> bool:
    """Whether a file on this disk must not be used, or is known to have other bytes."""
    return mode.force or offer.path in mode.bad or offer.is_ruled_out()


def _place(runtime: Runtime, job: Job, obtained: Obtained, seconds: float) -> Iterator[Event]:
    for manifest, file in job.places:
        placed = runtime.store.place(manifest, file, CACHE)
        yield from displaced(manifest, file, placed)
        yield committed(manifest, file, placed.path, obtained, seconds)
        # Shared bytes were received once, so they count once.
        obtained = replace(obtained, fetched=0, reused=0)


def _report_in_place(runtime: Runtime, job: Job, seconds: float) -> Iterator[Event]:
    for manifest, file in job.places:
        path = runtime.store.directory(manifest) / file.path
        yield committed(manifest, file, path, IN_PLACE, seconds)


def committed(
    manifest: Manifest, file: FileSpec, path: Path, obtained: Obtained, seconds: float
) -> FileCommitted:
    """The event that a file has its final name."""
    return FileCommitted(
        manifest.name,
        file.path,
        str(path),
        file.size,
        file.sha256,
        obtained.source,
        obtained.host,
        obtained.fetched,
        seconds,
        obtained.reused,
        obtained.cid,
        obtained.parts,
    )


def obtain_rivals(runtime: Runtime, rivals: Sequence[Job], mode: Mode) -> Generator[Item, None, None]:
    """Obtain jobs with one digest and different sizes, one after the other, as they share a lock and a place.

    The job with the most bytes on disk comes first: opening its partial file for another size would discard
    them. Once one size is proven, the other jobs fail without a request.

    Args:
        runtime: Of the run.
        rivals: The jobs.
        mode: Of the run.

    Raises:
        StoreError: The disk refused.
        Cancelled: The run was cancelled.
    """
    proven: Job | None = None
    failed: list[tuple[Job, ModelfetchError]] = []
    holdings = Holdings(runtime.store)
    for job in sorted(rivals, key=lambda job: -max(holdings.of(*place) for place in job.places)):
        if proven is not None:
            failed.append((job, _refuted(job, proven)))
            continue
        try:
            obtained: Obtained = yield from obtain(runtime, job, mode)
        except StoreError:
            raise
        except ModelfetchError as error:
            failed.append((job, error))
        else:
            proven = job
            yield FileDone(job, obtained)
    for job, reason in failed:
        yield FileDone(job, None, reason if proven is None else _refuted(job, proven))


def _refuted(job: Job, proven: Job) -> IntegrityError:
    """The error for a manifest with a wrong size, given a job whose size was proven."""
    (manifest, file), (other, _) = job.places[0], proven.places[0]
    return IntegrityError(
        f"{manifest.name}: {file.path}: its manifest says {file.size} bytes, but those with this SHA-256 are "
        f"{proven.file.size}, as verified for {other.name}",
        hint=f"Correct size or sha256 in the manifest of {manifest.name}.",
    )

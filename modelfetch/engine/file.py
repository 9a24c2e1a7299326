"""One file from start to finish: lock, look, transfer, commit, put in place.

One digest that manifests of a run give several sizes: one of them may be right, the others are told so.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
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
from modelfetch.engine.failures import Exhausted, file_error
from modelfetch.engine.locking import acquire
from modelfetch.engine.plan import Holdings, Job
from modelfetch.engine.progress import hash_with_progress
from modelfetch.engine.transfer import Transfer, candidates_for
from modelfetch.engine.workers import Done, Task
from modelfetch.errors import IntegrityError, ModelfetchError, StoreError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.sources.local import LocalOffer

if TYPE_CHECKING:
    from modelfetch.engine.runtime import Runtime
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.sources.base import Offer
    from modelfetch.store import Placed

CACHE = "cache"
"""The source of bytes that lay in this cache already."""


@dataclass(frozen=True, slots=True)
class Obtained:
    """Where a file's bytes came from."""

    source: str
    host: str
    fetched: int
    """Bytes that came in for it, good or not; 0 when they were on this disk."""
    is_placed: bool = True
    """Whether it got its place in this run; False where it stood there already."""


IN_PLACE: Final = Obtained(CACHE, "", 0, is_placed=False)
"""The right bytes stood in every place, only not as the receipt says."""


@dataclass(frozen=True, slots=True)
class Mode:
    """How a run treats what is there already."""

    offline: bool = False
    force: bool = False
    """Fetch everything anew, whatever is there."""
    bad: frozenset[Path] = frozenset()
    """Files on this disk that are known to be wrong: replaced, and never a source."""


def obtain(runtime: Runtime, job: Job, mode: Mode) -> Task[Obtained]:
    """Make one file present and verified in every place that needs it.

    Raises:
        ModelfetchError: No source could, the disk refused, or a lock was held for too long.
        Cancelled: The run was cancelled; the good prefix stays.
    """
    return (yield from _put_aside_once(_obtain(runtime, job, mode), len(job.places)))


def _put_aside_once(work: Task[Obtained], places: int) -> Task[Obtained]:
    """Tell where bad bytes of a file went once that is settled: before its last commit, or its failure.

    Quarantine keeps one entry for each file, the newest. Of two wrong answers, or of one and of a damaged
    copy that was replaced, the first entry is gone before anybody could look.
    """
    put_aside: list[FileQuarantined] = []
    try:
        while True:
            event = next(work)
            places -= isinstance(event, FileCommitted)
            if isinstance(event, FileQuarantined):
                put_aside = [event]
                continue
            if not places:
                yield from put_aside
                put_aside = []
            yield event
    except StopIteration as stop:
        obtained: Obtained = stop.value
        return obtained
    except (ModelfetchError, Cancelled):
        yield from put_aside
        raise
    finally:
        work.close()


def _obtain(runtime: Runtime, job: Job, mode: Mode) -> Task[Obtained]:
    manifest, file = job.places[0]
    lock = runtime.store.lock_blob(file.sha256)
    started = runtime.clock()
    yield from acquire(lock, runtime, manifest.name, file.path)
    try:
        if not mode.force and (yield from _is_in_place(runtime, job, mode)):
            yield from _told(runtime, job, IN_PLACE, runtime.clock() - started)
            return IN_PLACE
        obtained = None if mode.force else (yield from _from_cache(runtime, job, exclusive=lock.effective))
        if obtained is None:
            obtained = yield from _fetched(runtime, job, mode, exclusive=lock.effective)
        yield from _place(runtime, job, obtained, runtime.clock() - started)
    finally:
        lock.release()
    return obtained


def _is_in_place(runtime: Runtime, job: Job, mode: Mode) -> Task[bool]:
    """Whether the right bytes stand in every place already, as in a cache that was copied or unpacked.

    Nothing is written for it: such a cache may be read-only.
    """
    paths = [runtime.store.directory(manifest) / file.path for manifest, file in job.places]
    size, sha256 = job.file.size, job.file.sha256
    if any(path in mode.bad or runtime.store.size_of(path) != size for path in paths):
        return False
    return (yield from _is_right(runtime, job, paths, sha256))


def _is_right(runtime: Runtime, job: Job, paths: Sequence[Path], sha256: str) -> Task[bool]:
    """Hash files before they are trusted, and tell."""
    manifest, file = job.places[0]
    yield FileStarted(manifest.name, file.path, file.size, file.size)
    for path in paths:
        if (yield from hash_with_progress(runtime, manifest.name, file, path)) != sha256:
            return False
    yield FileVerified(manifest.name, file.path, file.size, sha256)
    return True


def _from_cache(runtime: Runtime, job: Job, *, exclusive: bool) -> Task[Obtained | None]:
    """Use the blob if it is there and still right."""
    file = job.file
    path = runtime.store.find_blob(file)
    if path is None or not (yield from _is_right(runtime, job, [path], file.sha256)):
        return None
    runtime.store.forget_partial(file, exclusive)
    return Obtained(CACHE, "", 0)


def _fetched(runtime: Runtime, job: Job, mode: Mode, *, exclusive: bool) -> Task[Obtained]:
    """Fetch a file; where the disk refuses, say what of it the next run will find."""
    try:
        return (yield from _from_sources(runtime, job, mode, exclusive=exclusive))
    except StoreError:
        manifest, file = job.places[0]
        yield Progress(manifest.name, file.path, CACHE, "", 1, runtime.store.held(file), file.size)
        raise


def _from_sources(runtime: Runtime, job: Job, mode: Mode, *, exclusive: bool) -> Task[Obtained]:
    manifest, file = job.places[0]
    candidates = candidates_for(offers_for(runtime, job, mode))
    with runtime.store.partial(file, exclusive, lambda: runtime.cancel.cancelled) as partial:
        runtime.cancel.raise_if_cancelled()
        if mode.force:
            partial.restart()
        yield FileStarted(manifest.name, file.path, file.size, partial.received)
        transfer = Transfer(runtime, manifest.name, file, partial, candidates)
        try:
            yield from transfer.run()
            placed = runtime.store.commit(partial, displaced_source=CACHE)
        except BaseException as error:
            if mode.force and runtime.store.find_blob(file) is not None:
                partial.forget()  # what was there stays, and nobody goes on with this
            if isinstance(error, Exhausted):
                raise file_error(manifest.name, file.path, error, offline=mode.offline) from error
            raise
    yield from displaced(manifest, file, placed)
    last = transfer.filling.last
    if last is None:
        return Obtained(CACHE, "", 0)
    return Obtained(last.offer.kind, last.offer.host, transfer.filling.fetched)


def displaced(manifest: Manifest, file: FileSpec, placed: Placed) -> Iterator[Event]:
    """Tell of bad bytes that had the name until their replacement was verified."""
    if placed.quarantined is not None:
        kept = placed.quarantined
        yield FileQuarantined(
            manifest.name, file.path, str(kept.directory), kept.expected, kept.actual, kept.source
        )


def offers_for(runtime: Runtime, job: Job, mode: Mode) -> list[Offer]:
    """The offers of every manifest that needs this digest, each once, without files not to be trusted."""
    offers: dict[str, Offer] = {}
    for offer in runtime.offers(*job.places):
        if not (isinstance(offer, LocalOffer) and (mode.force or offer.path in mode.bad)):
            offers.setdefault(offer.address, offer)
    return list(offers.values())


def _place(runtime: Runtime, job: Job, obtained: Obtained, seconds: float) -> Iterator[Event]:
    for manifest, file in job.places:
        placed = runtime.store.place(manifest, file, CACHE)
        yield from displaced(manifest, file, placed)
        yield committed(manifest, file, placed.path, obtained, seconds)
        obtained = replace(obtained, fetched=0)  # shared bytes came in once


def _told(runtime: Runtime, job: Job, obtained: Obtained, seconds: float) -> Iterator[Event]:
    for manifest, file in job.places:
        path = runtime.store.directory(manifest) / file.path
        yield committed(manifest, file, path, obtained, seconds)


def committed(
    manifest: Manifest, file: FileSpec, path: Path, obtained: Obtained, seconds: float
) -> FileCommitted:
    """Tell that a file stands under its final name."""
    source, host, fetched = obtained.source, obtained.host, obtained.fetched
    return FileCommitted(
        manifest.name, file.path, str(path), file.size, file.sha256, source, host, fetched, seconds
    )


End = Done[Obtained | None]
"""A file came to its end, well or not; without a result where that was told otherwise."""


@dataclass(frozen=True, slots=True)
class News:
    """Several events told as one, and the files that came to their end with them."""

    events: Sequence[Event] = ()
    ended: Sequence[End] = ()


def unpacked(happened: Iterator[Event | News | End | None]) -> Iterator[Event | End | None]:
    """Make single events of what batches tell."""
    for item in happened:
        if isinstance(item, News):
            yield from item.events
            yield from item.ended
        else:
            yield item


def obtain_rivals(
    runtime: Runtime, work: Sequence[Job], numbers: Sequence[int], mode: Mode
) -> Generator[Event | News, None, None]:
    """Obtain jobs of one digest and different sizes, one after the other, for they share a lock and a place.

    What was begun comes first: who opens it for another size loses its bytes. Once a size is proven, nobody
    is asked for another one.

    Args:
        runtime: Of the run.
        work: All jobs of the run.
        numbers: Which of them are the rivals.
        mode: Of the run.

    Raises:
        StoreError: The disk refused.
        Cancelled: The run was cancelled.
    """
    proven: Job | None = None
    errors: dict[int, ModelfetchError] = {}
    holdings = Holdings(runtime.store)
    held = {number: max(holdings.of(*place) for place in work[number].places) for number in numbers}
    for number in sorted(numbers, key=lambda number: -held[number]):
        if proven is not None:
            errors[number] = _refuted(work[number], proven)
            continue
        try:
            obtained: Obtained = yield from obtain(runtime, work[number], mode)
        except StoreError:
            raise
        except ModelfetchError as error:
            errors[number] = error
        else:
            proven = work[number]
            yield News(ended=[Done(number, obtained, None)])
    for number, reason in errors.items():
        told = reason if proven is None else _refuted(work[number], proven)
        yield News(ended=[Done(number, None, told)])


def _refuted(job: Job, proven: Job) -> IntegrityError:
    """The error of a manifest whose size is wrong, given the job of one whose size is right."""
    (manifest, file), (other, _) = job.places[0], proven.places[0]
    return IntegrityError(
        f"{manifest.name}: {file.path}: its manifest says {file.size} bytes, but those with this SHA-256 are "
        f"{proven.file.size}, as verified for {other.name}",
        hint=f"Mend size or sha256 in the manifest of {manifest.name}.",
    )

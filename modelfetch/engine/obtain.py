"""One file from start to finish: lock, look, transfer, commit, put in place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from modelfetch.engine.conclusions import file_error
from modelfetch.engine.events import (
    Event,
    FileCommitted,
    FileQuarantined,
    FileStarted,
    FileVerified,
)
from modelfetch.engine.hashing import hash_with_progress
from modelfetch.engine.locking import acquire
from modelfetch.engine.plan import Job
from modelfetch.engine.runtime import Runtime
from modelfetch.engine.transfer import Exhausted, Transfer, candidates_for
from modelfetch.engine.workers import Task
from modelfetch.errors import ModelfetchError
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.net.cancel import Cancelled
from modelfetch.sources.base import Offer
from modelfetch.sources.local import LocalOffer
from modelfetch.store import Placed
from modelfetch.values import dataclass

CACHE = "cache"
"""The source of bytes that lay in this cache already."""


@dataclass(frozen=True, slots=True)
class Obtained:
    """Where a file's bytes came from."""

    source: str
    host: str
    fetched: int
    """Bytes that came in for it, good or not; 0 when they were on this disk."""


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
        obtained = None if mode.force else (yield from _from_cache(runtime, job))
        if obtained is None:
            obtained = yield from _from_sources(runtime, job, mode, exclusive=lock.effective)
        yield from _place(runtime, job, obtained, runtime.clock() - started)
    finally:
        lock.release()
    return obtained


def _from_cache(runtime: Runtime, job: Job) -> Task[Obtained | None]:
    """Use the blob if it is there and still right; a found blob is hashed before it is trusted."""
    manifest, file = job.places[0]
    path = runtime.store.find_blob(file)
    if path is None:
        return None
    yield FileStarted(manifest.name, file.path, file.size, file.size)
    actual = yield from hash_with_progress(runtime, manifest.name, file, path)
    if actual != file.sha256:
        return None
    yield FileVerified(manifest.name, file.path, file.size, file.sha256)
    return Obtained(CACHE, "", 0)


def _from_sources(runtime: Runtime, job: Job, mode: Mode, *, exclusive: bool) -> Task[Obtained]:
    manifest, file = job.places[0]
    candidates = candidates_for(offers_for(runtime, job, mode))
    with runtime.store.partial(file, exclusive, lambda: runtime.cancel.cancelled) as partial:
        runtime.cancel.check()
        if mode.force:
            partial.restart()
        yield FileStarted(manifest.name, file.path, file.size, partial.received)
        transfer = Transfer(runtime, manifest.name, file, partial, candidates)
        try:
            yield from transfer.run()
        except Exhausted as exhausted:
            raise file_error(manifest.name, file.path, exhausted, offline=mode.offline) from exhausted
        placed = runtime.store.commit(partial, displaced_source=CACHE)
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


def committed(
    manifest: Manifest, file: FileSpec, path: Path, obtained: Obtained, seconds: float
) -> FileCommitted:
    """Tell that a file stands under its final name."""
    source, host, fetched = obtained.source, obtained.host, obtained.fetched
    return FileCommitted(
        manifest.name, file.path, str(path), file.size, file.sha256, source, host, fetched, seconds
    )

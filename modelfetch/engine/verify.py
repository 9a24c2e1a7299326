"""Check files on disk against their manifests, and repair them if asked.

Every file is hashed, or with ``quick`` only those whose stat changed. A finding is reported as a failed
source ``cache``, with one of these faults:

    missing   no regular file has the name
    size      its length is not the one in the manifest
    hash      its SHA-256 is not the one in the manifest
    unlisted  a file in the model's directory is not in the manifest (a failure only with ``strict``)

A good file that has no chunk map gets one, unless ``cache.chunk_maps`` is ``never``.

A repair is an ordinary run of ensure that trusts none of the bad files, so that bad bytes are replaced only
by verified ones.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Final

from modelfetch.cancel import Cancelled
from modelfetch.engine.damage import Range, format_ranges, wrong_ranges
from modelfetch.engine.events import (
    Event,
    FileKept,
    FileQuarantined,
    FileResult,
    FileStarted,
    FileVerified,
    Planned,
    RunStarted,
    SourceFailed,
    Status,
)
from modelfetch.engine.failures import Failure, code_of, finished
from modelfetch.engine.plan import FileKey, key_of, model_key, planned, take_inventory
from modelfetch.engine.progress import Deadline, hash_with_progress, with_heartbeat
from modelfetch.engine.workers import Task, merge
from modelfetch.errors import (
    AuthorizationError,
    Fault,
    IntegrityError,
    ModelfetchError,
    OfflineError,
    UnavailableError,
)
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.source_kinds import CACHE

if TYPE_CHECKING:
    from pathlib import Path

    from modelfetch.engine.runtime import Runtime
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.store import Consulted

THREADS = min(8, os.cpu_count() or 1)
"""Files hashed at the same time: hashing is bound by the processor, and hashlib lets other threads run."""


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """What to verify, and how."""

    manifests: Sequence[Manifest]
    quick: bool = False
    """Whether to read only files whose size, time or inode changed since they were verified."""
    repair: bool = False
    """Whether to fetch bad and missing files again."""
    sample: int = 0
    """How many chunks of each file to read instead of all of it; 0 for all. A file whose chunks are not
    known, or one of whose chunks is wrong, is read completely."""
    strict: bool = False
    """Whether unlisted files are failures, and with ``repair`` put into quarantine."""
    consulted: Sequence[Consulted] = ()


_UNLISTED: Final = "is in the model's directory, but its manifest does not list it"

Unlisted = dict[FileKey, FileResult]
"""The result of each unlisted file; empty without ``strict``, as they are no files of the model then."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a file."""

    fault: Fault
    reason: str
    """The fault in words, with both digests or sizes."""
    ranges: tuple[Range, ...] = ()
    """What is damaged, as far as the chunks of the file are known: starts and ends in bytes."""

    def __str__(self) -> str:
        is_plain = self.fault in (Fault.MISSING, Fault.UNLISTED)
        return self.fault if is_plain else f"{self.fault} ({self.reason})"


Findings = dict[FileKey, Finding | None]
"""The finding for each file checked so far; None for a good file."""


_UNDELIVERED = (AuthorizationError, IntegrityError, OfflineError, UnavailableError)
"""Errors of a repair that do not replace the result of the check: the run still fails with ``integrity``."""


@dataclass(frozen=True, slots=True)
class _Item:
    manifest: Manifest
    file: FileSpec
    path: Path
    """Where it is on disk."""
    unchanged: bool
    """Whether its stat agrees with the receipt."""

    @property
    def key(self) -> FileKey:
        return key_of(self.manifest, self.file)


@dataclass(frozen=True, slots=True)
class _Checked:
    """The end of the check of one file."""

    key: FileKey
    finding: Finding | None

    @property
    def model(self) -> str:
        """The model that the events of the check name."""
        return self.key[0]

    @property
    def file(self) -> str:
        """The path that the events of the check name."""
        return self.key[-1]


def verify(runtime: Runtime, request: VerifyRequest) -> Iterator[Event]:
    """Check every file of the requested models; the last event says whether all are good.

    Each finding is a :class:`SourceFailed` of the source ``cache``. With ``repair`` bad files are then
    fetched again, and their bytes are quarantined once the replacement was verified. Expected failures become
    the last event, :class:`RunFinished`, and are never raised.
    """
    started = runtime.clock()
    yield RunStarted("verify", tuple(manifest.name for manifest in request.manifests))
    found: Findings = {}
    unlisted: Unlisted = {}
    error: Failure | None = None
    try:
        yield from _check_all(runtime, request, found)
        yield from _look_for_unlisted(runtime, request, unlisted)
        if request.repair:
            yield from _repair(runtime, request, found)
        error = _integrity_error(found, unlisted)
    except _UNDELIVERED as failure:
        error = _not_repaired(found, failure)
    except (ModelfetchError, Cancelled) as failure:
        error = failure
    files = [*_results(request.manifests, found, code_of(error)), *unlisted.values()]
    yield finished(error, files, runtime.clock() - started)


def _check_all(runtime: Runtime, request: VerifyRequest, found: Findings) -> Iterator[Event]:
    items: list[_Item] = []
    for manifest in request.manifests:
        inventory = take_inventory(runtime, manifest)
        yield planned(runtime, inventory)
        directory = runtime.store.directory(manifest)
        items += [
            _Item(manifest, file, directory / file.path, file.path in inventory.kept)
            for file in manifest.files
        ]
    items.sort(key=lambda item: -item.file.size)
    tasks = [_check_alone(runtime, item, request) for item in items]
    deadline = Deadline(runtime)
    with closing(merge(tasks, THREADS, runtime.cancel)) as merged:
        for item in with_heartbeat(merged, runtime.clock, runtime.positions):
            if isinstance(item, _Checked):  # counts even when the deadline has passed
                found[item.key] = item.finding
                continue
            deadline.check(item)
            if item is not None:
                yield item


def _check_alone(
    runtime: Runtime, item: _Item, request: VerifyRequest
) -> Generator[Event | _Checked, None, None]:
    """Check one file as a task of its own."""
    finding = yield from _check(runtime, item, request)
    yield _Checked(item.key, finding)


def _check(runtime: Runtime, item: _Item, request: VerifyRequest) -> Task[Finding | None]:
    """Check one file; returns the finding, or None for a good file."""
    model, file = item.manifest.name, item.file
    if request.quick and item.unchanged:
        yield FileKept(model, file.path, file.size)
        return None
    size = runtime.store.size_of(item.path)
    if size is None:
        return (yield from _bad(model, file, Fault.MISSING, "is not there"))
    yield FileStarted(model, file.path, file.size, 0)
    if size != file.size:
        ranges = wrong_ranges(runtime, item.manifest, file, item.path)
        return (yield from _bad(model, file, Fault.SIZE, f"has {size} bytes instead of {file.size}", ranges))
    if request.sample and (yield from _is_sample_right(runtime, item, request.sample)):
        yield FileKept(model, file.path, file.size)
        return None
    # The map is made of bytes that are read anyway: nothing else ever reads a file for it.
    chunks = runtime.store.map_hasher(file, is_doubted=request.sample > 0)
    actual = yield from hash_with_progress(runtime, model, file, item.path, chunks)
    if not file.is_pinned(actual):
        reason = f"has SHA-256 {actual} instead of {file.sha256}"
        ranges = wrong_ranges(runtime, item.manifest, file, item.path)
        return (yield from _bad(model, file, Fault.HASH, reason, ranges))
    cid = runtime.store.chunk_maps.write(file.sha256, chunks.tree()) if chunks is not None else ""
    yield FileVerified(model, file.path, file.size, file.sha256, cid)
    return None


def _is_sample_right(runtime: Runtime, item: _Item, count: int) -> Task[bool]:
    from modelfetch.engine.sampling import sample  # here, as few checks ask for it

    return (yield from sample(runtime, item.manifest, item.file, item.path, count))


def _bad(
    model: str, file: FileSpec, fault: Fault, reason: str, ranges: tuple[Range, ...] = ()
) -> Task[Finding]:
    if ranges:
        reason = f"{reason}: wrong at {format_ranges(ranges)}"
    yield SourceFailed(model, file.path, CACHE, "", fault, reason, "", 0, "", "", ranges)
    return Finding(fault, reason, ranges)


def _repair(runtime: Runtime, request: VerifyRequest, found: Findings) -> Iterator[Event]:
    """Fetch the bad files again; the finding of each repaired file becomes None."""
    from modelfetch.engine.ensure import Run  # here, as a check without a repair fetches nothing
    from modelfetch.engine.options import Request

    bad = _bad_in(found)
    models = {key[:-1] for key in bad}
    manifests = [manifest for manifest in request.manifests if model_key(manifest) in models]
    run = Run(runtime, Request(manifests, consulted=request.consulted, distrusted=frozenset(bad)))
    try:
        yield from (event for event in run.events() if not isinstance(event, Planned))
    finally:
        found.update((key, None) for key in bad if run.has(key))


def _look_for_unlisted(runtime: Runtime, request: VerifyRequest, unlisted: Unlisted) -> Iterator[Event]:
    """Report unlisted files, which programs that load a whole directory would read too."""
    for manifest in request.manifests:
        runtime.check_deadline(manifest.name)
        for path in runtime.store.unlisted(manifest):
            yield _report_unlisted(manifest.name, path)
            if request.strict:
                key = (*model_key(manifest), path)
                unlisted[key] = FileResult(manifest.name, path, "failed", Fault.UNLISTED, CACHE, 0)
                if request.repair:
                    yield from _quarantine(runtime, manifest, path)
                    unlisted[key] = replace(unlisted[key], status="completed")


def _report_unlisted(model: str, path: str) -> SourceFailed:
    hint = f"`modelfetch verify --repair --strict {model}` moves it to quarantine."
    return SourceFailed(model, path, CACHE, "", Fault.UNLISTED, _UNLISTED, hint, 0, "", "")


def _quarantine(runtime: Runtime, manifest: Manifest, path: str) -> Iterator[Event]:
    kept = runtime.store.quarantine_unlisted(manifest, path)
    if kept is not None:
        yield FileQuarantined(
            manifest.name, path, str(kept.directory), kept.expected, kept.actual, kept.source
        )


def _bad_in(found: Findings) -> dict[FileKey, Finding]:
    return {key: finding for key, finding in found.items() if finding is not None}


def _integrity_error(found: Findings, unlisted: Unlisted) -> IntegrityError | None:
    failed = {
        key: Finding(Fault.UNLISTED, _UNLISTED)
        for key, result in unlisted.items()
        if result.status == "failed"
    }
    bad = {**_bad_in(found), **failed}
    if not bad:
        return None
    (model, *_, path), finding = next(iter(bad.items()))
    more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    command = f"modelfetch verify --repair {'--strict ' if failed else ''}"
    return IntegrityError(
        f"{len(bad)} of {len(found) + len(failed)} files failed verification: "
        f"{model}: {path}: {finding}{more}",
        hint=f"Repair them: {command}{' '.join(sorted({name for name, *_ in bad}))}",
    )


def _not_repaired(found: Findings, cause: ModelfetchError) -> IntegrityError:
    bad = _bad_in(found)
    return IntegrityError(
        f"{len(bad)} of {len(found)} files failed verification and could not be repaired: {cause.message}",
        hint=cause.hint,
    )


def _results(manifests: Sequence[Manifest], found: Findings, reason: str) -> list[FileResult]:
    return [
        _result(manifest.name, file, found.get(key_of(manifest, file), reason))
        for manifest in manifests
        for file in manifest.files
    ]


def _result(model: str, file: FileSpec, found: Finding | str | None) -> FileResult:
    """How one file ended.

    Args:
        model: The model.
        file: The file.
        found: The finding; None for a good file; a code for a file that was not checked.
    """
    if found is None:
        return FileResult(model, file.path, "completed", "", CACHE, file.size)
    status: Status = "failed" if isinstance(found, Finding) else "cancelled"
    reason = found.fault if isinstance(found, Finding) else found
    ranges = found.ranges if isinstance(found, Finding) else ()
    return FileResult(model, file.path, status, reason, CACHE, file.size, ranges)

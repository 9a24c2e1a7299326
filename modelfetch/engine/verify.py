"""Prove that what is here is what the manifests pin, and put right what is not."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from modelfetch.engine.ensure import Request, Run, finished
from modelfetch.engine.events import (
    Event,
    FileKept,
    FileResult,
    FileStarted,
    FileVerified,
    Planned,
    RunStarted,
    SourceFailed,
)
from modelfetch.engine.hashing import hash_with_progress
from modelfetch.engine.heartbeat import with_heartbeat
from modelfetch.engine.obtain import CACHE, Mode
from modelfetch.engine.plan import planned, take_inventory
from modelfetch.engine.runtime import Runtime
from modelfetch.engine.workers import Done, Task, merge
from modelfetch.errors import Fault, IntegrityError, ModelfetchError
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.store import Consulted

THREADS = min(8, os.cpu_count() or 1)
"""Files hashed at the same time: hashing is bound by the processor, and hashlib lets other threads run."""


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """What to verify, and how."""

    manifests: Sequence[Manifest]
    quick: bool = False
    """Read only files whose size, time or inode changed since they were verified."""
    repair: bool = False
    mode: Mode = field(default_factory=Mode)
    consulted: Sequence[Consulted] = ()


@dataclass(frozen=True, slots=True)
class _Item:
    manifest: Manifest
    file: FileSpec
    unchanged: bool
    """Whether its stat agrees with the receipt."""


def verify(runtime: Runtime, request: VerifyRequest) -> Iterator[Event]:
    """Check every file of the requested models; the last event says whether all are right.

    A file that is not right is told as :class:`SourceFailed` of the source ``cache``, with fault ``missing``,
    ``size`` or ``hash``. With ``repair`` it is then obtained anew, and the bad bytes are quarantined once
    their replacement was verified.
    """
    started = runtime.clock()
    yield RunStarted("verify", tuple(manifest.name for manifest in request.manifests))
    bad: dict[tuple[str, str], Fault] = {}
    error: ModelfetchError | None = None
    try:
        yield from _check_all(runtime, request, bad)
        if bad and request.repair:
            yield from _repair(runtime, request, bad)
        elif bad:
            error = _not_ok(bad, sum(len(manifest.files) for manifest in request.manifests))
    except ModelfetchError as failure:
        error = failure
    yield finished(error, _results(request.manifests, bad), runtime.clock() - started)


def _check_all(
    runtime: Runtime, request: VerifyRequest, bad: dict[tuple[str, str], Fault]
) -> Iterator[Event]:
    items: list[_Item] = []
    for manifest in request.manifests:
        inventory = take_inventory(runtime, manifest)
        yield planned(runtime, inventory)
        items += [_Item(manifest, file, file.path in inventory.kept) for file in manifest.files]
    items.sort(key=lambda item: -item.file.size)
    tasks = [_check(runtime, item, quick=request.quick) for item in items]
    with closing(merge(tasks, THREADS, runtime.cancel)) as merged:
        for happened in with_heartbeat(merged, runtime.clock):
            runtime.check_deadline()
            if isinstance(happened, Done):
                _account(items[happened.index], happened, bad)
            elif happened is not None:
                yield happened


def _account(item: _Item, done: Done[Fault | None], bad: dict[tuple[str, str], Fault]) -> None:
    if done.error is not None:
        raise done.error
    if done.result is not None:
        bad[item.manifest.name, item.file.path] = done.result


def _check(runtime: Runtime, item: _Item, *, quick: bool) -> Task[Fault | None]:
    """Check one file; the fault found, or None."""
    model, file = item.manifest.name, item.file
    path = runtime.store.directory(item.manifest) / file.path
    if quick and item.unchanged:
        yield FileKept(model, file.path, file.size)
        return None
    size = runtime.store.size_of(path)
    if size is None:
        yield _bad(model, file, Fault.MISSING, "is not there")
        return Fault.MISSING
    if size != file.size:
        yield _bad(model, file, Fault.SIZE, f"has {size} bytes instead of {file.size}")
        return Fault.SIZE
    yield FileStarted(model, file.path, file.size, 0)
    actual = yield from hash_with_progress(runtime, model, file, path)
    if actual != file.sha256:
        yield _bad(model, file, Fault.HASH, f"has SHA-256 {actual} instead of {file.sha256}")
        return Fault.HASH
    yield FileVerified(model, file.path, file.size, file.sha256)
    return None


def _bad(model: str, file: FileSpec, fault: Fault, reason: str) -> SourceFailed:
    return SourceFailed(model, file.path, CACHE, "", fault, reason, "", 0, "", "")


def _repair(runtime: Runtime, request: VerifyRequest, bad: dict[tuple[str, str], Fault]) -> Iterator[Event]:
    """Obtain the bad files anew; what was put right leaves ``bad``."""
    distrusted: dict[str, set[str]] = {}
    for model, path in bad:
        distrusted.setdefault(model, set()).add(path)
    manifests = [manifest for manifest in request.manifests if manifest.name in distrusted]
    run = Run(runtime, Request(manifests, request.mode, None, request.consulted, distrusted))
    try:
        yield from (event for event in run.events() if not isinstance(event, Planned))
    finally:
        for key in list(bad):
            if run.has(*key):
                del bad[key]


def _not_ok(bad: dict[tuple[str, str], Fault], count: int) -> IntegrityError:
    (model, path), fault = next(iter(bad.items()))
    more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    return IntegrityError(
        f"{len(bad)} of {count} files are not right: {model}: {path}: {fault}{more}",
        hint=f"Put them right: modelfetch verify --repair {' '.join(sorted({name for name, _ in bad}))}",
    )


def _results(manifests: Sequence[Manifest], bad: dict[tuple[str, str], Fault]) -> list[FileResult]:
    return [
        FileResult(
            manifest.name,
            file.path,
            "failed" if (manifest.name, file.path) in bad else "completed",
            bad.get((manifest.name, file.path), ""),
            CACHE,
            file.size,
        )
        for manifest in manifests
        for file in manifest.files
    ]

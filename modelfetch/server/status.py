"""What is known and present, what is under way, and how much disk it takes.

What earlier runs say about sources: the rows of the history, in the forms of the API. Pure.

The four below ``/api/metrics/downloads`` speak of the last day, as the programs that ask for them expect.

What other processes fetch into this cache: read from the notes that they leave for those who wait.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modelfetch.engine.plan import Holdings, license_notice
from modelfetch.engine.record import timestamp
from modelfetch.errors import ManifestError
from modelfetch.model.manifest import FileSpec, Manifest, is_permissive
from modelfetch.version import __version__

if TYPE_CHECKING:
    from modelfetch.history import AttemptRow, Health, RunRow
    from modelfetch.server.job_queue import Known
    from modelfetch.workspace import Workspace

DISK_SHARE: Final = 50
"""A measurement of the cache holds this many times as long as it took: 2 % of the time are spent on it."""
DISK_SECONDS: Final = 1.0
"""How long it holds at least."""
_BLOCK: Final = 512
"""Bytes of a unit of ``st_blocks`` (POSIX leaves it open; Linux, macOS and the BSDs all use this)."""


def models(workspace: Workspace) -> dict[str, Any]:
    """Every model of the catalogs; manifests that are wrong are named beside them."""
    found: list[dict[str, Any]] = []
    faults: list[dict[str, str]] = []
    for name in workspace.catalog.names():
        try:
            found.append(_summary(workspace, workspace.catalog.get(name)))
        except ManifestError as error:
            faults.append({"name": name, "message": error.message})
    return {"models": found, "faults": faults}


def model(workspace: Workspace, name: str) -> dict[str, Any]:
    """One model with its files.

    Raises:
        UnknownModelError: No catalog has it.
        ManifestError: Its manifest is wrong.
    """
    manifest = workspace.manifests([name])[0]
    kept = workspace.store.kept(manifest, workspace.store.receipt(manifest))
    holdings = Holdings(workspace.store)
    files = [_file(holdings, manifest, file, is_kept=kept.get(file.path, False)) for file in manifest.files]
    return _summary(workspace, manifest) | {"files": files, "identity": manifest.identity}


def _summary(workspace: Workspace, manifest: Manifest) -> dict[str, Any]:
    aliases = workspace.catalog.aliases()
    is_present = workspace.is_present(manifest)
    holdings = Holdings(workspace.store)
    return {
        "name": manifest.name,
        "title": manifest.title,
        "kind": manifest.kind,
        "version": manifest.version,
        "license": manifest.license,
        "license_notice": license_notice(manifest),
        "permissive": is_permissive(manifest.license),
        "size": manifest.size,
        "files": len(manifest.files),
        "present": is_present,
        "partial": 0 if is_present else sum(holdings.of(manifest, file) for file in manifest.files),
        "path": str(workspace.store.directory(manifest)),
        "aliases": sorted(alias for alias, name in aliases.items() if name == manifest.name),
        "catalog": workspace.catalog.entry(manifest.name).origin,
        "homepage": manifest.homepage,
    }


def _file(holdings: Holdings, manifest: Manifest, file: FileSpec, *, is_kept: bool) -> dict[str, Any]:
    held = file.size if is_kept else holdings.of(manifest, file)
    return {
        "file": file.path,
        "size": file.size,
        "sha256": file.sha256,
        "state": "kept" if is_kept else "partial" if held else "missing",
        "held": held,
    }


def status(
    workspace: Workspace, jobs: Iterable[Known], counts: dict[str, int], disk: dict[str, Any], notice: str
) -> dict[str, Any]:
    """The server in one look.

    Args:
        workspace: What is known and present.
        jobs: Every job, oldest first.
        counts: How many are queued, and running.
        disk: What :class:`DiskUse` measured.
        notice: What is wrong with the history, or empty.
    """
    known = list(jobs)
    return {
        "version": __version__,
        "models_downloading": sorted({job.order.model for job in known if _is_download(job)}),
        "models_complete": sorted({manifest.name for manifest in _present(workspace)}),
        "models_error": _errors(known),
        "stale": [],
        "updates": [],
        "jobs": counts,
        "disk": disk,
        "history_notice": notice,
    }


def _is_download(job: Known) -> bool:
    return job.order.operation != "model_verify" and not job.life.is_over


def _present(workspace: Workspace) -> Iterator[Manifest]:
    return (manifest for manifest in workspace.present() if workspace.is_present(manifest))


def _errors(jobs: Iterable[Known]) -> dict[str, Any]:
    """By model, why its last job that came to a verdict failed."""
    errors: dict[str, Any] = {}
    for job in jobs:
        if job.life.status == "completed":
            errors.pop(job.order.model, None)
        elif job.life.status == "failed":
            errors[job.order.model] = job.snapshot()["error"]
    return errors


class DiskUse:
    """Measures a cache, not too often.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._measured: dict[str, int] = {}
        self._due_at = float("-inf")

    def measure(self, root: Path) -> dict[str, int]:
        """Count the bytes on disk of a cache and its parts, each inode once."""
        with self._lock:
            began = self._clock()
            if began >= self._due_at:
                self._measured = disk_use(root)
                self._due_at = began + max(DISK_SECONDS, DISK_SHARE * (self._clock() - began))
            return self._measured


def disk_use(root: Path) -> dict[str, int]:
    """Count the bytes on disk of a cache and its parts; what is linked twice is counted once."""
    seen: set[tuple[int, int]] = set()
    parts = {name: _sum(root / name, seen) for name in ("blobs", "partial", "quarantine")}
    return {"used": sum(parts.values()) + _sum(root, seen), **parts}


def _sum(directory: Path, seen: set[tuple[int, int]]) -> int:
    """Add up the files below a directory that were not seen before; what goes meanwhile does not count."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                found = os.lstat(os.path.join(folder, name))  # noqa: PTH118 - of many thousands
            except OSError:
                continue
            inode = found.st_dev, found.st_ino
            if stat.S_ISREG(found.st_mode) and inode not in seen:
                seen.add(inode)
                total += getattr(found, "st_blocks", found.st_size // _BLOCK) * _BLOCK
    return total


Host = tuple[str, str]
"""Kind of source, and host."""

MEMORY: Final = timedelta(days=7)
"""How far back the last failure of a source is looked for."""
WINDOW: Final = timedelta(hours=24)
"""How far back the summaries of the API look."""
PROMETHEUS: Final = "text/plain; version=0.0.4"
"""The media type of the text format of Prometheus."""


def runs(rows: Iterable[RunRow]) -> dict[str, Any]:
    """The history, the newest run first."""
    return {"runs": [_run_facts(row) for row in rows]}


def _run_facts(row: RunRow) -> dict[str, Any]:
    finished = None if row.finished_at is None else timestamp(row.finished_at)
    return asdict(row) | {"started_at": timestamp(row.started_at), "finished_at": finished}


def last_failures(attempts: Iterable[AttemptRow]) -> dict[Host, AttemptRow]:
    """The last attempt of each host that failed.

    Args:
        attempts: In the order in which they ended.
    """
    return {(row.source, row.host): row for row in attempts if row.outcome == "error"}


def sources(health: Mapping[Host, Health], failures: Mapping[Host, AttemptRow]) -> dict[str, Any]:
    """How each host fared, the ones asked most first."""
    ranked = sorted(health.items(), key=lambda item: -item[1].samples)
    return {"sources": [_source(*host, found, failures.get(host)) for host, found in ranked]}


def _source(kind: str, host: str, health: Health, failure: AttemptRow | None) -> dict[str, Any]:
    return {
        "source": kind,
        "host": host,
        "status": health.status,
        "success": round(health.share, 4),
        "first_byte": None if health.first_byte is None else round(health.first_byte, 3),
        "speed": None if health.speed is None else round(health.speed),
        "stalls": health.stalls,
        "samples": health.samples,
        "last": timestamp(health.last),
        "last_failure": None if failure is None else _failure(failure),
    }


def _failure(row: AttemptRow) -> dict[str, Any]:
    return {"at": timestamp(row.started_at), "fault": row.fault, "message": row.message}


def job_gauges(counts: Mapping[str, int]) -> str:
    """The jobs of the server, in the text format of Prometheus."""
    lines = [
        "# HELP modelfetch_jobs Jobs of this server that are not over.",
        "# TYPE modelfetch_jobs gauge",
        *(f'modelfetch_jobs{{status="{status}"}} {count}' for status, count in sorted(counts.items())),
    ]
    return "".join(f"{line}\n" for line in lines)


def elsewhere(workspace: Workspace) -> dict[str, Any]:
    """Every model that another process works on, with how far it is; by name."""
    return {"runs": [found for name in _noted(workspace) if (found := _run(workspace, name)) is not None]}


def _noted(workspace: Workspace) -> list[str]:
    """The models with a note; nearly always there is none, however many models there are."""
    try:
        names = set(os.listdir(workspace.store.root / "locks"))  # noqa: PTH208 - of thousands, names will do
    except OSError:
        return []
    return [name for name in workspace.catalog.names() if f"model-{name}.lock.holder" in names]


def _run(workspace: Workspace, name: str) -> dict[str, Any] | None:
    lock = workspace.store.lock_model(name)
    pid = lock.holder_pid()
    if pid is None or pid == os.getpid():  # gone, or a job of this server
        return None
    received, size = lock.progress()
    return {
        "model": name,
        "title": _title(workspace, name),
        "holder": lock.holder(),
        "received": min(received, size),
        "size": size,
    }


def _title(workspace: Workspace, name: str) -> str:
    try:
        return workspace.catalog.get(name).title
    except ManifestError:
        return ""

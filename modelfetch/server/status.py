"""Everything the API reports besides jobs: models, status, disk use, sources and other processes.

Each function returns the JSON of one endpoint (``docs/reference/http-api.md``). :class:`DiskUse` measures the
cache and caches the result. What other processes fetch is read from the lock files that they write for those
who wait.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modelfetch.engine.plan import Holdings, license_notice
from modelfetch.engine.record import timestamp
from modelfetch.errors import ManifestError, UnknownModelError
from modelfetch.model.manifest import FileSpec, Manifest, is_permissive
from modelfetch.net.urls import host_of
from modelfetch.pins.upstream_state import upstream_states
from modelfetch.settings import redact
from modelfetch.version import __version__

if TYPE_CHECKING:
    from modelfetch.history import AttemptRow, Health, RunRow
    from modelfetch.pins.upstream_state import UpstreamState
    from modelfetch.server.job_queue import AnyJob
    from modelfetch.store import Removal
    from modelfetch.workspace import Workspace

DISK_SHARE: Final = 50
"""A measurement of the cache stays valid for this many times its duration, so at most 2 % of the time goes
into measuring."""
DISK_SECONDS: Final = 1.0
"""Seconds a measurement stays valid at least."""
_BLOCK: Final = 512
"""Bytes per unit of ``st_blocks`` (POSIX leaves it open; Linux, macOS and the BSDs use this)."""
FAILURE_WINDOW: Final = timedelta(days=7)
"""How far back the last failure of a source is searched."""
DEFAULT_RUNS: Final = 50
"""Runs in the answer of ``/v1/history`` without ``limit``."""
MAX_RUNS: Final = 1000
"""Runs in the answer of ``/v1/history`` at most."""
LIMIT_DIGITS: Final = 7
"""Digits of ``limit`` at most; a longer number is a mistake."""
METRICS_PATHS: Final = ("/api/metrics/downloads", "/gm/api/metrics/downloads")
"""Where programs query the metrics; the second path is that of an earlier system and stays for its
clients."""
METRICS_WINDOW: Final = timedelta(hours=24)
"""How far back ``/api/metrics/downloads`` looks: its clients expect the last day."""
PROMETHEUS: Final = "text/plain; version=0.0.4"
"""Media type of the text format of Prometheus."""

Host = tuple[str, str]
"""Kind of source, and host."""


# Models


def models(workspace: Workspace) -> dict[str, Any]:
    """Describe every model of the catalogs; invalid manifests are listed beside them."""
    manifests: list[Manifest] = []
    faults: list[dict[str, str]] = []
    for name in workspace.catalog.names():
        try:
            manifests.append(workspace.catalog.get(name))
        except ManifestError as error:
            faults.append({"name": name, "message": error.message})
    upstreams = upstream_states(workspace, manifests)
    found = [_model_summary(workspace, manifest, upstreams) for manifest in manifests]
    return {"models": found, "faults": faults}


def model(workspace: Workspace, name: str) -> dict[str, Any]:
    """Describe one model with its files.

    Raises:
        UnknownModelError: No catalog has it.
        ManifestError: Its manifest is invalid.
    """
    manifest = workspace.manifests([name])[0]
    kept = workspace.store.kept(manifest, workspace.store.receipt(manifest))
    holdings = Holdings(workspace.store)
    files = [
        _model_file(holdings, manifest, file, is_kept=kept.get(file.path, False)) for file in manifest.files
    ]
    upstreams = upstream_states(workspace, [manifest])
    return _model_summary(workspace, manifest, upstreams) | {
        "files": files,
        "identity": manifest.identity,
        "sources": model_sources(workspace, manifest),
    }


def _model_summary(
    workspace: Workspace, manifest: Manifest, upstreams: Mapping[str, UpstreamState]
) -> dict[str, Any]:
    aliases = workspace.catalog.aliases()
    is_present = workspace.is_present(manifest)
    holdings = Holdings(workspace.store)
    return {
        "name": manifest.name,
        "title": manifest.title,
        "kind": manifest.kind,
        "task": manifest.task,
        "format": manifest.format,
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
        "upstream": upstreams[manifest.name].document if manifest.name in upstreams else None,
    }


def _model_file(holdings: Holdings, manifest: Manifest, file: FileSpec, *, is_kept: bool) -> dict[str, Any]:
    held = file.size if is_kept else holdings.of(manifest, file)
    return {
        "file": file.path,
        "size": file.size,
        "sha256": file.sha256,
        "state": "kept" if is_kept else "partial" if held else "missing",
        "held": held,
    }


def model_sources(workspace: Workspace, manifest: Manifest) -> list[dict[str, str]]:
    """Describe where a model's files may come from, in the order of ``sources.order``.

    Health decides between the hosts of one kind, so their order may be another one in a run.
    """
    named = [(str(kind), redact(text) if "://" in text else text) for kind, text in manifest.named_sources()]
    settings = workspace.loaded.settings.sources
    hosts = [host_of(mirror) for mirror in settings.mirrors]
    urls = dict.fromkeys(host_of(url) for file in manifest.files for url in file.urls)
    every = [("local", ""), *(("mirror", host) for host in hosts), *named, *(("url", host) for host in urls)]
    order = {str(kind): number for number, kind in enumerate(settings.order)}
    kept = [(kind, text) for kind, text in every if kind in order]
    return [{"kind": kind, "name": text} for kind, text in sorted(kept, key=lambda each: order[each[0]])]


def known_name(workspace: Workspace, name: str) -> str:
    """Return the name of a model given by name or alias; a name that no catalog has is returned as it is."""
    try:
        return workspace.catalog.entry(name).name
    except UnknownModelError:
        return name


def removal(removed: Removal) -> dict[str, Any]:
    """Describe what was removed from the cache."""
    return {
        "model": removed.name,
        "versions": list(removed.versions),
        "files": len(removed.paths),
        "freed": removed.freed,
    }


# The server


def status(
    workspace: Workspace, jobs: Iterable[AnyJob], counts: dict[str, int], disk: dict[str, Any], notice: str
) -> dict[str, Any]:
    """Describe the server.

    Args:
        workspace: Catalogs and cache.
        jobs: Every job, oldest first.
        counts: Number of queued and running jobs.
        disk: Result of :class:`DiskUse`.
        notice: Why the history database cannot be used, or empty.
    """
    known = list(jobs)
    upstreams = upstream_states(workspace, _pins(workspace))
    return {
        "version": __version__,
        "models_downloading": sorted({job.order.model for job in known if _is_download(job)}),
        "models_complete": sorted({manifest.name for manifest in _present(workspace)}),
        "models_error": _errors(known),
        "stale": sorted(name for name, each in upstreams.items() if each.state in ("due", "failed")),
        "updates": sorted(name for name, each in upstreams.items() if each.moved),
        "jobs": counts,
        "disk": disk,
        "history_notice": notice,
    }


def _pins(workspace: Workspace) -> Iterator[Manifest]:
    """Yield the manifests that may name an upstream: those of the built-in catalog never do."""
    for name in workspace.catalog.names():
        if workspace.catalog.entry(name).origin != "built-in":
            with suppress(ManifestError):
                yield workspace.catalog.get(name)


def _is_download(job: AnyJob) -> bool:
    return job.order.operation != "model_verify" and not job.state.is_over


def _present(workspace: Workspace) -> Iterator[Manifest]:
    return (manifest for manifest in workspace.present() if workspace.is_present(manifest))


def _errors(jobs: Iterable[AnyJob]) -> dict[str, Any]:
    """Return, by model, the error of its last job that completed or failed, if it failed."""
    errors: dict[str, Any] = {}
    for job in jobs:
        if job.state.status == "completed":
            errors.pop(job.order.model, None)
        elif job.state.status == "failed":
            errors[job.order.model] = job.snapshot()["error"]
    return errors


class DiskUse:
    """Measures the disk use of a cache, and caches the result: of a large cache it takes seconds.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._measured: dict[str, int] = {}
        self._due_at = float("-inf")

    def measure(self, root: Path) -> dict[str, int]:
        """Return the bytes on disk of a cache and of its parts; measures only if the last result is old."""
        # Held while measuring: requests at the same time wait for one result instead of measuring each.
        with self._lock:
            began = self._clock()
            if began >= self._due_at:
                self._measured = disk_use(root)
                self._due_at = began + max(DISK_SECONDS, DISK_SHARE * (self._clock() - began))
            return self._measured


def disk_use(root: Path) -> dict[str, int]:
    """Count the bytes on disk of a cache and of its parts; a file with several hard links counts once."""
    seen: set[tuple[int, int]] = set()
    # The parts come first: models link to blobs, and a blob is to count as one.
    parts = {name: _bytes_on_disk(root / name, seen) for name in ("blobs", "partial", "quarantine")}
    return {"used": sum(parts.values()) + _bytes_on_disk(root, seen), **parts}


def _bytes_on_disk(directory: Path, seen: set[tuple[int, int]]) -> int:
    """Add up the files below a directory that are not in ``seen``; files removed meanwhile are skipped."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                found = os.lstat(os.path.join(folder, name))  # noqa: PTH118 - pathlib is slow for many thousands
            except OSError:
                continue
            inode = found.st_dev, found.st_ino
            if stat.S_ISREG(found.st_mode) and inode not in seen:
                seen.add(inode)
                total += getattr(found, "st_blocks", found.st_size // _BLOCK) * _BLOCK
    return total


# History and sources


def runs(rows: Iterable[RunRow]) -> dict[str, Any]:
    """Describe the runs of the history, the newest first."""
    return {"runs": [_run_facts(row) for row in rows]}


def _run_facts(row: RunRow) -> dict[str, Any]:
    finished = None if row.finished_at is None else timestamp(row.finished_at)
    return asdict(row) | {"started_at": timestamp(row.started_at), "finished_at": finished}


def last_failures(attempts: Iterable[AttemptRow]) -> dict[Host, AttemptRow]:
    """Return the last failed attempt of each host.

    Args:
        attempts: In the order in which they ended; later ones replace earlier ones.
    """
    return {(row.source, row.host): row for row in attempts if row.outcome == "error"}


def sources(health: Mapping[Host, Health], failures: Mapping[Host, AttemptRow]) -> dict[str, Any]:
    """Describe the health of each host, those with the most attempts first."""
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
    """Report the number of jobs in the text format of Prometheus."""
    lines = [
        "# HELP modelfetch_jobs Jobs of this server that have not ended.",
        "# TYPE modelfetch_jobs gauge",
        *(f'modelfetch_jobs{{status="{status}"}} {count}' for status, count in sorted(counts.items())),
    ]
    return "".join(f"{line}\n" for line in lines)


# Other processes


def elsewhere(workspace: Workspace) -> dict[str, Any]:
    """Describe the models that other processes fetch, with their progress; sorted by name."""
    held = _held_models(workspace)
    return {"runs": [run for name in held if (run := _run_elsewhere(workspace, name)) is not None]}


def _held_models(workspace: Workspace) -> list[str]:
    """Return the models with a holder file beside their lock: one listing instead of one look per model."""
    try:
        names = set(os.listdir(workspace.store.root / "locks"))  # noqa: PTH208 - pathlib is slow for thousands of names
    except OSError:
        return []
    return [name for name in workspace.catalog.names() if f"model-{name}.lock.holder" in names]


def _run_elsewhere(workspace: Workspace, name: str) -> dict[str, Any] | None:
    lock = workspace.store.lock_model(name)
    pid = lock.holder_pid()
    if pid is None or pid == os.getpid():  # it ended, or it is a job of this server
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

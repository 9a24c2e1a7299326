"""What is known and present, what is under way, and how much disk it takes."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from modelfetch import __version__
from modelfetch.engine.plan import Holdings, license_notice
from modelfetch.errors import ManifestError
from modelfetch.model.manifest import FileSpec, Manifest, is_permissive
from modelfetch.server.jobs import Known
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

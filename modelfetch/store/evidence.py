"""Reads the entries of quarantine, and gives their bytes back on request.

An entry is input: in a shared cache another user may have written it. Its ``reason.json`` is read up to a
limit and shown as it is. The path in it is used for one thing only: where the bytes of an entry of this user
go back. Bytes are given back under a free name only: no file is ever replaced by bytes that failed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.errors import StoreError, UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import quote, sanitize
from modelfetch.store.files import closing, is_regular, read_blocks, read_small
from modelfetch.store.survey import entry_time
from modelfetch.store.syscalls import is_owned
from modelfetch.store.temporary import temporary_name

if TYPE_CHECKING:
    from modelfetch.store.disk import Disk
    from modelfetch.store.layout import Layout

LIMIT: Final = 64 << 10
"""Bytes of the largest ``reason.json`` that is read; one of this program has some hundred."""

_ELSEWHERE: Final = "Name a place with --to FILE."


@dataclass(frozen=True, slots=True)
class Evidence:
    """One quarantine entry."""

    key: str
    """Name of its directory: the time, and the digest that was expected."""
    directory: Path
    at: float
    """When the bytes were moved here, in seconds since 1970."""
    size: int | None
    """Bytes of the data; None if there is none."""
    expected: str
    """The SHA-256 that was expected, in hexadecimal; empty for a file that no manifest listed."""
    actual: str
    """The SHA-256 of the bytes."""
    source: str
    """Their source: ``kind host``."""
    path: str
    """Where they were."""
    file: str
    """Path of the file in its model."""
    is_own: bool
    """Whether this user made the entry."""

    @property
    def digest(self) -> str:
        """The digest in the name of the directory, which identifies the entry: there is one for each."""
        return self.key.rpartition("-")[2]


def evidence(disk: Disk, layout: Layout) -> list[Evidence]:
    """Read all entries, oldest first; what has not the name of an entry is left out."""
    return [
        _read(disk, layout.quarantine / name)
        for name, is_below in disk.entries(layout.quarantine)
        if is_below and entry_time(name) is not None
    ]


def _read(disk: Disk, directory: Path) -> Evidence:
    facts = _reason(disk, directory)
    data, found = disk.lstat(directory / "data"), disk.lstat(directory)
    return Evidence(
        directory.name,
        directory,
        entry_time(directory.name) or 0.0,
        data.st_size if data is not None and is_regular(disk, directory / "data") else None,
        **{key: facts.get(key, "") for key in ("expected", "actual", "source", "path", "file")},
        is_own=found is not None and is_owned(found),
    )


def _reason(disk: Disk, directory: Path) -> dict[str, str]:
    try:
        facts = json.loads(read_small(disk, directory / "reason.json", LIMIT) or b"{}")
    except (StoreError, ValueError, RecursionError):
        return {}
    if not isinstance(facts, dict):
        return {}
    return {key: value for key, value in facts.items() if isinstance(value, str)}


def restore(disk: Disk, layout: Layout, entry: Evidence, target: Path | None) -> Path:
    """Give the bytes of an entry a name outside of quarantine, then remove the entry.

    Args:
        disk: The disk.
        layout: The cache.
        entry: The entry.
        target: An absolute path; None for the place where the bytes were.

    Returns:
        Their path.

    Raises:
        UsageError: They may not go there.
        StoreError: The disk refused.
    """
    if entry.size is None:
        raise UsageError(f"{entry.key} has no data", hint="Remove it with `modelfetch quarantine purge`.")
    place = _former_place(layout, entry) if target is None else target
    if not place.parent.is_dir():
        raise UsageError(f"{quote(str(place.parent))} is not a directory", hint=_ELSEWHERE)
    place = _below_root(layout, place)
    if place.is_relative_to(layout.root) and not _is_unlisted(layout, entry, place):
        raise UsageError(
            f"{quote(str(place))} is in the cache, which keeps verified bytes only", hint=_ELSEWHERE
        )
    disk.guard(layout.root if place.is_relative_to(layout.root) else place.parent)
    data = entry.directory / "data"
    is_new = disk.link_free(data, place)
    if is_new is False:
        is_new = _copy(disk, data, place)
    if not is_new:
        raise UsageError(f"{quote(str(place))} exists already", hint=_ELSEWHERE)
    disk.sync_directory(place.parent)  # the new name first, then the old one goes
    for name in ("data", "reason.json"):
        disk.unlink(entry.directory / name)
    disk.rmdir(entry.directory)
    return place


def _former_place(layout: Layout, entry: Evidence) -> Path:
    path = Path(entry.path)
    if not entry.is_own or not entry.path or not path.is_absolute() or ".." in path.parts:
        raise UsageError(f"where {sanitize(entry.key)} was is not known for certain", hint=_ELSEWHERE)
    if path.is_relative_to(layout.root) and not _is_unlisted(layout, entry, path):
        raise UsageError(
            f"{quote(entry.path)} cannot hold these bytes: they failed verification there", hint=_ELSEWHERE
        )
    return path


def _is_unlisted(layout: Layout, entry: Evidence, path: Path) -> bool:
    """Whether these bytes were a file that no manifest lists, and the path is in a model's directory."""
    is_inside = path.is_relative_to(layout.models) and len(path.relative_to(layout.models).parts) > 2
    return (
        not entry.expected and is_inside and path in (Path(entry.path), _below_root(layout, Path(entry.path)))
    )


def _below_root(layout: Layout, place: Path) -> Path:
    """Return a place in the cache as a path below its root, whatever links lead there; others unchanged.

    The root may be a link, and an entry may be of a run that named the same cache by another path.
    """
    try:
        root, parent = layout.root.resolve(), place.parent.resolve()
    except (OSError, ValueError, RuntimeError):  # RuntimeError: links in a circle, before Python 3.13
        return place
    return layout.root / parent.relative_to(root) / place.name if parent.is_relative_to(root) else place


def _copy(disk: Disk, data: Path, place: Path) -> bool:
    """Copy to another file system, under a temporary name first; whether the name was free."""
    temporary = place.with_name(temporary_name())
    try:
        with closing(disk, disk.create(temporary), temporary) as fd:
            offset = 0
            for block in read_blocks(disk, data):
                disk.pwrite(fd, temporary, block, offset)
                offset += len(block)
            disk.sync(fd, temporary)
        is_new = disk.link_free(temporary, place)
        if is_new is False and (is_new := disk.lstat(place) is None):
            disk.rename(temporary, place)
        return bool(is_new)
    finally:
        disk.unlink(temporary)

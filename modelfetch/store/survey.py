"""Surveys a cache: what it holds, how old that is, and which names lead to which inode. Nothing is written.

A policy decides by a survey what may go, and :mod:`modelfetch.store.reclaim` counts by its inodes what that
frees: a file with several names takes its space once, and frees it with the last name only.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.paths import DEPTH, why_bad_label, why_bad_name
from modelfetch.store.files import best_effort, is_directory, list_if_possible, report_left_alone
from modelfetch.store.layout import CHUNK_MAP_SUFFIX, is_digest
from modelfetch.store.usage import Inode, allocated, inode_of

if TYPE_CHECKING:
    from modelfetch.store.disk import Disk
    from modelfetch.store.layout import Layout
    from modelfetch.store.receipt import Receipt

_ENTRY: Final = re.compile(r"([0-9]{8}T[0-9]{6}\.[0-9]{6})Z-[0-9a-f]{64}")
"""Name of a quarantine entry: the time, and the digest that was expected."""


@dataclass(frozen=True, slots=True)
class HeldVersion:
    """One version of a model in the cache."""

    name: str
    label: str
    """Name of its directory."""
    receipt: Receipt | None
    """None if the version is not complete."""
    changed: float
    """Time of the latest change of its files, in seconds since 1970."""
    size: int
    """Bytes on the disk, each inode once; other versions may share them."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """A partial, a quarantine entry, or a blob that no model uses, or of which only the chunk map is left."""

    key: str
    """Its digest; of a quarantine entry the name."""
    changed: float
    """Time of its latest change, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a cache holds at one moment."""

    versions: tuple[HeldVersion, ...]
    partials: tuple[Leftover, ...]
    quarantined: tuple[Leftover, ...]
    unused: tuple[Leftover, ...]
    """Blobs that no receipt lists, and of which no model has a link or what may be a copy: of models that
    were never finished. Also the chunk maps of such blobs that are gone."""
    size: int
    """Bytes on the disk, each inode once, with directories."""
    names: Counter[Inode]
    """Names of each inode among the files of models."""
    links: dict[Inode, int]
    """Links of each inode that has a name among the files of models or blobs, wherever its others are."""
    digests: dict[Inode, str]
    """Digest of each inode that is a blob."""
    accessed: dict[Inode, int]
    """Access time of each blob, by inode, in nanoseconds since 1970. A run that copies a blob sets it."""
    copies: Counter[int]
    """By size, the files of incomplete versions that are no links: each may be a copy of a blob."""


def survey(disk: Disk, layout: Layout, receipts: Sequence[Receipt]) -> Survey:
    """Survey a cache.

    Args:
        disk: The disk.
        layout: The cache.
        receipts: All of its receipts.
    """
    with disk.reuse_directories(only_looks=True):
        return _Surveyor(disk, layout, receipts).survey()


class _Surveyor:
    def __init__(self, disk: Disk, layout: Layout, receipts: Sequence[Receipt]) -> None:
        self._disk = disk
        self._layout = layout
        self._receipts = {(receipt.name, receipt.label): receipt for receipt in receipts}
        self._sizes: dict[Inode, int] = {}
        self._names: Counter[Inode] = Counter()
        self._links: dict[Inode, int] = {}
        self._digests: dict[Inode, str] = {}
        self._accessed: dict[Inode, int] = {}
        self._copies: Counter[int] = Counter()

    def survey(self) -> Survey:
        versions = tuple(self._versions())
        partials = self._leftovers(self._layout.partials, is_digest)
        quarantined = self._leftovers(self._layout.quarantine, lambda name: bool(_ENTRY.fullmatch(name)))
        unused = (*self._blobs(), *self._chunk_maps())  # in this order: maps are compared with the blobs
        return Survey(
            versions,
            tuple(partials),
            tuple(Leftover(each.key, entry_time(each.key) or each.changed) for each in quarantined),
            unused,
            sum(self._sizes.values()),
            self._names,
            self._links,
            self._digests,
            self._accessed,
            self._copies,
        )

    def _versions(self) -> Iterator[HeldVersion]:
        for name in self._directories(self._layout.models):
            model = self._layout.models / name
            self._count(self._disk.lstat(model))
            if why_bad_name(name):
                continue
            entries = self._disk.names(model)
            for label in sorted({entry.removesuffix(".json") for entry in entries}):
                if not why_bad_label(label):
                    yield self._version(name, label)
            self._count(self._disk.lstat(self._layout.stamp(name)))

    def _version(self, name: str, label: str) -> HeldVersion:
        changed = 0.0
        receipt, held = self._layout.receipt(name, label), self._receipts.get((name, label))
        own = [*walk(self._disk, self._layout.version(name, label)), *walk(self._disk, receipt)]
        for path, found in own:
            self._count(found)
            changed = max(changed, found.st_mtime)
            if stat.S_ISREG(found.st_mode) and path != receipt:
                self._names[inode_of(found)] += 1
                self._links[inode_of(found)] = found.st_nlink
                self._copies[found.st_size] += held is None and found.st_nlink == 1
        size = sum({inode_of(found): allocated(found) for _, found in own}.values())
        return HeldVersion(name, label, held, changed, size)

    def _leftovers(self, directory: Path, is_one: Callable[[str], bool]) -> list[Leftover]:
        found = []
        for name in self._directories(directory):
            own = list(walk(self._disk, directory / name))
            for _, state in own:
                self._count(state)
            if is_one(name):
                # The directory's own time changes with the names in it, not with the bytes that arrive.
                found.append(Leftover(name, max((state.st_mtime for _, state in own), default=0.0)))
        return found

    def _blobs(self) -> Iterator[Leftover]:
        used = self._used()
        for prefix in self._directories(self._layout.blobs):
            for path, found in walk(self._disk, self._layout.blobs / prefix):
                self._count(found)
                if not is_digest(path.name) or not stat.S_ISREG(found.st_mode):
                    continue
                self._digests[inode_of(found)] = path.name
                self._accessed[inode_of(found)] = found.st_atime_ns
                # Also of a blob that no model uses yet: a further link is how a later use shows.
                self._links.setdefault(inode_of(found), found.st_nlink)
                is_placed = self._names[inode_of(found)] or self._copies[found.st_size]
                if path.name not in used and not is_placed:
                    # The ctime too: a link that another program made or removed is a use.
                    yield Leftover(path.name, max(found.st_mtime, found.st_ctime))

    def _used(self) -> set[str]:
        return {file.sha256 for receipt in self._receipts.values() for file in receipt.files}

    def _chunk_maps(self) -> Iterator[Leftover]:
        held = {*self._digests.values(), *self._used()}
        for prefix, is_below in list_if_possible(self._disk, self._layout.chunk_maps):
            for path, found in self._walk_if_possible(self._layout.chunk_maps / prefix) if is_below else ():
                self._count(found)
                digest = path.name.removesuffix(CHUNK_MAP_SUFFIX)
                if is_digest(digest) and path.name != digest and stat.S_ISREG(found.st_mode):
                    yield from [] if digest in held else [Leftover(digest, found.st_mtime)]

    def _walk_if_possible(self, path: Path) -> Iterator[tuple[Path, os.stat_result]]:
        """Walk a directory; one that is closed to this user is left out, as nothing depends on its maps."""
        with best_effort(self._disk):
            yield from walk(self._disk, path)

    def _directories(self, directory: Path) -> list[str]:
        if not is_directory(self._disk, directory):
            return []
        return [name for name, is_below in self._disk.entries(directory) if is_below]

    def _count(self, found: os.stat_result | None) -> None:
        if found is not None:
            self._sizes[inode_of(found)] = allocated(found)


def entry_time(name: str) -> float | None:
    """Return the time in the name of a quarantine entry, in seconds since 1970; None for another name."""
    match = _ENTRY.fullmatch(name)
    if match is None:
        return None
    try:
        at = datetime.strptime(match[1], "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)
    except ValueError:
        return None
    # The first and the last year cannot be shown in every time zone.
    return at.timestamp() if 1 < at.year < 9999 else None


def walk(disk: Disk, path: Path, depth: int = DEPTH) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield a path and everything below it with its status, directories after their content.

    Links are not followed. What is deeper than the paths of models may be is reported and left out.
    """
    found = disk.lstat(path)
    if found is None:
        return
    if stat.S_ISDIR(found.st_mode):
        if not depth:
            report_left_alone(disk, path)
            return
        for name in disk.names(path):
            yield from walk(disk, path / name, depth - 1)
    yield path, found

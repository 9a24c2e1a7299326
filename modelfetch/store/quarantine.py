"""Bytes that failed, put aside with the reason: evidence for a person, never a source.

Files in a model's directory that its manifest does not list: programs that load a directory read them.

They are found by name alone. Moved out at once are only those of a directory that has just become a
manifest's own, as an unfinished run of another leaves them; later ones are told, and wait for a person.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.errors import StoreError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.manifest import FileSpec
from modelfetch.model.paths import DEPTH, caseless
from modelfetch.store.files import (
    best_effort,
    closing,
    hash_file,
    is_directory,
    is_regular,
    is_same_file,
    make_directories,
    read_blocks,
    report_left_alone,
    write_private,
)
from modelfetch.store.temporary import is_old, is_temporary

if TYPE_CHECKING:
    from modelfetch.store.disk import Disk
    from modelfetch.store.layout import Layout
    from modelfetch.store.receipt import Receipt

UNLISTED: Final = "unlisted"
"""In place of who supplied the bytes, for a file in a model's directory that its manifest does not list."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """What was put aside."""

    directory: Path
    """Holds the bytes as ``data``, and ``reason.json``."""
    expected: str
    """The digest they should have had; empty for a file that no manifest lists."""
    actual: str
    """The one they have; both SHA-256 in hexadecimal."""
    source: str
    """Who supplied them: ``kind host``."""


class Quarantine:
    """The directory of failed bytes; at most one entry is kept for each expected digest."""

    def __init__(self, disk: Disk, layout: Layout) -> None:
        self._disk = disk
        self._layout = layout

    def move(self, path: Path, file: FileSpec, *, actual: str, source: str) -> Quarantined:
        """Put a file aside; its name is free afterwards.

        Raises:
            StoreError: The disk refused.
        """
        entry = self._open_entry(path, file, actual, source)
        self._disk.rename(path, entry.directory / "data")
        self._drop_others(entry)
        return entry

    def move_unlisted(self, path: Path, name: str, actual: str) -> Quarantined:
        """Put a file aside that no manifest lists, so that there is no digest it should have had.

        Raises:
            StoreError: The disk refused.
        """
        found = self._disk.lstat(path)
        file = FileSpec(name, found.st_size if found is not None else 0, actual)
        return replace(self.move(path, file, actual=actual, source=UNLISTED), expected="")

    def displace(self, path: Path, file: FileSpec, *, source: str) -> Quarantined | None:
        """Put aside what is about to be replaced; its name stays until the replacement takes it.

        Returns:
            What was put aside; None when there is nothing to keep: no file, the right bytes, or bytes that
            have another name, in quarantine or among the blobs.

        Raises:
            StoreError: The disk refused.
        """
        if not is_regular(self._disk, path) or self._is_kept(path, file.sha256):
            return None
        actual = hash_file(self._disk, path)
        if actual == file.sha256 or is_same_file(self._disk, self._layout.blob(actual), path):
            return None
        entry = self._open_entry(path, file, actual, source)
        data = entry.directory / "data"
        if not self._disk.link(path, data):
            self._copy(path, data)
        self._drop_others(entry)
        return entry

    def _open_entry(self, path: Path, file: FileSpec, actual: str, source: str) -> Quarantined:
        directory = self._new_directory(file.sha256)
        reason = {
            "format": 1,
            "expected": "" if source == UNLISTED else file.sha256,
            "actual": actual,
            "source": source,
            "path": str(path),
            "file": file.path,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_private(self._disk, directory / "reason.json", json.dumps(reason, indent=2).encode("ascii"))
        return Quarantined(directory, file.sha256, actual, source)

    def _new_directory(self, sha256: str) -> Path:
        make_directories(self._disk, self._layout.root, self._layout.quarantine, durable=False)
        while True:
            name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{sha256}"
            if self._disk.mkdir(self._layout.quarantine / name, 0o700):
                return self._layout.quarantine / name

    def _entries(self, sha256: str) -> list[Path]:
        names = self._disk.names(self._layout.quarantine)
        named = [self._layout.quarantine / name for name in names if name.endswith(f"-{sha256}")]
        return [path for path in named if self._is_entry(path)]

    def _is_entry(self, path: Path) -> bool:
        if is_directory(self._disk, path):
            return True
        report_left_alone(self._disk, path)
        return False

    def _is_kept(self, path: Path, sha256: str) -> bool:
        found = self._disk.lstat(path)
        for entry in self._entries(sha256):
            kept = self._disk.lstat(entry / "data")
            if found and kept and (found.st_dev, found.st_ino) == (kept.st_dev, kept.st_ino):
                return True
        return False

    def _drop_others(self, entry: Quarantined) -> None:
        """Remove older entries; those of other users may stay, and are no reason to fail."""
        for other in self._entries(entry.expected):
            if other != entry.directory and self._is_over(other):
                with best_effort(self._disk):
                    self._drop(other)

    def _is_over(self, entry: Path) -> bool:
        """Whether no other process is about to move bytes into it."""
        return self._disk.lstat(entry / "data") is not None or is_old(self._disk.lstat(entry))

    def _drop(self, entry: Path) -> None:
        for name in ("data", "reason.json"):
            self._disk.unlink(entry / name)
        self._disk.rmdir(entry)

    def _copy(self, path: Path, target: Path) -> None:
        with closing(self._disk, self._disk.create(target, 0o600), target) as fd:
            offset = 0
            for block in read_blocks(self._disk, path):
                self._disk.pwrite(fd, target, block, offset)
                offset += len(block)


class Unlisted:
    """Finds and moves out what does not belong to a model."""

    def __init__(self, disk: Disk, layout: Layout, quarantine: Quarantine) -> None:
        self._disk = disk
        self._layout = layout
        self._quarantine = quarantine

    def find(self, directory: Path, listed: Sequence[str]) -> list[str]:
        """Name what lies below a directory, links and devices too, and is not listed; sorted.

        Temporary files of this program are passed over: another process may be at work. Where names differ in
        case only and are one file, the spelling on the disk may be an older one; that file is listed.
        """
        found = list(self._below(directory, ""))
        strange = set(found) - set(listed)
        if not strange:
            return []
        respelled = {caseless(path): path for path in set(listed) - set(found)}
        return sorted(
            path for path in strange if not self._is_same(directory, path, respelled.get(caseless(path)))
        )

    def _is_same(self, directory: Path, path: str, listed: str | None) -> bool:
        """Whether the file system takes two spellings for one name."""
        if listed is None:
            return False
        return is_same_file(self._disk, directory / path, directory / listed)

    def _below(self, directory: Path, prefix: str, depth: int = DEPTH) -> Iterator[str]:
        """Every name that is not itself a directory, or lies deeper than a model's paths may be."""
        found = self._disk.lstat(directory)
        if found is None or not stat.S_ISDIR(found.st_mode):
            return
        for name, is_below in self._disk.entries(directory):
            if is_below and depth > 1:
                yield from self._below(directory / name, f"{prefix}{name}/", depth - 1)
            elif not is_temporary(name):
                yield f"{prefix}{name}"

    def move_out(self, receipt: Receipt) -> None:
        """Clear a directory, which has become that of a receipt, of all else; as far as permitted."""
        directory = self._layout.version(receipt.name, receipt.label)
        with suppress(StoreError):
            for path in self.find(directory, [file.path for file in receipt.files]):
                with suppress(StoreError):  # what cannot go, as of another user, keeps nothing else here
                    self.put_aside(directory, path)

    def put_aside(self, directory: Path, path: str) -> Quarantined | None:
        """Take one file out; bytes that are among the blobs need no second place, and a link has none."""
        target = directory / path
        kept = None
        if is_regular(self._disk, target):
            digest = hash_file(self._disk, target)
            if not is_same_file(self._disk, self._layout.blob(digest), target):
                kept = self._quarantine.move_unlisted(target, path, digest)
        if kept is None:
            self._disk.unlink(target)
        self._prune(target.parent, directory)
        return kept

    def _prune(self, directory: Path, top: Path) -> None:
        """Remove the directories that are empty now, up to the model's own."""
        while directory != top and self._disk.rmdir(directory):
            directory = directory.parent

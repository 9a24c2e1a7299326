"""Bytes that failed, put aside with the reason: evidence for a person, never a source."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from modelfetch.model.manifest import FileSpec
from modelfetch.store.disk import Disk
from modelfetch.store.files import (
    closing,
    hash_file,
    is_directory,
    is_plain,
    is_same_file,
    leave,
    leaving,
    make_directories,
    read_blocks,
    write_private,
)
from modelfetch.store.layout import Layout
from modelfetch.store.owner import is_old
from modelfetch.values import dataclass

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
        if not is_plain(self._disk, path) or self._is_kept(path, file.sha256):
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
        leave(self._disk, path)
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
                with leaving(self._disk):
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

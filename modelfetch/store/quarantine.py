"""Keeps wrong bytes with the reason, as evidence for a person; and moves unlisted files out of models.

A quarantine entry is never used as a source. It is a directory ``quarantine/<time>-<expected digest>`` with
the bytes as ``data`` and a ``reason.json``::

    {"format": 1, "expected": "3f...", "actual": "a0...", "source": "mirror a", "path": "/cache/blobs/...",
     "file": "model.onnx", "at": "2026-11-20T06:00:00+00:00"}

Unlisted files are files in a model's directory that its manifest does not name; a program that loads the
whole directory would read them. They are detected by name only. They are moved out when a directory has just
become a manifest's own, because an unfinished run of another manifest leaves such files. Files that appear
later are only reported, and a person decides about them.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.errors import StoreError
from modelfetch.lazy_dataclass import dataclass, replace
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
"""Stands for the source of a file in a model's directory that its manifest does not list."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A quarantine entry."""

    directory: Path
    """Holds the bytes as ``data``, and ``reason.json``."""
    expected: str
    """The SHA-256 that was expected, in hexadecimal; empty for a file that no manifest lists."""
    actual: str
    """The SHA-256 of the bytes."""
    source: str
    """Their source: ``kind host``."""


class Quarantine:
    """The quarantine directory; at most one entry is kept per expected digest."""

    def __init__(self, disk: Disk, layout: Layout) -> None:
        self._disk = disk
        self._layout = layout

    def move(self, path: Path, file: FileSpec, *, actual: str, source: str) -> Quarantined:
        """Move a file into quarantine; its name is free afterwards.

        Raises:
            StoreError: The disk refused.
        """
        entry = self._open_entry(path, file, actual, source)
        self._disk.rename(path, entry.directory / "data")
        self._drop_others(entry)  # last, so that a failure leaves the earlier evidence
        return entry

    def move_unlisted(self, path: Path, name: str, actual: str) -> Quarantined:
        """Move a file into quarantine that no manifest lists, so no digest was expected.

        Raises:
            StoreError: The disk refused.
        """
        found = self._disk.lstat(path)
        file = FileSpec(name, found.st_size if found is not None else 0, actual)
        return replace(self.move(path, file, actual=actual, source=UNLISTED), expected="")

    def displace(self, path: Path, file: FileSpec, *, source: str) -> Quarantined | None:
        """Quarantine a file that is about to be replaced; its name stays until the replacement takes it.

        Returns:
            The entry; None if there is nothing to keep: no file, the right bytes, or bytes that have another
            name, in quarantine or among the blobs.

        Raises:
            StoreError: The disk refused.
        """
        if not is_regular(self._disk, path) or self._is_kept(path, file.sha256):
            return None
        actual = hash_file(self._disk, path)
        if file.is_pinned(actual) or is_same_file(self._disk, self._layout.blob(actual), path):
            return None
        entry = self._open_entry(path, file, actual, source)
        data = entry.directory / "data"
        # A second name, not a rename: programs can open the first name until the replacement takes it.
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
        """Remove older entries; those of other users may stay, which is not a failure."""
        for other in self._entries(entry.expected):
            if other != entry.directory and self._is_finished(other):
                with best_effort(self._disk):
                    self._drop(other)

    def _is_finished(self, entry: Path) -> bool:
        """Whether an entry is finished: no other process is about to move bytes into it."""
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
    """Finds unlisted files in the directories of models, and moves them out."""

    def __init__(self, disk: Disk, layout: Layout, quarantine: Quarantine) -> None:
        self._disk = disk
        self._layout = layout
        self._quarantine = quarantine

    def find(self, directory: Path, listed: Sequence[str]) -> list[str]:
        """Return the unlisted paths below a directory, links and devices included; sorted.

        Temporary files of this program are skipped: another process may be writing them. On file systems that
        ignore case, the name on the disk may be an older spelling of a listed path; such a file is listed.
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
        """Whether the file system treats two spellings as one name."""
        if listed is None:
            return False
        return is_same_file(self._disk, directory / path, directory / listed)

    def _below(self, directory: Path, prefix: str, depth: int = DEPTH) -> Iterator[str]:
        """Every path that is not a directory, or is as deep as a model's paths may be."""
        found = self._disk.lstat(directory)
        if found is None or not stat.S_ISDIR(found.st_mode):
            return
        for name, is_below in self._disk.entries(directory):
            if is_below and depth > 1:
                yield from self._below(directory / name, f"{prefix}{name}/", depth - 1)
            elif not is_temporary(name):
                yield f"{prefix}{name}"

    def move_out(self, receipt: Receipt) -> None:
        """Move all unlisted files out of the directory of a new receipt, as far as permitted."""
        directory = self._layout.version(receipt.name, receipt.label)
        with suppress(StoreError):
            for path in self.find(directory, [file.path for file in receipt.files]):
                with suppress(StoreError):  # one file that cannot be moved must not keep the others here
                    self.put_aside(directory, path)

    def put_aside(self, directory: Path, path: str) -> Quarantined | None:
        """Move one file out; a link, or another name of a blob, is just removed: no bytes are lost."""
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
        """Remove directories that are empty now, up to the model's own, which stays."""
        while directory != top and self._disk.rmdir(directory):
            directory = directory.parent

"""The receipts on disk: reads them, compares them with the files, and writes one as the last step of a run.

A receipt is written only after the names of all files are on the disk, so a receipt that survives a power cut
never lists a file that did not. Also reads the records of warm runs (:func:`modelfetch.warm.count`).
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.errors import StoreError, UsageError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.text import sanitize
from modelfetch.store.files import is_directory, make_directories, read_small, write_atomically, write_new
from modelfetch.store.layout import Layout, inside, labels
from modelfetch.store.receipt import (
    LIMIT,
    Consulted,
    Receipt,
    ReceiptFile,
    Stamp,
    from_json,
    stamp_text,
    to_json,
)
from modelfetch.warm import HITS_LIMIT

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.store.chunk_maps import ChunkMaps
    from modelfetch.store.disk import Disk


class ReceiptError(StoreError):
    """Every file of a model is present and verified, but the receipt could not be written.

    Callers need not fail: the model can be used without a receipt, for example in a read-only cache.
    """


class Receipts:
    """The receipts of a cache.

    Args:
        disk: The disk.
        layout: The paths of the cache.
        chunk_maps: The chunk maps of the cache, for the CIDs in the receipts.
    """

    def __init__(self, disk: Disk, layout: Layout, chunk_maps: ChunkMaps) -> None:
        self._disk = disk
        self._layout = layout
        self._chunk_maps = chunk_maps
        self._known: dict[Path, tuple[Stamp, Receipt | None]] = {}
        """Receipts read so far, with the stamp of their file: one of thousands of files is slow to parse."""

    def has_model(self, name: str) -> bool:
        """Whether a model has a directory for its versions and receipts."""
        return self._disk.lstat(self._layout.model(name)) is not None

    def read(self, manifest: Manifest) -> Receipt | None:
        """Read a model's receipt; None when no readable receipt is for exactly these files."""
        # Most models of a list are absent: one look instead of one for each label, and no identity.
        if not self.has_model(manifest.name):
            return None
        identity = manifest.identity
        found = (self.at(manifest.name, label) for label in labels(manifest.version, identity))
        return next((each for each in found if each is not None and each.identity == identity), None)

    def at(self, name: str, label: str) -> Receipt | None:
        """Read the receipt of a directory, for whatever manifest; None when there is no readable one."""
        return self._read(self._layout.receipt(name, label))

    def all(self) -> Iterator[Receipt]:
        """Read all receipts, sorted by name and version."""
        for name in self._disk.names(self._layout.models):
            with suppress(UsageError):  # not the directory of a model
                if is_directory(self._disk, model := self._layout.model(name)):
                    yield from self._of(model)

    def _of(self, model: Path) -> Iterator[Receipt]:
        for entry in self._disk.names(model):
            found = self._read(model / entry) if entry.endswith(".json") else None
            if found is not None:
                yield found

    def _read(self, path: Path) -> Receipt | None:
        """Read a receipt whose name, version and identity match its path."""
        look = self._stamp(path)
        if look is None:
            return None
        known = self._known.get(path)
        if known is None or known[0] != look:
            content = read_small(self._disk, path, LIMIT)
            found = from_json(content) if content is not None else None
            self._known[path] = known = look, _if_path_matches(found, path)
        return known[1]

    def kept(self, manifest: Manifest, receipt: Receipt | None) -> dict[str, bool]:
        """Return for each path whether the file has the stamp of the receipt; reads no file."""
        stamps = {file.path: file.stamp for file in receipt.files} if receipt else {}
        label = receipt.label or receipt.version if receipt else ""
        with self._disk.reuse_directories():
            return {
                file.path: self._agrees(manifest, label, file, stamps.get(file.path))
                for file in manifest.files
            }

    def _agrees(self, manifest: Manifest, label: str, file: FileSpec, stamp: Stamp | None) -> bool:
        if stamp is None or stamp.size != file.size:
            return False
        return self._stamp(self._layout.file(manifest.name, label, file.path)) == stamp

    def placed(self) -> dict[str, list[Path]]:
        """Return the files of all models by their verified digest; they may have changed since."""
        found: dict[str, list[Path]] = {}
        for path, file in self.verified():
            found.setdefault(file.sha256, []).append(path)
        return found

    def verified(self) -> Iterator[tuple[Path, ReceiptFile]]:
        """Yield the path of each file of all receipts with its entry; the file may have changed since."""
        for receipt in self.all():
            for file in receipt.files:
                yield self._layout.file(receipt.name, receipt.label, file.path), file

    def _stamp(self, path: Path) -> Stamp | None:
        """Take the stamp of a regular file; None when there is none."""
        found = self._disk.lstat(path)
        return Stamp.of(found) if found is not None and stat.S_ISREG(found.st_mode) else None

    def write(
        self,
        manifest: Manifest,
        label: str,
        sources: Mapping[str, str],
        verified_at: Mapping[str, datetime],
        consulted: Sequence[Consulted],
        *,
        placed: bool,
    ) -> Receipt | None:
        """Write a receipt for a directory; see :meth:`modelfetch.store.Store.write_receipt`.

        Returns:
            The receipt; None if the directory belongs to another manifest by now.
        """
        try:
            files = self._files(manifest, label, sources, verified_at)
        except StoreError:
            if self._is_of_another(manifest, label):
                return None
            raise
        facts = (manifest.name, manifest.version, manifest.identity)
        receipt = Receipt(*facts, tuple(files), tuple(consulted), label)
        path = self._layout.receipt(manifest.name, label)
        # Names before the receipt. Without new names a failed sync is harmless: they were synced before.
        with nullcontext() if placed else suppress(StoreError):
            self._sync_names(manifest, label, path)
        try:
            return receipt if self._put(manifest, label, path, to_json(receipt)) else None
        except StoreError as error:
            raise ReceiptError(error.message, hint=error.hint) from error

    def _files(
        self,
        manifest: Manifest,
        label: str,
        sources: Mapping[str, str],
        verified_at: Mapping[str, datetime],
    ) -> list[ReceiptFile]:
        before = self.at(manifest.name, label)
        is_own = before is not None and before.identity == manifest.identity
        old = {file.path: file for file in before.files} if before is not None and is_own else {}
        if any(file.path not in verified_at and file.path not in old for file in manifest.files):
            raise StoreError(
                f"the receipt of {manifest.name} was removed by another process",
                hint="Try again: what is there is kept.",
            )
        with self._disk.reuse_directories():
            return [
                self._newly_verified(manifest, label, file, sources[file.path], verified_at[file.path])
                if file.path in verified_at
                else self._unchanged(manifest, label, file, old[file.path])
                for file in manifest.files
            ]

    def _put(self, manifest: Manifest, label: str, path: Path, content: bytes) -> bool:
        """Write the text, unless the directory belongs to another manifest; the first receipt decides.

        A free name is taken with a hard link, which fails if another process was faster. So of two processes
        without a lock exactly one gets the directory.
        """
        if self._disk.lstat(path) is None and write_new(self._disk, path, content):
            return True
        if self._is_of_another(manifest, label):
            return False
        write_atomically(self._disk, path, content, durable=True)
        return not self._is_of_another(manifest, label)

    def _is_of_another(self, manifest: Manifest, label: str) -> bool:
        found = self.at(manifest.name, label)
        return found is not None and found.identity != manifest.identity

    def note_ready(
        self, manifest: Manifest, consulted: Sequence[Consulted], circumstances: Sequence[str]
    ) -> None:
        """Write the stamp for the warm answer; see :meth:`modelfetch.store.Store.note_ready`."""
        receipt = self.read(manifest)
        path = self._layout.receipt(manifest.name, receipt.label) if receipt is not None else None
        look = self._stamp(path) if path is not None else None
        if receipt is None or path is None or look is None:
            return
        text = stamp_text(receipt, look, consulted, circumstances)
        target = self._layout.stamp(manifest.name)
        if text is not None and text != read_small(self._disk, target, LIMIT):
            write_atomically(self._disk, target, text, durable=False)

    def _newly_verified(
        self, manifest: Manifest, label: str, file: FileSpec, source: str, verified_at: datetime
    ) -> ReceiptFile:
        """Make the entry of a file that this run verified."""
        stamp = self._stamp(self._layout.file(manifest.name, label, file.path))
        if stamp is None or stamp.size != file.size:
            raise self._changed(manifest, label, file)
        # A small file's CID follows from its digest: thousands of them would only lengthen the receipt.
        # Nor is that of a map which was there: it is a hint, and a CID in a receipt is taken for a fact.
        cid = self._chunk_maps.written(file.sha256)
        return ReceiptFile(file.path, file.sha256, stamp, verified_at, source, cid)

    def _unchanged(self, manifest: Manifest, label: str, file: FileSpec, before: ReceiptFile) -> ReceiptFile:
        """Keep the entry of the previous receipt, if the file still has its stamp."""
        if not self._agrees(manifest, label, file, before.stamp):
            raise self._changed(manifest, label, file)
        return before

    def _changed(self, manifest: Manifest, label: str, file: FileSpec) -> StoreError:
        path = self._layout.file(manifest.name, label, file.path)
        return StoreError(
            f"{sanitize(str(path))} was changed by another program after it was verified",
            hint="Keep other programs from writing to the cache, then try again.",
        )

    def _sync_names(self, manifest: Manifest, label: str, receipt: Path) -> None:
        """Sync the name of every file before the receipt declares it present."""
        make_directories(self._disk, self._layout.root, receipt.parent, durable=True)
        version = self._layout.version(manifest.name, label)
        above = {file.path.rpartition("/")[0] for file in manifest.files}
        for directory in sorted(inside(version, path) if path else version for path in above):
            self._disk.sync_directory(directory)


def _if_path_matches(receipt: Receipt | None, path: Path) -> Receipt | None:
    """Return the receipt if its path matches its text; a copy under another name is ignored."""
    if receipt is None or receipt.name != path.parent.name:
        return None
    is_right = path.stem in labels(receipt.version, receipt.identity)
    return replace(receipt, label=path.stem) if is_right else None


_MOST: Final = HITS_LIMIT + 4096
"""Bytes read of one file. More than the limit, because the last line may extend beyond it."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A warm run: one that found a model present."""

    at: datetime
    model: str
    directory: str
    """Name of the model's directory: its version, with its identity if another model had that name first."""


def read_hits(disk: Disk, layout: Layout) -> list[Hit]:
    """Read the records of warm runs, oldest first; lines of another form are skipped."""
    found: list[Hit] = []
    for path in layout.hits():
        with suppress(StoreError):
            content = read_small(disk, path, _MOST) or b""
            found += _parsed(content.decode("utf-8", "replace"))
    return found


def forget_hits(disk: Disk, layout: Layout) -> None:
    """Delete the records of warm runs.

    Raises:
        StoreError: The disk refused.
    """
    for path in layout.hits():
        disk.unlink(path)


def _parsed(text: str) -> Iterator[Hit]:
    for line in text.splitlines():
        seconds, _, path = line.partition(" ")
        model, _, directory = path.partition("/")
        if directory and seconds.isascii() and seconds.isdecimal() and len(seconds) < 12:
            yield Hit(datetime.fromtimestamp(int(seconds), UTC), model, directory)

"""The receipts on disk: reading them, comparing them with the files, writing one when all else is done."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from datetime import datetime
from pathlib import Path

from modelfetch.errors import StoreError, UsageError
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.model.text import sanitise
from modelfetch.store.disk import Disk
from modelfetch.store.files import make_directories, read_small, write_atomically
from modelfetch.store.layout import Layout
from modelfetch.store.ready import stamp_text
from modelfetch.store.receipt import LIMIT, Consulted, Receipt, ReceiptFile, Stamp, from_json, to_json


class ReceiptError(StoreError):
    """Every file of a model is there and verified, and only that could not be written down.

    No reason to fail: reading never needs writing.
    """


class Receipts:
    """What is known to be present in a cache."""

    def __init__(self, disk: Disk, layout: Layout) -> None:
        self._disk = disk
        self._layout = layout

    def read(self, manifest: Manifest) -> Receipt | None:
        """Read a model's receipt; None when there is none for exactly these files that can be read."""
        found = self._read(self._layout.receipt(manifest.name, manifest.version))
        return found if found is not None and found.identity == manifest.identity else None

    def all(self) -> Iterator[Receipt]:
        """Read the receipts of everything present, in the order of names and versions."""
        for name in self._disk.names(self._layout.models):
            with suppress(UsageError):  # not the directory of a model
                yield from self._of(self._layout.model(name))

    def _of(self, model: Path) -> Iterator[Receipt]:
        for entry in self._disk.names(model):
            found = self._read(model / entry) if entry.endswith(".json") else None
            if found is not None:
                yield found

    def _read(self, path: Path) -> Receipt | None:
        """Read a receipt that speaks of the model and version its path names."""
        content = read_small(self._disk, path, LIMIT)
        found = from_json(content) if content is not None else None
        names = (path.parent.name, path.stem)
        return found if found is not None and (found.name, found.version) == names else None

    def kept(self, manifest: Manifest, receipt: Receipt | None) -> dict[str, bool]:
        """Say of each file, by path, whether it looks as it did when it was verified. Nothing is read."""
        stamps = {file.path: file.stamp for file in receipt.files} if receipt else {}
        return {file.path: self._agrees(manifest, file, stamps.get(file.path)) for file in manifest.files}

    def _agrees(self, manifest: Manifest, file: FileSpec, stamp: Stamp | None) -> bool:
        if stamp is None or stamp.size != file.size:
            return False
        return self._stamp(self._layout.file(manifest.name, manifest.version, file.path)) == stamp

    def placed(self) -> dict[str, list[Path]]:
        """Find the files of all models, by the digest they were verified to have; they may have changed."""
        found: dict[str, list[Path]] = {}
        for receipt in self.all():
            for file in receipt.files:
                path = self._layout.file(receipt.name, receipt.version, file.path)
                found.setdefault(file.sha256, []).append(path)
        return found

    def _stamp(self, path: Path) -> Stamp | None:
        """Look at a plain file; None when there is none."""
        found = self._disk.lstat(path)
        return Stamp.of(found) if found is not None and stat.S_ISREG(found.st_mode) else None

    def write(
        self,
        manifest: Manifest,
        sources: Mapping[str, str],
        verified_at: Mapping[str, datetime],
        consulted: Sequence[Consulted],
        *,
        placed: bool,
    ) -> Receipt:
        """Write a receipt; see :meth:`modelfetch.store.Store.write_receipt`."""
        before = self.read(manifest)
        old = {file.path: file for file in before.files} if before else {}
        files = [
            self._renewed(manifest, file, sources[file.path], verified_at[file.path])
            if file.path in verified_at
            else self._still(manifest, file, old[file.path])
            for file in manifest.files
        ]
        receipt = Receipt(manifest.name, manifest.version, manifest.identity, tuple(files), tuple(consulted))
        path = self._layout.receipt(manifest.name, manifest.version)
        with nullcontext() if placed else suppress(StoreError):
            self._settle(manifest, path)
        try:
            write_atomically(self._disk, path, to_json(receipt), durable=True)
        except StoreError as error:
            raise ReceiptError(error.message, hint=error.hint) from error
        return receipt

    def note_ready(
        self, manifest: Manifest, consulted: Sequence[Consulted], circumstances: Sequence[str]
    ) -> None:
        """Write the stamp for the warm answer; see :meth:`modelfetch.store.Store.note_ready`."""
        receipt, path = self.read(manifest), self._layout.receipt(manifest.name, manifest.version)
        look = self._stamp(path)
        if receipt is None or look is None:
            return
        directory = self._layout.version(manifest.name, manifest.version)
        text = stamp_text(directory, (path, look), receipt, consulted, circumstances)
        target = self._layout.stamp(manifest.name)
        if text is not None and text != read_small(self._disk, target, LIMIT):
            write_atomically(self._disk, target, text, durable=False)

    def _renewed(self, manifest: Manifest, file: FileSpec, source: str, verified_at: datetime) -> ReceiptFile:
        """State that a file was verified just now."""
        stamp = self._stamp(self._layout.file(manifest.name, manifest.version, file.path))
        if stamp is None or stamp.size != file.size:
            raise self._changed(manifest, file)
        return ReceiptFile(file.path, file.sha256, stamp, verified_at, source)

    def _still(self, manifest: Manifest, file: FileSpec, before: ReceiptFile) -> ReceiptFile:
        """State again what the receipt before said, if the file still looks like it."""
        if not self._agrees(manifest, file, before.stamp):
            raise self._changed(manifest, file)
        return before

    def _changed(self, manifest: Manifest, file: FileSpec) -> StoreError:
        path = self._layout.file(manifest.name, manifest.version, file.path)
        return StoreError(
            f"{sanitise(str(path))} was changed by something else after it was verified",
            hint="Keep other programs from writing to the cache, then run the command again.",
        )

    def _settle(self, manifest: Manifest, receipt: Path) -> None:
        """Have every file's name on the disk before the receipt says that it is there."""
        make_directories(self._disk, self._layout.root, receipt.parent, durable=True)
        paths = (self._layout.file(manifest.name, manifest.version, file.path) for file in manifest.files)
        for directory in sorted({path.parent for path in paths}):
            self._disk.sync_directory(directory)

"""The cache on disk: the one object through which everything below its root is written.

What only looks is in :mod:`modelfetch.store.contents`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.errors import IntegrityError, StoreError
from modelfetch.store.contents import Contents
from modelfetch.store.disk import Disk
from modelfetch.store.files import is_same_file, make_directories, write_atomically
from modelfetch.store.group_commit import GroupCommit
from modelfetch.store.hashing import Hashing
from modelfetch.store.layout import inside
from modelfetch.store.linking import ForeignDirectory, Placed, install, place_free
from modelfetch.store.partial_slots import clear
from modelfetch.store.receipt_store import forget_hits
from modelfetch.store.remove import Removal, Remover
from modelfetch.store.resume import Opening
from modelfetch.store.sweep import sweep

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.notices import Notices
    from modelfetch.store.partial import Partial
    from modelfetch.store.quarantine import Quarantined
    from modelfetch.store.receipt import Consulted, Receipt


class Store(Contents):
    """A cache. Its methods may be called from several threads and processes at once.

    All of them raise :class:`~modelfetch.errors.StoreError` when the disk refuses, naming the path.

    Attributes:
        root: Where it lies; absolute.
        guest: Places files in the directories of other programs.
    """

    def __init__(
        self,
        root: Path,
        *,
        fsync: bool = True,
        disk: Disk | None = None,
        hashing: Hashing | None = None,
        notices: Notices | None = None,
    ) -> None:
        """Open a cache; nothing is created before something is stored.

        Args:
            root: Where it lies, or is to lie.
            fsync: Whether what is stored must survive a power cut. Without it, one can leave zeros under a
                final name.
            disk: The disk, instead of the real one; then ``fsync`` is its own affair.
            hashing: Threads that hash what is fetched, instead of the usual ones.
            notices: Who is told of what is left alone, and of what the file system cannot do; with a ``disk``
                of its own, that one's are.
        """
        super().__init__(root, disk or Disk(fsync=fsync, notices=notices))
        self._hashing = hashing or Hashing()
        self.guest = ForeignDirectory(self._disk, self._layout, self._directories)

    # Storing

    def claim(self, manifest: Manifest, *, exclusive: bool) -> None:
        """Decide which directory a model gets in this run.

        Args:
            manifest: The model.
            exclusive: Whether its lock is held and :attr:`~modelfetch.store.locks.Lock.effective`. Otherwise
                no file is replaced that another process may be about to make its own.
        """
        self._directories.claim(manifest, exclusive=exclusive)

    def partial(
        self, file: FileSpec, exclusive: bool, cancelled: Callable[[], bool] = lambda: False
    ) -> Partial:
        """Open the download of a file, with all bytes of earlier runs; what is not good of them goes later.

        Args:
            file: The file.
            exclusive: Whether the blob's lock is held and :attr:`~modelfetch.store.locks.Lock.effective`.
            cancelled: Asked between blocks while earlier bytes are copied, where they cannot be taken over.
                Once it says yes the partial opens without any; on disk nothing is lost.
        """
        opening = Opening(self._disk, file, self._hashing, exclusive, cancelled)
        return opening.open(self.root, self._layout.partial(file.sha256))

    def forget_partial(self, file: FileSpec, exclusive: bool) -> None:
        """Remove what interrupted downloads of a file left: its blob is there and right. Best effort.

        Args:
            file: The file.
            exclusive: As for :meth:`partial`.
        """
        clear(self._disk, self._layout.partial(file.sha256), exclusive=exclusive)

    def commit(self, partial: Partial, *, displaced_source: str = "") -> Placed:
        """Give a finished download its final name among the blobs.

        Args:
            partial: Complete, with the right digest; closed afterwards.
            displaced_source: Who supplied the blob that has the name, if there is one and its bytes are
                wrong: they are then put into quarantine first. Empty to drop them.

        Raises:
            IntegrityError: The bytes are not all there, or not the right ones; nothing was changed.
        """
        _require_complete(partial)
        with self._disk.reuse_directories():
            return self._commit(partial, displaced_source)

    def _commit(self, partial: Partial, displaced_source: str) -> Placed:
        blob = self._layout.blob(partial.file.sha256)
        make_directories(self._disk, self.root, blob.parent, durable=True)
        partial.seal()
        quarantined = self._displace(blob, partial.file, displaced_source)
        partial.release()
        partial.rename(blob)
        self._disk.sync_directory(blob.parent)
        partial.forget()
        return Placed(blob, quarantined)

    def group(self) -> GroupCommit:
        """Begin to store small files together.

        Raises:
            StoreError: The disk refused.
        """
        return GroupCommit(self._disk, self._layout, self._directories)

    def place(self, manifest: Manifest, file: FileSpec, quarantine_source: str | None = None) -> Placed:
        """Put a verified blob where programs open it; a power cut may undo that until the receipt is written.

        Args:
            manifest: The model.
            file: One of its files; the blob is there and was verified.
            quarantine_source: Who supplied the file that has the name, if there is one and its bytes are
                wrong: they are then put into quarantine first. None or empty to drop them.
        """
        with self._disk.reuse_directories():
            return self._place_in(manifest, file, quarantine_source)

    def _place_in(self, manifest: Manifest, file: FileSpec, quarantine_source: str | None) -> Placed:
        blob = self._layout.blob(file.sha256)
        while True:
            label = self._directories.label(manifest)
            target = self._layout.file(manifest.name, label, file.path)
            if self._directories.replaces(manifest):
                return self._place(self.root, blob, target, file, quarantine_source)
            make_directories(self._disk, self.root, target.parent, durable=True)
            if place_free(self._disk, blob, target, file):
                return Placed(target)
            self._directories.move_on(manifest, label)

    def place_into(
        self,
        directory: Path,
        manifest: Manifest,
        file: FileSpec,
        quarantine_source: str | None = None,
        *,
        path: str = "",
    ) -> Placed:
        """Put a verified file of a model into a directory outside the cache, at its path below it.

        Args:
            directory: Made when missing. Links on the way to it are followed, links below it are refused.
            manifest: The model; its file stands in where the blob is gone.
            file: One of its files.
            quarantine_source: As for :meth:`place`.
            path: Where it goes below the directory, if not at its own path.
        """
        top = directory.absolute()
        self._disk.guard(top)
        held = self.find_blob(file) or inside(self.directory(manifest), file.path)
        placed = self._place(top, held, inside(top, path or file.path), file, quarantine_source)
        self._disk.sync_directory(placed.path.parent)
        return placed

    def note_into(self, directory: Path, path: str, text: str) -> None:
        """Write a small file into a directory outside the cache, unless one of that name is there."""
        top = directory.absolute()
        self._disk.guard(top)
        target = inside(top, path)
        make_directories(self._disk, top, target.parent, durable=True)
        if self._disk.lstat(target) is None:
            write_atomically(self._disk, target, text.encode(), durable=True)

    def write_receipt(
        self,
        manifest: Manifest,
        sources: Mapping[str, str],
        verified_at: Mapping[str, datetime],
        consulted: Sequence[Consulted] = (),
        *,
        placed: bool = True,
    ) -> Receipt:
        """Write down that a model is there: after all of its files, and so that it survives a power cut.

        With that the directory is the manifest's for good: files of others that lie there are moved out.
        Where another process made it its own meanwhile, the files are placed in the next directory instead.

        Args:
            manifest: The model; every file is placed and verified.
            sources: By path, who supplied each file verified since the receipt before: ``kind host``.
            verified_at: By path, when that was, with a time zone. For a file left out the receipt before
                speaks on, if the file still looks as it did.
            consulted: Catalog and config files that had a say.
            placed: Whether any file got its name since the receipt before; if so, names must be safe first.

        Raises:
            ReceiptError: Only the receipt could not be written.
        """
        is_new = self.receipt(manifest) is None
        receipt = None
        while receipt is None:
            label = self._final_label(manifest)
            receipt = self._receipts.write(manifest, label, sources, verified_at, consulted, placed=placed)
            if receipt is None:
                self._directories.move_on(manifest, label)
        left = self._directories.settled(manifest)
        if is_new:
            self._unlisted.move_out(receipt)
        for receipt_of_another in filter(None, (self._receipts.at(manifest.name, other) for other in left)):
            self._unlisted.move_out(receipt_of_another)
        return receipt

    def note_ready(
        self, manifest: Manifest, consulted: Sequence[Consulted], circumstances: Sequence[str]
    ) -> None:
        """Note the facts by which :mod:`modelfetch.warm` can tell that a model is still there.

        Safe to lose, so a disk that refuses is no failure. A stamp that says the same is left alone.

        Args:
            manifest: A model whose receipt agrees with its files.
            consulted: Catalog and config files that had a say in this run.
            circumstances: :func:`modelfetch.warm.circumstances` of this run.
        """
        with suppress(StoreError):
            self._receipts.note_ready(manifest, consulted, circumstances)

    # Taking away

    def forget_hits(self) -> None:
        """Forget those runs.

        Raises:
            StoreError: The disk refused.
        """
        forget_hits(self._disk, self._layout)

    def quarantine(self, path: Path, file: FileSpec, *, actual: str, source: str) -> Path:
        """Move wrong bytes aside, with the reason; an earlier entry for the same digest goes.

        Args:
            path: The file; its name is free afterwards. To keep the name until a replacement takes it, let
                :meth:`commit` or :meth:`place` put the bytes aside.
            file: What it should have been.
            actual: The SHA-256 it has, in hexadecimal.
            source: Who supplied it: ``kind host``.

        Returns:
            The directory that holds the bytes and ``reason.json``.
        """
        return self._quarantine.move(path, file, actual=actual, source=source).directory

    def quarantine_unlisted(self, manifest: Manifest, path: str) -> Quarantined | None:
        """Take a file out of a model's directory that its manifest does not list; see :meth:`unlisted`.

        Returns:
            Where its bytes were put; None where nothing was worth keeping: a link, or bytes among the blobs.
        """
        return self._unlisted.put_aside(self.directory(manifest), path)

    def quarantine_partial(self, partial: Partial, *, actual: str, source: str) -> Path:
        """Move a finished download with the wrong digest aside; the partial begins again, in a new file.

        The arguments and the result are those of :meth:`quarantine`.
        """
        directory = self.quarantine(partial.release(), partial.file, actual=actual, source=source)
        partial.renew()
        return directory

    def remove(
        self,
        name: str,
        files: Collection[FileSpec] = (),
        *,
        version: str | None = None,
        dry_run: bool = False,
    ) -> Removal:
        """Remove a model: its receipt first, then its files, then blobs and partials no other model uses.

        Args:
            name: The model's name.
            files: What its manifest lists, if known: an unfinished download has no receipt that would tell.
            version: One version; None for all of them.
            dry_run: Only say what would be removed.

        Raises:
            LockTimeoutError: Another process is at work on the model.
        """
        remover = Remover(self._disk, self._layout, name, self.receipts())
        return remover.remove(version, [file.sha256 for file in files], dry_run=dry_run)

    def sweep(self, *, thorough: bool = True) -> tuple[Path, ...]:
        """Remove what killed and failed runs left: temporary files, locks, and downloads of no use.

        Best effort. What a process may be at work on stays, and so do bytes that a later run can use.

        Args:
            thorough: Whether to look into the versions of models as well, which takes a look at each file.

        Returns:
            What was removed.
        """
        return sweep(self._disk, self._layout, thorough=thorough)

    def _final_label(self, manifest: Manifest) -> str:
        """Name the directory that has every file; what was placed in one left to others is placed again."""
        label = self._directories.label(manifest)
        while self._directories.has_moved(manifest):
            for file in manifest.files:
                self.place(manifest, file)
            before, label = label, self._directories.label(manifest)
            if label == before:  # else another was faster there, too
                break
        return label

    def _place(self, root: Path, held: Path, target: Path, file: FileSpec, source: str | None) -> Placed:
        make_directories(self._disk, root, target.parent, durable=True)
        if is_same_file(self._disk, held, target):
            return Placed(target)
        quarantined = self._displace(target, file, source)
        install(self._disk, held, target, file)
        return Placed(target, quarantined)

    def _displace(self, path: Path, file: FileSpec, source: str | None) -> Quarantined | None:
        return self._quarantine.displace(path, file, source=source) if source else None


def _require_complete(partial: Partial) -> None:
    file = partial.file
    if partial.length != file.size or partial.digest() != file.sha256:
        raise IntegrityError(
            f"{file.path}: {partial.length} of {file.size} bytes, SHA-256 {partial.digest()} "
            f"instead of {file.sha256}"
        )

"""The cache on disk: the one object through which everything below its root is written."""

from __future__ import annotations

import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from modelfetch.errors import IntegrityError, StoreError
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.notices import Notices
from modelfetch.store.directories import Directories
from modelfetch.store.disk import Disk
from modelfetch.store.files import hash_file, is_same_file, make_directories, read_blocks, write_atomically
from modelfetch.store.group import Group
from modelfetch.store.guest import Guest
from modelfetch.store.handles import HANDLES
from modelfetch.store.hashing import Hashing
from modelfetch.store.hits import Hit, forget_hits, read_hits
from modelfetch.store.journal import parse
from modelfetch.store.layout import Layout, inside, is_digest
from modelfetch.store.locks import Lock
from modelfetch.store.partial import Partial
from modelfetch.store.place import Placed, install, place_free
from modelfetch.store.quarantine import Quarantine, Quarantined
from modelfetch.store.receipt import Consulted, Receipt, Stamp
from modelfetch.store.receipts import Receipts
from modelfetch.store.remove import Removal, Remover
from modelfetch.store.resume import Opening
from modelfetch.store.slots import clear, read_journal, slots
from modelfetch.store.space import free_space, require_space, require_writable, share_file_system
from modelfetch.store.sweep import sweep
from modelfetch.store.unlisted import Unlisted


class Store:
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
        self.root = root.absolute()
        self._disk = disk or Disk(fsync=fsync, notices=notices)
        self._disk.guard(self.root)
        self._hashing = hashing or Hashing()
        self._layout = Layout(self.root)
        self._receipts = Receipts(self._disk, self._layout)
        self._directories = Directories(self._layout, self._receipts)
        self._quarantine = Quarantine(self._disk, self._layout)
        self._unlisted = Unlisted(self._disk, self._layout, self._quarantine)
        self.guest = Guest(self._disk, self._layout, self._directories)

    @property
    def notices(self) -> Notices:
        """What is left alone, and what the file system cannot do: lines for people."""
        return self._disk.notices

    def close(self) -> None:
        """Let go of the directories that are held open; the store may be used on."""
        HANDLES.drop()

    # Looking

    def directory(self, manifest: Manifest) -> Path:
        """Say where a model's files lie, or would: in the directory that is this manifest's and no other's.

        ``models/<name>/<version>`` belongs to the first manifest that was verified there; another one of the
        same name and version has ``models/<name>/<version>+<identity>``.
        """
        return self._directories.path(manifest)

    def blob_path(self, sha256: str) -> Path:
        """Say where the verified bytes of a digest lie, or would."""
        return self._layout.blob(sha256)

    def find_blob(self, file: FileSpec) -> Path | None:
        """Find stored bytes of the right length; whether they are still the right ones is not looked at."""
        path = self._layout.blob(file.sha256)
        return path if self.size_of(path) == file.size else None

    def is_filled(self, manifest: Manifest, file: FileSpec) -> bool:
        """Whether a file of a model has its place, and the right length; its bytes are not looked at."""
        directory = self.directory(manifest)  # of most models that miss a file there is none
        return self._disk.lstat(directory) is not None and self.size_of(directory / file.path) == file.size

    def receipt(self, manifest: Manifest) -> Receipt | None:
        """Read a model's receipt; None when there is none for exactly these files that can be read."""
        return self._receipts.read(manifest)

    def receipts(self) -> Iterator[Receipt]:
        """Read the receipts of everything present, in the order of names and versions."""
        return self._receipts.all()

    def hits(self) -> list[Hit]:
        """The latest runs that found a model there, the oldest first; see :func:`modelfetch.warm.count`."""
        return read_hits(self._disk, self._layout)

    def forget_hits(self) -> None:
        """Forget those runs.

        Raises:
            StoreError: The disk refused.
        """
        forget_hits(self._disk, self._layout)

    def placed(self) -> dict[str, list[Path]]:
        """Find the files of all present models, by the digest they had when they were verified."""
        return self._receipts.placed()

    def is_proven(self, manifest: Manifest) -> bool:
        """Whether a model that has a receipt is there by the digests of all of its files; each is read.

        For a cache that was copied or unpacked, and may be read-only: its files look other than they did when
        the receipt was written.
        """
        if self.receipt(manifest) is None:
            return False
        directory = self.directory(manifest)
        paths = [(file, directory / file.path) for file in manifest.files]
        return all(self.size_of(path) == file.size for file, path in paths) and all(
            hash_file(self._disk, path) == file.sha256 for file, path in paths
        )

    def kept(self, manifest: Manifest, receipt: Receipt | None) -> dict[str, bool]:
        """Say of each file, by path, whether it looks as it did when it was verified. Nothing is read."""
        return self._receipts.kept(manifest, receipt)

    def begun(self) -> frozenset[str]:
        """Name the digests of all downloads that were begun and not finished."""
        return frozenset(filter(is_digest, self._disk.names(self._layout.partials)))

    def held(self, file: FileSpec) -> int:
        """Count the bytes an interrupted download claims to have. Nothing is checked or written."""
        found = slots(self._disk, self._layout.partial(file.sha256))
        journals = (parse(read_journal(self._disk, slot), file) for slot in found)
        return max((journal.claimed for journal in journals), default=0)

    def size_of(self, path: Path) -> int | None:
        """Look up the bytes of a plain file; None when no plain file has that name."""
        found = self._disk.lstat(path)
        return found.st_size if found is not None and stat.S_ISREG(found.st_mode) else None

    def read(self, path: Path) -> Iterator[memoryview]:
        """Read a plain file, a mebibyte at a time, each valid until the next; a link is not followed."""
        return read_blocks(self._disk, path)

    def consult(self, path: Path) -> Consulted:
        """Look at a catalog or config file, through links, for the receipt; best before it is read."""
        try:
            found = self._disk.stat(path)
        except StoreError:  # in a directory that this user may not enter: then there is none
            found = None
        return Consulted(path.absolute(), Stamp.of(found) if found is not None else None)

    def free_space(self) -> int | None:
        """Count the bytes that can still be written to the cache; None when the file system does not say."""
        return free_space(self._disk, self.root)

    def check_space(self, needed: int) -> None:
        """Make sure, before the first byte, that there is room for a number of bytes.

        Raises:
            StoreError: There is not; the message says how much is needed and how much is free.
        """
        require_space(self._disk, self.root, needed)

    def check_writable(self) -> None:
        """Make sure, before the first request, that what comes can be written down. Nothing is written.

        Raises:
            StoreError: It cannot.
        """
        require_writable(self._disk, self._layout.partials)

    def can_link_into(self, directory: Path) -> bool:
        """Whether a directory, there or not yet, shares the cache's file system: placing takes no space."""
        return share_file_system(self._disk, self.root, directory.absolute())

    def unlisted(self, manifest: Manifest) -> list[str]:
        """Name what lies in a model's directory and is no file of its manifest; directory loaders read it."""
        return self._unlisted.find(self.directory(manifest), [file.path for file in manifest.files])

    # Locks

    def lock_model(self, name: str) -> Lock:
        """Make the lock of a model, not yet taken."""
        return Lock(self._disk, self.root, self._layout.model_lock(name))

    def lock_blob(self, sha256: str) -> Lock:
        """Make the lock of a digest, not yet taken."""
        return Lock(self._disk, self.root, self._layout.blob_lock(sha256))

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
        blob = self._layout.blob(partial.file.sha256)
        make_directories(self._disk, self.root, blob.parent, durable=True)
        partial.seal()
        quarantined = self._displace(blob, partial.file, displaced_source)
        partial.release()
        partial.rename(blob)
        self._disk.sync_directory(blob.parent)
        partial.forget()
        return Placed(blob, quarantined)

    def group(self) -> Group:
        """Begin to store small files together.

        Raises:
            StoreError: The disk refused.
        """
        return Group(self._disk, self._layout, self._directories)

    def place(self, manifest: Manifest, file: FileSpec, quarantine_source: str | None = None) -> Placed:
        """Put a verified blob where programs open it; a power cut may undo that until the receipt is written.

        Args:
            manifest: The model.
            file: One of its files; the blob is there and was verified.
            quarantine_source: Who supplied the file that has the name, if there is one and its bytes are
                wrong: they are then put into quarantine first. None or empty to drop them.
        """
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
            label = self._placed_under(manifest)
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

    def _placed_under(self, manifest: Manifest) -> str:
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

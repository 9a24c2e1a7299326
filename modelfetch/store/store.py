"""The cache on disk: the object through which everything below its root is written.

Operations that only read are in the base class, :mod:`modelfetch.store.contents`. A model is stored in this
order, so that a crash at any point leaves either the old state or a complete new file::

    store.partial(file, ...)     # write the bytes; they survive as a partial
    store.commit(partial)        # sync them, then rename them to their blob
    store.place(manifest, file)  # link the blob into the model's directory
    store.write_receipt(...)     # sync the names, then declare the model present
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.errors import StoreError
from modelfetch.lazy_dataclass import replace
from modelfetch.store.contents import Contents
from modelfetch.store.disk import Disk
from modelfetch.store.files import make_directories, write_atomically
from modelfetch.store.layout import inside
from modelfetch.store.linking import ForeignDirectory, Placed
from modelfetch.store.placement import Placement
from modelfetch.store.receipt_store import forget_hits
from modelfetch.store.time_marks import begin_upkeep, note_use

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.notices import Notices
    from modelfetch.settings.values import ChunkMapMode
    from modelfetch.store.evidence import Evidence
    from modelfetch.store.group_commit import GroupCommit
    from modelfetch.store.hashing import Hashing
    from modelfetch.store.intake import Intake
    from modelfetch.store.partial import Partial
    from modelfetch.store.quarantine import Quarantined
    from modelfetch.store.receipt import Consulted, Receipt
    from modelfetch.store.reclaim import Reclaimer
    from modelfetch.store.remove import Removal
    from modelfetch.store.staging import Staging
    from modelfetch.store.survey import Survey


class Store(Contents):
    """A cache. Several threads and processes may call its methods at the same time.

    All methods raise :class:`~modelfetch.errors.StoreError`, naming the path, when a disk operation fails.

    Attributes:
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
        chunk_maps: ChunkMapMode = "never",
    ) -> None:
        """Open a cache; nothing is created before something is stored.

        Args:
            root: The cache's directory; need not exist.
            fsync: Whether stored files must survive a power cut. Without it, a power cut can leave zeros
                under a final name.
            disk: Replaces the real disk; ``fsync`` and ``notices`` are then ignored.
            hashing: Replaces the default hashing threads; downloads then ignore ``chunk_maps``.
            notices: Collects lines about files that are left alone, and about what the file system cannot do.
            chunk_maps: The setting ``cache.chunk_maps``: ``auto``, ``always`` or ``never``.
        """
        super().__init__(root, disk or Disk(fsync=fsync, notices=notices), chunk_maps)
        self._hashing = hashing  # made with the first partial
        self._lock = threading.Lock()
        self._placement = Placement(self._disk, self._layout, self._directories, self._quarantine)
        self.guest = ForeignDirectory(self._disk, self._layout, self._directories)

    # Storing

    def staging(self) -> Staging:
        """Create a directory into which another program writes pieces of files."""
        from modelfetch.store.staging import Staging  # only a swarm needs it

        return Staging(self._disk, self._layout)

    def claim(self, manifest: Manifest, *, exclusive: bool) -> None:
        """Choose the directory of a model for this run.

        Args:
            manifest: The model.
            exclusive: Whether its lock is held and :attr:`~modelfetch.store.locks.Lock.effective`. Otherwise
                no existing file is replaced: another process may be about to write a receipt for it.
        """
        self._directories.claim(manifest, exclusive=exclusive)

    def partial(
        self, file: FileSpec, exclusive: bool, cancelled: Callable[[], bool] = lambda: False
    ) -> Partial:
        """Open the download of a file, with all bytes of earlier runs; wrong bytes are dropped when hashed.

        Args:
            file: The file.
            exclusive: Whether the blob's lock is held and :attr:`~modelfetch.store.locks.Lock.effective`.
            cancelled: Called between blocks while earlier bytes are copied, which is needed where the earlier
                file cannot be reused. Once it returns True the partial opens empty; nothing on disk is lost.
        """
        from modelfetch.store.resume import Opening  # here, as queries and small files open no partial

        opening = Opening(self._disk, file, self._prepared_hashing(), exclusive, cancelled)
        return opening.open(self.root, self._layout.partial(file.sha256))

    def _prepared_hashing(self) -> Hashing:
        from modelfetch.store.hashing import Hashing

        with self._lock:
            self._hashing = self._hashing or Hashing(chunk_maps=self.chunk_maps.mode)
            return self._hashing

    def forget_partial(self, file: FileSpec, exclusive: bool) -> None:
        """Remove the partials of a file whose blob is verified. Best effort; see :meth:`partial`."""
        from modelfetch.store.partial_slots import clear

        clear(self._disk, self._layout.partial(file.sha256), exclusive=exclusive)

    def commit(self, partial: Partial, *, displaced_source: str = "") -> Placed:
        """Give a finished download its final name among the blobs.

        Args:
            partial: Complete, with the right digest; closed afterwards.
            displaced_source: The source of a wrong blob that has the name now. Its bytes are quarantined
                first; if this is empty they are dropped.

        Raises:
            IntegrityError: Bytes are missing or wrong; nothing was changed.
        """
        partial.require_complete()
        with self._disk.reuse_directories():
            placed = self._commit(partial, displaced_source)
            # After the blob has its name: a map alone is of no use.
            return replace(placed, cid=self.chunk_maps.write(partial.file.sha256, partial.tree()))

    def _commit(self, partial: Partial, displaced_source: str) -> Placed:
        blob = self._layout.blob(partial.file.sha256)
        make_directories(self._disk, self.root, blob.parent, durable=True)
        # Read-only and synced first: if that fails, a wrong blob is still where it was. The bytes must be on
        # the disk before the rename, else a power cut could leave zeros under the final name.
        partial.seal()
        quarantined = None
        if displaced_source:
            quarantined = self._quarantine.displace(blob, partial.file, source=displaced_source)
        partial.release()
        partial.rename(blob)
        # Durable name first, then the other partials of this file go: a power cut must not take both.
        self._disk.sync_directory(blob.parent)
        partial.forget()
        return Placed(blob, quarantined)

    def group(self) -> GroupCommit:
        """Start a group of small files that are stored together."""
        from modelfetch.store.group_commit import GroupCommit

        return GroupCommit(self._disk, self._layout, self._directories)

    def intake(self, size: int | None = None) -> Intake:
        """Start a file whose digest is not known yet; ``size``, if it is known, is its number of bytes."""
        from modelfetch.store.intake import Intake  # only pins need it

        hasher = self._prepared_hashing().new_hasher(size)
        return Intake(self._disk, self._layout, self._quarantine, self.chunk_maps, hasher, size)

    def place(self, manifest: Manifest, file: FileSpec, quarantine_source: str | None = None) -> Placed:
        """Place a verified blob in the model's directory; durable only once the receipt is written.

        Args:
            manifest: The model.
            file: One of its files; its blob is present and verified.
            quarantine_source: The source of a wrong file that has the name now. Its bytes are quarantined
                first; if this is None or empty they are dropped.
        """
        return self._placement.place(manifest, file, quarantine_source)

    def place_into(
        self,
        directory: Path,
        manifest: Manifest,
        file: FileSpec,
        quarantine_source: str | None = None,
        *,
        path: str = "",
    ) -> Placed:
        """Place a verified file of a model in a directory outside the cache.

        Args:
            directory: Created when missing. Links in its own path are followed, links below it are refused.
            manifest: The model; its file is used where the blob is missing.
            file: One of its files.
            quarantine_source: As for :meth:`place`.
            path: The path below the directory; by default the file's own path.
        """
        top = directory.absolute()
        self._disk.guard(top)
        held = self.find_blob(file) or inside(self.directory(manifest), file.path)
        target = inside(top, path or file.path)
        placed = self._placement.replace(top, held, target, file, quarantine_source)
        self._disk.sync_directory(placed.path.parent)
        return placed

    def note_into(self, directory: Path, path: str, text: str) -> None:
        """Write a small file into a directory outside the cache, unless the name exists there."""
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
        """Record durably that a model is present, after all of its files were placed.

        From then on the directory belongs to this manifest: files that it does not list are moved out. If
        another process wrote a receipt for that directory first, the files are placed in the next directory.

        Args:
            manifest: The model; every file is placed and verified.
            sources: By path, the source of each file verified since the previous receipt: ``kind host``.
            verified_at: By path, the time of that verification, with a time zone. For other files the entry
                of the previous receipt is kept, if the file is unchanged.
            consulted: Catalog and config files that determined the model.
            placed: Whether any file was placed since the previous receipt; names are then synced first.

        Raises:
            ReceiptError: Only the receipt could not be written.
        """
        is_new = self.receipt(manifest) is None
        receipt = None
        while receipt is None:
            label = self._placement.final_label(manifest)
            receipt = self._receipts.write(manifest, label, sources, verified_at, consulted, placed=placed)
            if receipt is None:
                self._directories.move_on(manifest, label)
        left = self._directories.settled(manifest)
        if is_new:  # only now: an unfinished run of another manifest may have left files in the directory
            self._unlisted.move_out(receipt)
        # Files that this run placed in directories of other manifests are unlisted there.
        for receipt_of_another in filter(None, (self._receipts.at(manifest.name, other) for other in left)):
            self._unlisted.move_out(receipt_of_another)
        return receipt

    def note_ready(
        self, manifest: Manifest, consulted: Sequence[Consulted], circumstances: Sequence[str]
    ) -> None:
        """Write the stamp from which :mod:`modelfetch.warm` can tell that a model is still present.

        The stamp is only an optimization, so a failed write is ignored. An equal stamp is not rewritten.

        Args:
            manifest: A model whose receipt agrees with its files.
            consulted: Catalog and config files that this run read.
            circumstances: :func:`modelfetch.warm.circumstances` of this run.
        """
        with suppress(StoreError):
            self._receipts.note_ready(manifest, consulted, circumstances)

    def note_use(self, manifest: Manifest) -> None:
        """Record that a model is used now; see :func:`modelfetch.warm.note_use`. Best effort."""
        note_use(self._disk, self.directory(manifest))

    # Removing

    def forget_hits(self) -> None:
        """Delete the records of warm runs; see :func:`modelfetch.store.receipt_store.read_hits`."""
        forget_hits(self._disk, self._layout)

    def quarantine(self, path: Path, file: FileSpec, *, actual: str, source: str) -> Path:
        """Move wrong bytes into quarantine, with the reason; replaces an earlier entry for that digest.

        Args:
            path: The file; its name is free afterwards. :meth:`commit` and :meth:`place` keep it in use.
            file: The file that was expected.
            actual: The SHA-256 of the bytes, in hexadecimal.
            source: Their source: ``kind host``.

        Returns:
            The directory that holds the bytes and ``reason.json``.
        """
        return self._quarantine.move(path, file, actual=actual, source=source).directory

    def restore(self, entry: Evidence, target: Path | None) -> Path:
        """Move bytes out of quarantine; see :func:`modelfetch.store.evidence.restore`."""
        from modelfetch.store.evidence import restore

        return restore(self._disk, self._layout, entry, target)

    def quarantine_unlisted(self, manifest: Manifest, path: str) -> Quarantined | None:
        """Quarantine a file that a manifest does not list; None for a link, or another name of a blob."""
        return self._unlisted.put_aside(self.directory(manifest), path)

    def quarantine_partial(self, partial: Partial, *, actual: str, source: str) -> Path:
        """Quarantine a finished download with the wrong digest, which restarts; see :meth:`quarantine`."""
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
        earlier: Sequence[Removal] = (),
    ) -> Removal:
        """Remove a model: its receipt first, then its files, then blobs and partials no other model uses.

        Args:
            name: The model's name.
            files: The files of its manifest, if known: an unfinished download has no receipt to list them.
            version: One version; None for all of them.
            dry_run: Only report what would be removed.
            earlier: Results of dry runs that count as done.

        Raises:
            LockTimeoutError: Another process holds the model's lock.
        """
        from modelfetch.store.remove import Remover

        remover = Remover(self._disk, self._layout, name, self.receipts(), earlier)
        return remover.remove(version, [file.sha256 for file in files], dry_run=dry_run)

    def begin_upkeep(self, now: float) -> bool:
        """Whether the upkeep of a day is due; see :func:`modelfetch.store.time_marks.begin_upkeep`."""
        return begin_upkeep(self._disk, self._layout, now)

    def reclaimer(self, seen: Survey, *, dry_run: bool) -> Reclaimer:
        """Return what removes single parts of the cache, and counts the disk space that this frees.

        Args:
            seen: A survey that was just made.
            dry_run: Whether it only computes what would be removed.
        """
        from modelfetch.store.reclaim import Reclaimer

        return Reclaimer(self._disk, self._layout, seen, dry_run=dry_run)

    def sweep(self, *, thorough: bool = True) -> tuple[Path, ...]:
        """Remove leftovers of ended runs (temporary files, locks, useless partials); return their paths.

        Best effort. Files that a process may be using are kept, and so are bytes that a later run can use.

        Args:
            thorough: Whether to search the directories of versions too, which inspects every file in them.
        """
        from modelfetch.store.sweep import sweep

        return sweep(self._disk, self._layout, thorough=thorough)

"""The read-only half of the store: what a cache holds, and whether it can be written to.

Nothing here writes. Free space and permissions are checked before the first request, because a full or
read-only disk would otherwise fail a run only after most bytes were fetched.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.errors import StoreError
from modelfetch.store.chunk_digests import CHUNK, ChunkHasher
from modelfetch.store.chunk_maps import ChunkMaps
from modelfetch.store.dir_handles import HANDLES
from modelfetch.store.files import BLOCK, hash_file, read_blocks
from modelfetch.store.layout import Layout, is_digest
from modelfetch.store.linking import may_link
from modelfetch.store.model_directories import Directories
from modelfetch.store.quarantine import Quarantine, Unlisted
from modelfetch.store.receipt import Consulted, Receipt, ReceiptFile, Stamp
from modelfetch.store.receipt_store import Hit, Receipts, read_hits
from modelfetch.store.room import free_space, nearest_of, require_space, require_writable

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.notices import Notices
    from modelfetch.settings.values import ChunkMapMode
    from modelfetch.store.disk import Disk
    from modelfetch.store.evidence import Evidence
    from modelfetch.store.local_chunks import LocalChunks
    from modelfetch.store.locks import Lock
    from modelfetch.store.survey import Survey


class Contents:
    """The methods of :class:`modelfetch.store.Store` that need no write permission.

    Attributes:
        root: The cache's directory; absolute.
        chunk_maps: The chunk maps of its blobs.
    """

    def __init__(self, root: Path, disk: Disk, chunk_maps: ChunkMapMode) -> None:
        """Open a cache for reading.

        Args:
            root: The cache's directory; need not exist.
            disk: The disk operations to use.
            chunk_maps: The setting ``cache.chunk_maps``.
        """
        self.root = root.absolute()
        self._disk = disk
        self._disk.guard(self.root)
        self._layout = Layout(self.root)
        self.chunk_maps = ChunkMaps(self._disk, self._layout, chunk_maps)
        self._receipts = Receipts(self._disk, self._layout, self.chunk_maps)
        self._directories = Directories(self._layout, self._receipts)
        self._quarantine = Quarantine(self._disk, self._layout)
        self._unlisted = Unlisted(self._disk, self._layout, self._quarantine)

    @property
    def notices(self) -> Notices:
        """Lines for people: files that are left alone, and what the file system cannot do."""
        return self._disk.notices

    def close(self) -> None:
        """Close the directories that the process keeps open; the store can still be used."""
        HANDLES.drop()

    def directory(self, manifest: Manifest) -> Path:
        """Return the directory of a model's files, which no other manifest uses; it need not exist.

        ``models/<name>/<version>`` belongs to the first manifest that was verified there; another one of the
        same name and version has ``models/<name>/<version>+<identity>``.
        """
        return self._directories.path(manifest)

    def looking(self) -> AbstractContextManager[None]:
        """Keep directories open while this thread looks at many files and creates none.

        See :meth:`.SafePaths.reuse_directories`.
        """
        return self._disk.reuse_directories(only_looks=True)

    def find_blob(self, file: FileSpec) -> Path | None:
        """Return the path of a blob of the right length, or None; its bytes are not verified."""
        path = self._layout.blob(file.sha256)
        return path if self.size_of(path) == file.size else None

    def blob_path(self, sha256: str) -> Path:
        """Return the path that the blob of a digest has, or would have."""
        return self._layout.blob(sha256)

    def blob_of(self, sha256: str) -> Path | None:
        """Return the path of the blob of a digest, or None; neither its length nor its bytes are verified."""
        path = self._layout.blob(sha256)
        return path if self.size_of(path) is not None else None

    def copies_of(self, manifests: Sequence[tuple[Manifest, FileSpec]]) -> list[Path]:
        """Return where copies of a file may lie, whether or not there are any: its blob, and its places.

        Args:
            manifests: Each model that has the file, and the file in it.
        """
        places = [self.directory(manifest) / file.path for manifest, file in manifests]
        return [self._layout.blob(manifests[0][1].sha256), *places]

    @cached_property
    def local_chunks(self) -> LocalChunks:
        """Finds chunks of files in this cache."""
        from modelfetch.store.local_chunks import LocalChunks  # here, as few runs know the chunks of a file

        return LocalChunks(self._disk, self._layout, self.chunk_maps)

    def is_filled(self, manifest: Manifest, file: FileSpec) -> bool:
        """Whether a file of a model is placed and has the right length; its bytes are not verified."""
        return self.size_of(self.directory(manifest) / file.path) == file.size

    def has_mode(self, manifest: Manifest, file: FileSpec) -> bool:
        """Whether a placed file can be executed, if it should be. Other modes do not matter."""
        if may_link(file):
            return True
        found = self._disk.lstat(self.directory(manifest) / file.path)
        return found is not None and bool(found.st_mode & 0o111)

    def has_model(self, name: str) -> bool:
        """Whether the cache has any version of a model, finished or not."""
        return bool(self._disk.names(self._layout.model(name)))

    def has_directory(self, manifest: Manifest) -> bool:
        """Whether a model's directory exists; otherwise none of its files is placed."""
        return self._disk.lstat(self.directory(manifest)) is not None

    def receipt(self, manifest: Manifest) -> Receipt | None:
        """Read a model's receipt; None when no readable receipt is for exactly these files."""
        return self._receipts.read(manifest)

    def receipts(self) -> Iterator[Receipt]:
        """Read the receipts of everything present, in the order of names and versions."""
        return self._receipts.all()

    def hits(self) -> list[Hit]:
        """The latest warm runs, oldest first; see :func:`modelfetch.warm.count`."""
        return read_hits(self._disk, self._layout)

    def touched(self, receipt: Receipt) -> float:
        """Return the modification time of a model's directory, the time of its use; 0 without one."""
        found = self._disk.lstat(self._layout.version(receipt.name, receipt.label or receipt.version))
        return found.st_mtime if found is not None else 0

    def placed(self) -> dict[str, list[Path]]:
        """Find the files of all present models, by the digest they had when they were verified."""
        return self._receipts.placed()

    def verified(self) -> Iterator[tuple[Path, ReceiptFile]]:
        """Yield the path of each file of all present models with its receipt's entry; looks at no file."""
        return self._receipts.verified()

    def is_proven(self, manifest: Manifest) -> bool:
        """Whether a model has a receipt and all of its files have the right digest; reads every file.

        For a cache that was copied or unpacked, and may be read-only: its files no longer have the inodes and
        times of the receipt.
        """
        if self.receipt(manifest) is None:
            return False
        directory = self.directory(manifest)
        paths = [(file, directory / file.path) for file in manifest.files]
        return all(self.size_of(path) == file.size for file, path in paths) and all(
            file.is_pinned(hash_file(self._disk, path)) for file, path in paths
        )

    def cids(self, manifest: Manifest) -> dict[str, str]:
        """Return the CIDs of a model's files that are known, by path, under the profile ``unixfs-v1-2025``.

        They come from the receipt and the chunk maps; those of files of at most 1 MiB are always known.
        """
        receipt = self.receipt(manifest)
        held = {file.path: file.cid for file in receipt.files} if receipt is not None else {}
        found = {
            file.path: held.get(file.path) or self.chunk_maps.cid(file.sha256, file.size) or ""
            for file in manifest.files
        }
        return {path: cid for path, cid in found.items() if cid}

    def kept(self, manifest: Manifest, receipt: Receipt | None) -> dict[str, bool]:
        """Return for each path whether the file has the stamp of the receipt; reads no file."""
        return self._receipts.kept(manifest, receipt)

    def begun(self) -> frozenset[str]:
        """Return the digests of all unfinished downloads."""
        return frozenset(filter(is_digest, self._disk.names(self._layout.partials)))

    def held(self, file: FileSpec) -> int:
        """Return how many bytes the journals of an interrupted download claim; nothing is verified."""
        from modelfetch.store.journal_format import parse
        from modelfetch.store.partial_slots import read_journal, slots

        found = slots(self._disk, self._layout.partial(file.sha256))
        journals = (parse(read_journal(self._disk, slot), file) for slot in found)
        return max((journal.claimed for journal in journals), default=0)

    def size_of(self, path: Path) -> int | None:
        """Return the size of a regular file in bytes; None when no regular file has that name."""
        found = self.status_of(path)
        return found.st_size if found is not None else None

    def status_of(self, path: Path) -> os.stat_result | None:
        """Return the status of a regular file; None when no regular file has that name."""
        found = self._disk.lstat(path)
        return found if found is not None and stat.S_ISREG(found.st_mode) else None

    def open_to_read(self, path: Path) -> int | None:
        """Open a regular file, for the caller to close; None when no regular file has that name."""
        return self._disk.open_to_read(path)

    def read(self, path: Path, expected: int = BLOCK) -> Iterator[memoryview]:
        """Read a regular file in blocks of 1 MiB, each valid until the next; a link is not followed.

        Args:
            path: The file.
            expected: Its size in bytes, if it is known.
        """
        return read_blocks(self._disk, path, expected)

    def read_range(self, path: Path, start: int, end: int) -> bytes | None:
        """Read a range of a regular file; see :func:`modelfetch.store.staging.read_range`."""
        from modelfetch.store.staging import read_range  # only a swarm needs it

        return read_range(self._disk, path, start, end)

    def consult(self, path: Path) -> Consulted:
        """Take the stamp of a catalog or config file, following links.

        To be called before the file is read: a later change then shows as a different stamp.
        """
        try:
            found = self._disk.stat(path)
        except StoreError:  # in a directory that this user may not enter: it counts as absent
            found = None
        return Consulted(path.absolute(), Stamp.of(found) if found is not None else None)

    def free_space(self) -> int | None:
        """Return the free bytes of the cache's file system; None where it does not report them."""
        return free_space(self._disk, self.root)

    def check_space(self, needed: int, directory: Path | None = None, instead: str = "") -> None:
        """Check, before the first byte is fetched, that a number of bytes fits.

        Args:
            needed: The bytes.
            directory: Where they go, there or not yet; the cache when None.
            instead: What to do other than to free space, for the hint of the error.

        Raises:
            StoreError: They do not; the message gives the needed and the free bytes.
        """
        instead = instead or "put the cache elsewhere with --cache-dir"
        require_space(self._disk, self.root if directory is None else directory.absolute(), needed, instead)

    def check_writable(self) -> None:
        """Check, before the first request, that the cache is writable; writes nothing.

        Raises:
            StoreError: It is not.
        """
        require_writable(self._disk, self._layout.partials)

    def map_hasher(self, file: FileSpec, *, is_doubted: bool = False) -> ChunkHasher | None:
        """Return a hasher for a file that is read anyway, with which its missing chunk map can be made.

        Args:
            file: The file.
            is_doubted: Whether the file did not fit its map: if it turns out to be good, the map is wrong.

        Returns:
            None if there is an intact map, or if none may or can be written.
        """
        if not self.chunk_maps.is_enabled or file.size <= CHUNK:
            return None
        if not is_doubted and self.chunk_maps.is_intact(file):
            return None
        try:  # else each verification of a read-only cache would hash everything twice
            require_writable(self._disk, self._layout.chunk_maps)
        except StoreError:
            return None
        return ChunkHasher(None)

    def file_system(self, directory: Path | None = None) -> int:
        """The device number of a directory, there or not yet; of the cache when None.

        Placing files takes no space where this is the number of the cache, as they are hard links then.
        """
        return nearest_of(self._disk, self.root if directory is None else directory.absolute())[1].st_dev

    def has_size(self, path: Path, size: int) -> bool:
        """Whether a name leads, through links too, to a regular file of this many bytes."""
        found = self._disk.stat(path)
        return found is not None and stat.S_ISREG(found.st_mode) and found.st_size == size

    def unlisted(self, manifest: Manifest) -> list[str]:
        """Return the paths in a model's directory that its manifest does not list; loaders may read them."""
        return self._unlisted.find(self.directory(manifest), [file.path for file in manifest.files])

    def has_leftovers(self) -> bool:
        """Whether the cache has interrupted downloads, or data in quarantine."""
        return any(self._disk.names(path) for path in (self._layout.partials, self._layout.quarantine))

    def usage(self) -> int:
        """Return the bytes on the disk that the cache takes."""
        from modelfetch.store.usage import usage

        return usage(self._disk, self._layout)

    def survey(self) -> Survey:
        """Survey everything that the cache holds: versions, partials, quarantine entries, unused blobs."""
        from modelfetch.store.survey import survey  # here, as only a clean-up needs it

        return survey(self._disk, self._layout, tuple(self.receipts()))

    def evidence(self) -> list[Evidence]:
        """Read the entries of quarantine, oldest first."""
        from modelfetch.store.evidence import evidence

        return evidence(self._disk, self._layout)

    def lock_model(self, name: str) -> Lock:
        """Return the lock of a model, not yet acquired."""
        from modelfetch.store.locks import Lock

        return Lock(self._disk, self.root, self._layout.model_lock(name))

    def lock_blob(self, sha256: str) -> Lock:
        """Return the lock of a blob, not yet acquired."""
        from modelfetch.store.locks import Lock

        return Lock(self._disk, self.root, self._layout.blob_lock(sha256))

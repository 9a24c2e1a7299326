"""Which files of this cache may be sent to other machines: verified blobs only.

A file is verified if one of these is true:

1. a receipt lists its digest with the size, modification time and inode that the file has now;
2. it was hashed here, and none of these, nor its change time, has changed since.

Everything else is hashed once before it is sent. If the digest differs the file does not exist for a client,
until it changes. A blob that is replaced or edited is therefore hashed again, or not sent.

What lies in the cache may be planted by another user. So a digest becomes a path only by
:class:`modelfetch.store.layout.Layout`, no link is followed, only regular files are opened, and the open file
is compared with what was verified. Nothing here writes. Example::

    file = SharedCache(store).find("3f...")
    if file is not None:
        fd = file.open()
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.errors import StoreError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.store.disk_errors import is_passing
from modelfetch.store.layout import is_digest
from modelfetch.store.receipt import Stamp
from modelfetch.store.syscalls import read_into

if TYPE_CHECKING:
    from modelfetch.store import Store

RECEIPT_SECONDS: Final = 2.0
"""Seconds for which the receipts are not read again. Requests for digests that are not here would otherwise
list the directories of all models each time."""
UNREADABLE_SECONDS: Final = 60.0
"""Seconds for which a file that the disk could not read is not tried again: a disk tries for seconds before
it says so, and one of the network may be well again by then."""
ATTEMPTS: Final = 3
"""How often a file is hashed that changes meanwhile. A link into a model changes the change time of a good
file, and is made just when peers begin to ask for it: as soon as it is complete."""
SMALL_BYTES: Final = 1 << 20
"""Bytes up to which a file is hashed beside a larger one. That takes milliseconds; the larger one may take a
minute, in which clients would give up waiting for the small files of the same model."""
MOST_REMEMBERED: Final = 65_536
"""Most results of hashing that are remembered, about 500 bytes each."""


@dataclass(frozen=True, slots=True)
class SharedFile:
    """A verified file that may be sent."""

    sha256: str
    size: int
    """Bytes."""
    path: Path
    stamp: Stamp
    """Its size, modification time and inode when it was found to be verified."""
    opener: Callable[[Path], int | None]

    def open(self) -> int | None:
        """Open the file for reading.

        Returns:
            The descriptor, which the caller closes; None if the file is no longer the verified one.

        Raises:
            StoreError: It cannot be opened at the moment; see :func:`.is_passing`.
        """
        fd = _opened(self.opener, self.path)
        if fd is None:
            return None
        # The name may have been given to another file since it was found; the descriptor cannot.
        with contextlib.suppress(OSError):  # a network file system may fail here too
            if Stamp.of(os.fstat(fd)) == self.stamp:
                return fd
        os.close(fd)
        return None


@dataclass(frozen=True, slots=True)
class _Hashed:
    """The result of hashing a file."""

    stamp: Stamp
    ctime_ns: int
    """Change time: unlike the modification time, no program can set it back."""
    sha256: str
    """Its digest; empty if the disk failed."""
    until: float = math.inf
    """Clock seconds from which on it is hashed again although it has not changed."""


class SharedCache:
    """The verified files of a cache. Thread-safe.

    Args:
        store: The cache.
        clock: Monotonic seconds.

    Attributes:
        store: As given.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self.store = store
        self._clock = clock
        self._lock = threading.Lock()
        """Protects the fields below; never held while a file is read."""
        self._listed: dict[str, list[tuple[Path, Stamp]]] | None = None
        """By digest: each file that a receipt lists, with the stamp in the receipt. None until the receipts
        were read for the first time: then nobody may take it for a list in which a file is missing."""
        self._listed_from = float("-inf")
        """Clock seconds at which that reading began."""
        self._begun_at = float("-inf")
        """The same of the latest reading, which may be under way."""
        self._hashed: dict[tuple[int, int], _Hashed] = {}
        """By device and inode: a blob and its hard links in models are one file."""
        self._hashing = threading.Lock()
        """Held while a file is hashed: clients must not make this machine hash several at a time."""
        self._hashing_small = threading.Lock()
        """Held in place of it while a file of up to :data:`SMALL_BYTES` is hashed."""
        self._is_closed = False

    @property
    def root(self) -> Path:
        """The cache root."""
        return self.store.root

    def close(self) -> None:
        """Stop a hash computation that is under way; nothing more is found afterwards."""
        self._is_closed = True

    def find(self, sha256: str, report: Callable[[int], None] = lambda _: None) -> SharedFile | None:
        """Find the verified file of a digest; hashes a file that no receipt lists, which may take long.

        Args:
            sha256: As a client sent it.
            report: Receives the bytes of the file that were hashed so far, again and again.

        Returns:
            None if it is no digest, or if the cache has no such file, or if the file is not verified. A
            client must not be able to tell these apart.

        Raises:
            StoreError: The cache cannot be read at the moment, which tells nothing about the file; see
                :func:`.is_passing`.
        """
        found, unread = self.find_known(sha256)
        return found if unread is None else self._hash_candidates(sha256, report)

    def find_without_hashing(self, sha256: str) -> SharedFile | None:
        """Find the verified file of a digest, if that needs no file to be read; see :meth:`find`."""
        return self.find_known(sha256)[0]

    def find_known(self, sha256: str) -> tuple[SharedFile | None, int | None]:
        """Find the verified file of a digest, if that needs no file to be read.

        Returns:
            The file; and, without one, the bytes of a file that :meth:`find` would have to read, because
            nothing says whether it is good, or None. Both from one look: between two, another thread may have
            hashed the file.

        Raises:
            StoreError: As for :meth:`find`.
        """
        if not is_digest(sha256) or self._is_closed:
            return None, None
        return self._look(sha256, self._read_receipts(RECEIPT_SECONDS))

    def _look(
        self, sha256: str, listed: dict[str, list[tuple[Path, Stamp]]]
    ) -> tuple[SharedFile | None, int | None]:
        stamps = {stamp for _, stamp in listed.get(sha256, ())}
        unread = None
        for path, found in self._candidates(sha256, listed):
            stamp, hashed = Stamp.of(found), self._remembered(found)
            if stamp in stamps or hashed == sha256:
                return SharedFile(sha256, stamp.size, path, stamp, self.store.open_to_read), None
            if hashed is None and unread is None:
                unread = stamp.size
        return None, unread

    def note_verified(self, sha256: str, inode: int) -> None:
        """Note that this process verified a blob while it wrote it, so that it need not be read again.

        Args:
            sha256: Its digest.
            inode: The inode that was written to. If the blob has another one, nothing is noted.
        """
        path = self.store.blob_path(sha256)
        try:
            found = self.store.status_of(path)
        except StoreError:
            return
        if found is not None and found.st_ino == inode:
            self._note_hashed(found, sha256)

    def _candidates(
        self, sha256: str, listed: dict[str, list[tuple[Path, Stamp]]]
    ) -> Iterator[tuple[Path, os.stat_result]]:
        """Yield the regular files that should have a digest: its blob, then files of models."""
        paths = [self.store.blob_path(sha256), *(path for path, _ in listed.get(sha256, ()))]
        for path in paths:
            try:
                found = self.store.status_of(path)
            except StoreError as error:
                if is_passing(error):
                    raise
                continue  # a link in place of a directory, or no permission
            if found is not None:
                yield path, found

    def _read_receipts(self, max_age: float) -> dict[str, list[tuple[Path, Stamp]]]:
        """Return the files that the receipts list, by digest; read again if they are too old, in seconds."""
        now = self._clock()
        with self._lock:
            if self._listed is not None and now - self._begun_at < max_age:
                return self._listed
            self._begun_at = now  # before reading: other threads use the older list meanwhile
        listed: dict[str, list[tuple[Path, Stamp]]] = {}
        try:
            for path, file in self.store.verified():
                listed.setdefault(file.sha256, []).append((path, file.stamp))
        except StoreError as error:
            with self._lock:
                if self._listed is None and is_passing(error):
                    raise
                self._listed = self._listed or {}  # what it has is still right, or its files have changed
                return self._listed
        with self._lock:
            # Also if another thread began to read meanwhile: until it is ready, nobody knows more than this.
            if now >= self._listed_from:
                self._listed, self._listed_from = listed, now
        return listed

    def _remembered(self, found: os.stat_result) -> str | None:
        """Return the digest that a file was found to have, if it has not changed since."""
        with self._lock:
            hashed = self._hashed.get((found.st_dev, found.st_ino))
        if hashed is None or self._clock() >= hashed.until:
            return None
        if (hashed.stamp, hashed.ctime_ns) != (Stamp.of(found), found.st_ctime_ns):
            return None
        return hashed.sha256

    def _hash_candidates(self, sha256: str, report: Callable[[int], None]) -> SharedFile | None:
        # A receipt that was written a moment ago saves reading the file.
        listed = self._read_receipts(0.0)
        found, unread = self._look(sha256, listed)
        if unread is None:
            return found
        for _ in range(ATTEMPTS):
            for path, status in list(self._candidates(sha256, listed)):
                if self._remembered(status) is None:
                    self._hash(path, status.st_size, report)
            found, unread = self._look(sha256, listed)
            if unread is None:
                break
        return found

    def _hash(self, path: Path, size: int, report: Callable[[int], None]) -> None:
        """Hash a file and remember the result, unless it changes meanwhile."""
        with self._hashing if size > SMALL_BYTES else self._hashing_small:
            fd = _opened(self.store.open_to_read, path)
            if fd is None:
                return
            before: os.stat_result | None = None
            try:
                before = os.fstat(fd)
                if self._remembered(before) is not None:  # another thread hashed it meanwhile
                    return
                sha256 = self._digest(fd, report)
                after = os.fstat(fd)
            except OSError:  # the disk failed: the file is not verified
                if before is not None:
                    self._note_hashed(before, "", self._clock() + UNREADABLE_SECONDS)
                return
            finally:
                os.close(fd)
        is_same = (Stamp.of(before), before.st_ctime_ns) == (Stamp.of(after), after.st_ctime_ns)
        if sha256 is not None and is_same:
            self._note_hashed(after, sha256)

    def _note_hashed(self, found: os.stat_result, sha256: str, until: float = math.inf) -> None:
        with self._lock:
            while len(self._hashed) >= MOST_REMEMBERED:
                del self._hashed[next(iter(self._hashed))]
            hashed = _Hashed(Stamp.of(found), found.st_ctime_ns, sha256, until)
            self._hashed[found.st_dev, found.st_ino] = hashed

    def _digest(self, fd: int, report: Callable[[int], None]) -> str | None:
        """Hash an open file; None if the cache was closed meanwhile."""
        hasher = hashlib.sha256()
        block, hashed = memoryview(bytearray(1 << 20)), 0
        while not self._is_closed:
            count = read_into(fd, block)
            if not count:
                return hasher.hexdigest()
            hasher.update(block[:count])
            hashed += count
            report(hashed)
        return None


def _opened(opener: Callable[[Path], int | None], path: Path) -> int | None:
    """Open a file; None if it is not there, or there is no permission."""
    try:
        return opener(path)
    except StoreError as error:
        if is_passing(error):
            raise
        return None

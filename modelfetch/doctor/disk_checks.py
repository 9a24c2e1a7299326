"""Tests the cache's disk with files of its own, which are removed again.

The files are temporary files in the root of the cache, with the names that the cache gives to its own. So the
sweep of the cache removes them if this process is killed. A root that does not exist yet is created for the
test and removed again. For example ``/cache/.mf-tmp-...`` is written, synced, linked, cloned and locked.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from modelfetch import threads
from modelfetch.doctor.disk_findings import DiskFacts
from modelfetch.errors import StoreError
from modelfetch.lazy_dataclass import replace
from modelfetch.model.text import sanitize
from modelfetch.store.disk import Disk
from modelfetch.store.disk_errors import UNSYNCED, refusal
from modelfetch.store.flock import KernelLock, file_system, is_locked
from modelfetch.store.temporary import temporary_name

DISK_SECONDS: Final = 15.0
"""Time limit of all tests together, in seconds; a network file system may not answer at all."""
TEST_BYTES: Final = 1_000_000
"""Bytes that are written and synced: more than the disk's own cache hides, and written in a moment."""
_MOUNTS: Final = Path("/proc/self/mountinfo")


def check_disk(
    root: Path,
    disk: Disk | None = None,
    *,
    needed: Callable[[], int] = lambda: 0,
    doubt: Callable[[], str] = lambda: "",
    seconds: float = DISK_SECONDS,
) -> DiskFacts:
    """Test the disk of a cache.

    Args:
        root: Root of the cache; it need not exist.
        disk: Operations of the disk; it is to sync.
        needed: Returns the bytes that are to be fetched. It may look at the disk, so it has the same limit.
        doubt: Returns why the root cannot be trusted, or empty; likewise.
        seconds: Time limit.

    Returns:
        What was found out until then.
    """
    latest = [DiskFacts(sanitize(str(root)))]
    test = _DiskTest(root, disk or Disk(), latest)

    def run() -> None:
        test.run()
        latest[0] = replace(latest[0], doubt=doubt(), needed=needed())

    thread = threads.start(run, "modelfetch-doctor-disk")
    if thread is None:  # the system allows no more threads
        run()
        return latest[0]
    thread.join(seconds)
    return replace(latest[0], is_late=thread.is_alive())


class _DiskTest:
    """Tests one disk; the facts found so far are in ``latest``."""

    def __init__(self, root: Path, disk: Disk, latest: list[DiskFacts]) -> None:
        self._root = root
        self._disk = disk
        self._latest = latest

    def _found(self, **facts: Any) -> None:
        self._latest[0] = replace(self._latest[0], **facts)

    def run(self) -> None:
        """Run all tests; those that need a file only if one can be written."""
        with suppress(StoreError, OSError, UnicodeError):
            at = os.path.realpath(_existing(self._root))
            self._found(is_local=self._disk.is_local(Path(at)))
            self._found(free=self._disk.free(Path(at)))
            self._found(file_system=sanitize(file_system(_MOUNTS.read_text(), at)))
        try:
            with self._directory() as directory:
                self._run_in(directory)
        except StoreError as error:
            self._found(error=error)
        except OSError as error:
            self._found(error=refusal(error, "test", self._root))

    @contextmanager
    def _directory(self) -> Iterator[Path]:
        """The root, which is created if it does not exist, and removed again then."""
        made: list[Path] = []
        missing = [path for path in (self._root, *self._root.parents) if self._disk.stat(path) is None]
        try:
            made.extend(path for path in reversed(missing) if self._disk.mkdir(path))
            yield self._root
        finally:
            for path in reversed(made):
                with suppress(StoreError, OSError):
                    self._disk.rmdir(path)

    def _run_in(self, directory: Path) -> None:
        first = directory / temporary_name()
        with self._file(first) as fd:
            self._test_sync(fd, first)
            self._test_links(directory, first)
            self._test_reflinks(directory, fd)
            self._test_locks(directory)
            self._test_case(first)

    @contextmanager
    def _file(self, path: Path) -> Iterator[int]:
        """A new file, removed again at the end, whatever happens."""
        fd = self._disk.create(path)
        try:
            yield fd
        finally:
            with suppress(StoreError, OSError):
                self._disk.close(fd, path)
            with suppress(StoreError, OSError):
                self._disk.unlink(path)

    def _test_sync(self, fd: int, path: Path) -> None:
        """Write and sync; the bytes are random, because some file systems do not store zeros."""
        self._disk.pwrite(fd, path, os.urandom(TEST_BYTES), 0)
        began = time.monotonic()
        self._disk.sync(fd, path)
        took = time.monotonic() - began
        self._found(sync_seconds=took, can_sync=UNSYNCED not in self._disk.notices.take())

    def _test_links(self, directory: Path, first: Path) -> None:
        second = directory / temporary_name()

        def link() -> bool:
            try:
                return self._disk.link(first, second)
            finally:
                with suppress(StoreError, OSError):
                    self._disk.unlink(second)

        self._found(has_links=_works(link))

    def _test_reflinks(self, directory: Path, source: int) -> None:
        path = directory / temporary_name()
        with self._file(path) as fd:
            self._found(has_reflinks=_works(lambda: self._disk.reflink(fd, path, source)))

    def _test_locks(self, directory: Path) -> None:
        """Lock a file, then try to lock it again: some file systems grant every lock."""
        path = directory / temporary_name()
        lock = KernelLock(path)
        try:
            self._found(has_locks=_works(lambda: bool(self._disk.lock(lock, path))))
            excludes = lock.is_held and _works(
                lambda: self._disk.perform("probe", path, lambda: is_locked(str(path), None))
            )
            self._found(locks_exclude=excludes)
        finally:
            with suppress(StoreError, OSError):
                lock.release()
            with suppress(StoreError, OSError):
                self._disk.unlink(path)

    def _test_case(self, first: Path) -> None:
        other = first.with_name(first.name.upper())
        self._found(is_case_sensitive=self._disk.lstat(other) is None)


def _existing(path: Path) -> Path:
    """The nearest directory above a path that exists, or the path itself."""
    return next((each for each in (path, *path.parents) if each.exists()), path)


def _works(test: Callable[[], bool]) -> bool:
    """Whether a test succeeds; a refusal for any reason means that it does not."""
    try:
        return test()
    except (StoreError, OSError):
        return False

"""Faulty disks: each overrides ``perform`` or a single operation of :class:`modelfetch.store.Disk`."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import TypeVar, cast

from modelfetch.store import Disk
from modelfetch.store.flock import KernelLock

T = TypeVar("T")


class CountingDisk(Disk):
    """Records every operation. Syncs are recorded but not performed."""

    def __init__(self, *, fsync: bool = True) -> None:
        super().__init__(fsync=fsync)
        self.operations: list[tuple[str, Path]] = []

    def perform(self, operation: str, path: Path, call: Callable[[], T]) -> T:
        self.operations.append((operation, path))
        return cast("T", None) if operation == "sync" else call()


class FailingDisk(CountingDisk):
    """Lets one operation fail, before or after it takes effect."""

    def __init__(self, nth: int, code: int, *, after: bool = False) -> None:
        super().__init__()
        self._nth = nth
        self._code = code
        self._after = after

    def perform(self, operation: str, path: Path, call: Callable[[], T]) -> T:
        is_due = len(self.operations) == self._nth
        # A failed close has closed the file all the same (close(2), notes).
        if is_due and not self._after and operation != "close":
            self.operations.append((operation, path))
            raise OSError(self._code, os.strerror(self._code))
        result = super().perform(operation, path, call)
        if is_due:
            if operation in {"create", "open"} and isinstance(result, int):
                os.close(result)
            raise OSError(self._code, os.strerror(self._code))
        return result


class Killed(BaseException):
    """Simulates the end of the process."""


class DyingDisk(CountingDisk):
    """Performs no operation from a given one on, as if the process had been killed."""

    def __init__(self, nth: int) -> None:
        super().__init__()
        self._nth = nth
        self._fds: set[int] = set()

    def perform(self, operation: str, path: Path, call: Callable[[], T]) -> T:
        if len(self.operations) >= self._nth:
            raise Killed
        return super().perform(operation, path, call)

    def create(self, path: Path, mode: int = 0o666) -> int:
        fd = super().create(path, mode)
        self._fds.add(fd)
        return fd

    def open_to_update(self, path: Path) -> int | None:
        fd = super().open_to_update(path)
        self._fds |= {fd} if fd is not None else set()
        return fd

    def open_to_read(self, path: Path) -> int | None:
        fd = super().open_to_read(path)
        self._fds |= {fd} if fd is not None else set()
        return fd

    def close(self, fd: int, path: Path) -> None:
        super().close(fd, path)
        self._fds.discard(fd)

    def bury(self) -> None:
        """Close the descriptors that the kernel would have closed."""
        for fd in self._fds:
            with suppress(OSError):
                os.close(fd)


class RefusingDisk(Disk):
    """Always refuses certain kinds of operation."""

    def __init__(self, code: int, operations: Collection[str], below: Path | None = None) -> None:
        super().__init__()
        self._code = code
        self._operations = operations
        self._below = below

    def perform(self, operation: str, path: Path, call: Callable[[], T]) -> T:
        applies = self._below is None or path.is_relative_to(self._below)
        if operation in self._operations and applies:
            raise OSError(self._code, os.strerror(self._code))
        return call()


def without_links() -> Disk:
    """A disk that cannot link or share extents, as between two file systems."""
    return RefusingDisk(errno.EXDEV, {"link to", "clone into"})


class LocklessDisk(Disk):
    """Grants every lock, as on Lustre."""

    def lock(self, lock: KernelLock, path: Path) -> bool | None:
        return True

    def lock_file(self, fd: int, path: Path) -> bool | None:
        return None


class OrderingDisk(Disk):
    """Tracks what a power cut could lose: bytes written and names created since the last sync."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.unsafe_files: set[Path] = set()
        self.unsafe_directories: set[Path] = set()
        self.violations: list[str] = []
        self._root = root
        self._durable = (root / "blobs", root / "models")

    def perform(self, operation: str, path: Path, call: Callable[[], T]) -> T:
        result = call()
        if operation in {"write", "resize"}:
            self.unsafe_files.add(path)
        elif operation == "sync":
            self.unsafe_files.discard(path)
            self.unsafe_directories.discard(path)
        elif operation in {"create", "link to", "rename to"} and path.is_relative_to(self._root / "models"):
            self.unsafe_directories.add(path.parent)
        return result

    def mkdir(self, path: Path, mode: int = 0o777) -> bool:
        made = super().mkdir(path, mode)
        if made and any(path.is_relative_to(top) or top.is_relative_to(path) for top in self._durable):
            self.unsafe_directories.add(path.parent)
        return made

    def rename(self, source: Path, target: Path) -> None:
        if source in self.unsafe_files and not target.is_relative_to(self._root / "locks"):
            self.violations.append(f"{target} got its name before its bytes were safe")
        if target.suffix == ".json" and (names := self.unsafe_directories - {target.parent}):
            self.violations.append(f"{target} was written before the names in {names} were safe")
        super().rename(source, target)
        if target.is_relative_to(self._root / "blobs"):
            self.unsafe_directories.add(target.parent)

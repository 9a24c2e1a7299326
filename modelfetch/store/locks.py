"""Locks between processes: so that each byte is fetched once. What is stored is right without them too.

A kernel lock ends with its process, so none is ever stale. Its file goes when it is given back, under the
lock: whoever waited for it finds that the name is gone, or another file's, and locks that one.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from modelfetch.errors import StoreError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import sanitise
from modelfetch.model.units import SIZE_LIMIT, parse_time
from modelfetch.store.files import has_real_directory, make_directories, read_small, write_atomically
from modelfetch.store.flock import KernelLock
from modelfetch.store.temporary import is_old, is_running

if TYPE_CHECKING:
    from modelfetch.store.disk import Disk

_NOTE: Final = ".holder"
_HOLDER_LIMIT: Final = 4096
"""Bytes read of a note on who holds a lock."""


@dataclass(frozen=True, slots=True)
class _Holder:
    pid: int
    host: str
    since: datetime
    received: int
    size: int
    who: str

    def __str__(self) -> str:
        since = f"since {self.since.astimezone():%H:%M:%S}"
        process = f"process {self.pid} on {sanitise(self.host)}"
        return f"{sanitise(self.who)} ({process}), {since}" if self.who else f"{process}, {since}"


class Lock:
    """A lock on a model or a blob. Take it on one thread, give it back on any.

    ``with lock:`` releases at the end of the block; take it first, with :meth:`try_acquire`.

    Attributes:
        who: What its holder is called beside its process, such as the name of a job; may be empty.
        effective: Whether, since it was taken, it really keeps other processes out: the kernel refuses a
            second lock, and the file system is known to be local.
    """

    def __init__(self, disk: Disk, root: Path, path: Path) -> None:
        self.who = ""
        self.effective = False
        self._disk = disk
        self._root = root
        self._path = path
        self._lock = KernelLock(path)
        self._is_held = False
        self._since = ""

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it; never waits.

        Returns:
            Whether we have it. Where locks do not work it counts as taken, and :attr:`effective` is False.
        """
        if not self._is_held:
            with self._disk.reuse_directories():
                self._is_held = self._try()
        return self._is_held

    def holder(self) -> str:
        """Say who has the lock, for a person: ``process 4711 on host, since 06:00:12``."""
        return str(self._read() or "another process")

    def holder_pid(self) -> int | None:
        """Say which process has the lock; None where no living one says so."""
        found = self._read()
        return None if found is None else found.pid

    def progress(self) -> tuple[int, int]:
        """Say how far who has the lock is: the bytes it has, and all of them; zeros when it does not say."""
        found = self._read()
        return (found.received, found.size) if found is not None else (0, 0)

    def note(self, received: int, size: int) -> None:
        """Tell those who wait how far we are; without having the lock, do nothing.

        Args:
            received: Bytes we have.
            size: Bytes in all.
        """
        if self._is_held and self._since:
            self._announce(received, size)

    def release(self) -> None:
        """Give the lock back; without having it, do nothing."""
        if self._is_held:
            self._is_held = self.effective = False
            self._since = ""
            if self._lock.is_held:
                self._give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def reclaim(self) -> list[Path]:
        """Remove what a dead holder left: the lock that nobody has, and the note beside it.

        Returns:
            What was removed.
        """
        files, found = (self._path, self._note), self._disk.lstat(self._path)
        if found is None:
            return [self._note] if self._disk.unlink(self._note) else []
        was_old = is_old(found, self._disk.lstat(self._note))
        taken = self._take()
        if taken is False:
            return []
        try:
            # Where locks prove nothing it may be held, and age has to do.
            is_free = was_old or (taken is True and self._disk.lock_excludes(self._path))
            return [path for path in files if is_free and self._disk.unlink(path)]
        finally:
            with suppress(OSError):
                self._lock.give_back()

    def _try(self) -> bool:
        taken = self._take()
        if taken:
            self.effective = self._disk.lock_excludes(self._path)
            self._since = datetime.now(UTC).isoformat(timespec="seconds")
            self._announce(0, 0)
        return taken is not False

    @property
    def _note(self) -> Path:
        return self._path.with_name(f"{self._path.name}{_NOTE}")

    def _take(self) -> bool | None:
        try:
            make_directories(self._disk, self._root, self._path.parent, durable=False)
        except StoreError:
            return None
        return self._disk.lock(self._lock, self._path)

    def _give_back(self) -> None:
        with suppress(StoreError, OSError), self._disk.reuse_directories():
            if self._disk.has_name(
                self._lock, self._path
            ):  # else it was deleted, and the name is another's by now
                self._disk.unlink(self._note)
                self._disk.unlink(self._path)
        with suppress(OSError):  # the kernel takes it back when the process ends
            self._lock.give_back()

    def _read(self) -> _Holder | None:
        """What the holder says of itself; None when it says nothing, or is gone."""
        try:
            found = _parse(read_small(self._disk, self._note, _HOLDER_LIMIT) or b"")
        except (StoreError, ValueError, KeyError, TypeError, RecursionError):
            return None
        is_stale = found.host == socket.gethostname() and not is_running(found.pid)
        return None if is_stale else found

    def _announce(self, received: int, size: int) -> None:
        facts = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": self._since,
            "received": received,
            "size": size,
            "who": self.who,
            "command": Path(sys.argv[0]).name,  # no arguments: they may hold a secret
        }
        with suppress(StoreError):
            write_atomically(self._disk, self._note, json.dumps(facts).encode("ascii"), durable=False)


def _parse(content: bytes) -> _Holder:
    facts = json.loads(content)
    pid, host, since = facts["pid"], facts["host"], parse_time(facts["since"])
    received, size, who = facts.get("received", 0), facts.get("size", 0), facts.get("who", "")
    if {type(host), type(who)} != {str} or {type(pid), type(received), type(size)} != {int}:
        raise ValueError("no process and host")
    if received >= SIZE_LIMIT or size >= SIZE_LIMIT:
        raise ValueError("no file is so large")
    return _Holder(pid, host, since, max(0, received), max(0, size), who)


def reclaim(disk: Disk, root: Path, directory: Path) -> list[Path]:
    """Remove the locks that nobody holds, best effort.

    Args:
        disk: The disk.
        root: The cache root.
        directory: Where the locks lie.

    Returns:
        What was removed.
    """
    removed: list[Path] = []
    with suppress(StoreError):
        if not has_real_directory(disk, root, directory):
            return removed
        names = (name.removesuffix(_NOTE) for name in disk.names(directory))
        for name in sorted({name for name in names if name.endswith(".lock")}):
            with suppress(StoreError):
                removed += Lock(disk, root, directory / name).reclaim()
    return removed

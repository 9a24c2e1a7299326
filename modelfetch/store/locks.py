"""Locks between processes, so that each byte is fetched only once.

Locks save work; they do not protect data: what is stored is right without them too. A kernel lock ends with
its process, so none is ever stale. Its file is removed on release, while the lock is still held: a process
that waited for it then sees that the name is gone, or is another file, and locks that one instead.

Beside the lock file ``<name>.lock`` lies ``<name>.lock.holder``, a note in JSON for the processes that wait::

    {"pid": 4711, "host": "box", "since": "2026-11-20T06:00:12+00:00", "received": 1048576, "size": 4194304,
     "who": "", "command": "modelfetch"}

While the holder asks other machines who has the file, the note also has ``"asking": true``.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from modelfetch.errors import StoreError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import sanitize
from modelfetch.model.units import SIZE_LIMIT, parse_time
from modelfetch.store.files import has_real_directory, make_directories, read_small, write_atomically
from modelfetch.store.flock import KernelLock
from modelfetch.store.temporary import is_old, is_running

if TYPE_CHECKING:
    from modelfetch.store.disk import Disk

NOTE: Final = ".holder"
HOLDER_LIMIT: Final = 4096
"""Most bytes read of a holder's note: other users may write to a shared cache."""


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
        process = f"process {self.pid} on {sanitize(self.host)}"
        return f"{sanitize(self.who)} ({process}), {since}" if self.who else f"{process}, {since}"


class Lock:
    """A lock on a model or a blob. It may be released by another thread than the one that acquired it.

    ``with lock:`` releases it at the end of the block; acquire it before, with :meth:`try_acquire`.

    Attributes:
        is_asking: Whether the holder asks other machines who has the file, before it requests any byte of it.
            Set it before the lock is acquired; see :meth:`note_begun`.
        who: A name for the holder in addition to its process, such as a job's name; may be empty.
        effective: Whether the acquired lock really excludes other processes: the kernel refuses a second
            lock, and the file system is known to be local.
    """

    def __init__(self, disk: Disk, root: Path, path: Path) -> None:
        self.who = ""
        self.is_asking = False
        self.effective = False
        self._disk = disk
        self._root = root
        self._path = path
        self._lock = KernelLock(path)
        self._is_held = False
        self._since = ""

    def try_acquire(self) -> bool:
        """Acquire the lock if it is free; never waits.

        Returns:
            Whether we hold it. Where locks do not work it counts as held, and :attr:`effective` is False.
        """
        if not self._is_held:
            with self._disk.reuse_directories():
                self._is_held = self._acquire()
        return self._is_held

    def holder(self) -> str:
        """Describe the holder for a person: ``process 4711 on host, since 06:00:12``."""
        return str(self._read_note() or "another process")

    def holder_pid(self) -> int | None:
        """Return the process that holds the lock; None if no running process left a note."""
        found = self._read_note()
        return None if found is None else found.pid

    def progress(self) -> tuple[int, int]:
        """Return the holder's progress: bytes received, and bytes in all; zeros when it reported none."""
        found = self._read_note()
        return (found.received, found.size) if found is not None else (0, 0)

    def note(self, received: int, size: int) -> None:
        """Report our progress to processes that wait for the lock; does nothing if we do not hold it.

        Args:
            received: Bytes received so far.
            size: Bytes in all.
        """
        if self._is_held and self._since:
            self._write_note(received, size)

    def note_begun(self, is_begun: bool) -> None:
        """Report whether the file is being fetched now, or other machines are still asked who has it."""
        if self.is_asking is is_begun:
            self.is_asking = not is_begun
            self.note(0, 0)

    def release(self) -> None:
        """Release the lock; does nothing if we do not hold it."""
        if self._is_held:
            self._is_held = self.effective = False
            self._since = ""
            if self._lock.is_held:
                self._remove_and_release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def remove_if_free(self) -> list[Path]:
        """Remove the files of a dead holder: the lock file if nobody holds it, and the note beside it.

        Returns:
            The removed paths.
        """
        files, found = (self._path, self._note), self._disk.lstat(self._path)
        if found is None:
            return [self._note] if self._disk.unlink(self._note) else []
        was_old = is_old(found, self._disk.lstat(self._note))
        taken = self._lock_file()
        if taken is False:
            return []
        try:
            # Where a lock proves nothing another process may hold it: then only an old file is removed.
            is_free = was_old or (taken is True and self._disk.lock_excludes(self._path))
            return [path for path in files if is_free and self._disk.unlink(path)]
        finally:
            with suppress(OSError):
                self._lock.release()

    def _acquire(self) -> bool:
        taken = self._lock_file()
        if taken:
            self.effective = self._disk.lock_excludes(self._path)
            self._since = datetime.now(UTC).isoformat(timespec="seconds")
            self._write_note(0, 0)
        return taken is not False

    @property
    def _note(self) -> Path:
        return self._path.with_name(f"{self._path.name}{NOTE}")

    def _lock_file(self) -> bool | None:
        try:
            make_directories(self._disk, self._root, self._path.parent, durable=False)
        except StoreError:
            return None
        return self._disk.lock(self._lock, self._path)

    def _remove_and_release(self) -> None:
        with suppress(StoreError, OSError), self._disk.reuse_directories():
            # If our file was deleted meanwhile, the name may belong to another process's lock by now.
            if self._disk.has_name(self._lock, self._path):
                # Note first, and both under the lock: the next holder's note must not be removed.
                self._disk.unlink(self._note)
                self._disk.unlink(self._path)
        with suppress(OSError):  # the kernel releases it at the latest when the process ends
            self._lock.release()

    def _read_note(self) -> _Holder | None:
        """Read the holder's note; None when there is none, or its process is gone."""
        try:
            found = _parse(read_small(self._disk, self._note, HOLDER_LIMIT) or b"")
        except (StoreError, ValueError, KeyError, TypeError, RecursionError):
            return None
        is_stale = found.host == _host() and not is_running(found.pid)
        return None if is_stale else found

    def _write_note(self, received: int, size: int) -> None:
        facts = {
            "pid": os.getpid(),
            "host": _host(),
            "since": self._since,
            "received": received,
            "size": size,
            "who": self.who,
            "command": Path(sys.argv[0]).name,  # no arguments: they may hold a secret
        }
        if self.is_asking:
            facts["asking"] = True
        with suppress(StoreError):  # processes that wait then show no details
            write_atomically(self._disk, self._note, json.dumps(facts).encode("ascii"), durable=False)


def _host() -> str:
    import socket  # queries take no lock, and load it for nothing else

    return socket.gethostname()


def _parse(content: bytes) -> _Holder:
    facts = json.loads(content)
    pid, host, since = facts["pid"], facts["host"], parse_time(facts["since"])
    received, size, who = facts.get("received", 0), facts.get("size", 0), facts.get("who", "")
    if {type(host), type(who)} != {str} or {type(pid), type(received), type(size)} != {int}:
        raise ValueError("a field has the wrong type")
    if received >= SIZE_LIMIT or size >= SIZE_LIMIT:
        raise ValueError("a size is out of range")
    return _Holder(pid, host, since, max(0, received), max(0, size), who)


def remove_free_locks(disk: Disk, root: Path, directory: Path) -> list[Path]:
    """Remove the lock files that nobody holds. Best effort.

    Args:
        disk: The disk.
        root: The cache root.
        directory: The directory of the locks.

    Returns:
        The removed paths.
    """
    removed: list[Path] = []
    with suppress(StoreError):
        if not has_real_directory(disk, root, directory):
            return removed
        names = (name.removesuffix(NOTE) for name in disk.names(directory))
        for name in sorted({name for name in names if name.endswith(".lock")}):
            with suppress(StoreError):
                removed += Lock(disk, root, directory / name).remove_if_free()
    return removed

"""The operations on the disk: every access to the cache is a method of :class:`Disk`.

Conditions that a caller has to expect (absent, exists already, links impossible) are return values; every
other failure is a :class:`~modelfetch.errors.StoreError`. Tests inject failures by overriding ``perform``.
Nothing here follows a symbolic link at the last part of a path, except :meth:`Disk.stat`, nor anywhere below
a root that is guarded (:mod:`modelfetch.store.safe_paths`).
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from modelfetch.errors import StoreError
from modelfetch.store import syscalls
from modelfetch.store.disk_errors import UNSEALED, UNSYNCED
from modelfetch.store.disk_locks import DiskLocks
from modelfetch.store.file_extents import shared_extents

if TYPE_CHECKING:
    from modelfetch.notices import Notices
    from modelfetch.store.safe_paths import SafePaths

T = TypeVar("T")


class Disk(DiskLocks):
    """The operations the store needs, on the real file system. File descriptors are integers."""

    rename_pauses: ClassVar[tuple[float, ...]] = (0.01, 0.04, 0.16, 0.64) if sys.platform == "win32" else ()
    """Seconds between attempts of a denied rename. Windows only: virus scanners keep a new file open for a
    moment (huggingface/transformers#2450)."""

    def __init__(
        self, *, fsync: bool = True, beneath: SafePaths | None = None, notices: Notices | None = None
    ) -> None:
        """Use the real disk.

        Args:
            fsync: Whether syncs wait until bytes and names are on the disk; otherwise they do nothing.
            beneath: Replaces the default way of reaching paths below a root.
            notices: Collects lines about what this disk cannot do, and about files that are left alone.
        """
        super().__init__(beneath=beneath, notices=notices)
        self._fsync = fsync

    # Inspecting

    def lstat(self, path: Path) -> os.stat_result | None:
        """Return the status of a name, without following a link; None when it does not exist."""
        return self._call_or_none("inspect", path, self._at(path, syscalls.lstat), syscalls.ABSENT)

    def stat(self, path: Path) -> os.stat_result | None:
        """Return the status of what a name leads to, following links; None when it does not exist.

        Only for paths that the user chose: a root, the directories above it, a settings file.
        """
        return self._call_or_none("inspect", path, lambda: os.stat(path), syscalls.ABSENT)  # noqa: PTH116

    def fstat(self, fd: int, path: Path) -> os.stat_result:
        """Return the status of an open file."""
        return self._call("inspect", path, lambda: os.fstat(fd))

    def names(self, path: Path) -> list[str]:
        """List a directory, sorted; empty when it does not exist."""
        return sorted(self._list(path, syscalls.list_names))

    def entries(self, path: Path) -> list[tuple[str, bool]]:
        """List a directory like :meth:`names`, with whether each name is a directory and not a link."""
        return sorted(self._list(path, syscalls.list_entries))

    def statuses(self, path: Path) -> list[tuple[str, os.stat_result]]:
        """List a directory, not sorted, each name with its status; no link is followed."""
        return self._list(path, syscalls.list_statuses)

    def _list(self, path: Path, listing: Callable[[str | int], list[T]]) -> list[T]:
        found = self._call_or_none(
            "list", path, lambda: self._paths.on_directory(path, listing), syscalls.ABSENT
        )
        return found or []

    def free(self, path: Path) -> int | None:
        """Return the bytes an unprivileged user can still write; None where they are not reported."""
        if sys.platform == "win32":
            import shutil

            return shutil.disk_usage(path).free
        found = self._call_or_none("inspect", path, lambda: os.statvfs(path), (errno.ENOSYS, errno.ENOTSUP))
        return found.f_bavail * found.f_frsize if found is not None and found.f_blocks else None

    def why_not_writable(self, path: Path) -> int:
        """Return the errno with which creating a file in a directory would fail; 0 if it seems possible."""
        if os.access(path, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            return 0
        is_read_only = sys.platform != "win32" and os.statvfs(path).f_flag & os.ST_RDONLY
        return errno.EROFS if is_read_only else errno.EACCES

    def check_removable(self, path: Path, found: os.stat_result) -> None:
        """Fail as :meth:`unlink` or :meth:`rmdir` of a name would for lack of permission; removes nothing.

        Args:
            path: The name.
            found: Its status.
        """
        above = self.lstat(path.parent)
        code = self.why_not_writable(path.parent) or syscalls.why_not_removable(found, above)
        self._call("remove", path, lambda: syscalls.fail_with(code))

    def shared(self, path: Path) -> tuple[int, int]:
        """Return what a file shares with its clones, as :func:`.shared_extents`; zeros if unreadable."""
        try:
            fd = self.open_to_read(path)
        except StoreError:
            return 0, 0
        if fd is None:
            return 0, 0
        try:
            return shared_extents(fd)
        finally:
            self.close(fd, path)

    # Opening

    def create(self, path: Path, mode: int = 0o666) -> int:
        """Create a file that must not exist yet, for reading and writing; the umask applies to the mode."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | syscalls.SAFE
        return self._call(
            "create", path, self._at(path, lambda name, at: os.open(name, flags, mode, dir_fd=at))
        )

    def create_read_only(self, path: Path) -> int:
        """Create a file that is read-only from the start: only the returned descriptor can write to it.

        Not on Windows, where a read-only file can be neither renamed over nor deleted.
        """
        return self.create(path, 0o666 if sys.platform == "win32" else 0o444)

    def open_to_read(self, path: Path) -> int | None:
        """Open a regular file for reading; None when no regular file has that name."""
        return self._open_regular(path, os.O_RDONLY, syscalls.NOT_REGULAR, syscalls.is_regular)

    def open_to_update(self, path: Path) -> int | None:
        """Open a regular file of our own for reading and writing; None when no such file has that name.

        The file must have no second name, so that nothing is written through a planted hard link, and must
        be owned by this user, so that no other user can change its mode meanwhile.
        """
        return self._open_regular(
            path, os.O_RDWR, (*syscalls.NOT_REGULAR, *syscalls.DENIED), syscalls.is_owned_with_one_name
        )

    def _open_regular(
        self, path: Path, flags: int, expected: Collection[int], is_right: Callable[[os.stat_result], bool]
    ) -> int | None:
        opening = self._at(path, lambda name, at: os.open(name, flags | syscalls.SAFE, dir_fd=at))
        fd = self._call_or_none("open", path, opening, expected)
        if fd is None:
            return None
        try:
            if is_right(self.fstat(fd, path)):
                return fd
        except BaseException:
            os.close(fd)
            raise
        self.close(fd, path)
        return None

    def close(self, fd: int, path: Path) -> None:
        """Close a file; network file systems report some failed writes only here.

        EINTR is ignored and not retried: on Linux the descriptor is closed already, and its number may be
        another thread's file by now (close(2), notes).
        """
        self._try("close", path, lambda: os.close(fd), (errno.EINTR,))

    # Bytes

    def read(self, fd: int, path: Path, size: int) -> bytes:
        """Read the next bytes; empty at the end of the file."""
        return self._call("read", path, lambda: os.read(fd, size))

    def read_into(self, fd: int, path: Path, room: memoryview) -> int:
        """Read the next bytes into a buffer; returns how many, 0 at the end of the file."""
        return self._call("read", path, lambda: syscalls.read_into(fd, room))

    def pwrite(self, fd: int, path: Path, data: bytes | memoryview, offset: int) -> None:
        """Write all of the data at an offset."""
        view = memoryview(data).cast("B")
        while view:
            written = self._write_some(fd, path, view, offset)
            view, offset = view[written:], offset + written

    def _write_some(self, fd: int, path: Path, view: memoryview, offset: int) -> int:
        return self._call("write", path, lambda: syscalls.write_at(fd, view, offset))

    def read_at(self, fd: int, path: Path, room: memoryview, offset: int) -> bool:
        """Fill a buffer with the bytes at an offset; False if the file is too short."""
        while room:
            count = self._read_some(fd, path, room, offset)
            if not count:
                return False
            room, offset = room[count:], offset + count
        return True

    def _read_some(self, fd: int, path: Path, room: memoryview, offset: int) -> int:
        return self._call("read", path, lambda: syscalls.read_at(fd, room, offset))

    def truncate(self, fd: int, path: Path, size: int) -> None:
        """Truncate or extend a file; an extension is a hole and takes no space."""
        self._call("resize", path, lambda: os.ftruncate(fd, size))

    def sync(self, fd: int, path: Path) -> None:
        """Wait until a file's bytes are on the disk, where the file system supports that."""
        if self._fsync:
            self._sync(path, lambda: os.fsync(fd))

    def _sync(self, path: Path, call: Callable[[], object]) -> None:
        if not self._try("sync", path, call, syscalls.NO_SYNC):
            self.notices.add(UNSYNCED)

    def start_write_back(self, fd: int, path: Path, start: int, length: int) -> None:
        """Have the kernel start to write a range to the disk, without waiting for its end.

        It only shortens a later :meth:`sync`, so it does nothing where syncs are not wanted. The call blocks
        while the queue of the disk is full.
        """
        # macOS and Windows lack the call; there the sync writes all of it.
        if self._fsync and hasattr(os, "posix_fadvise"):
            # On Linux this advice first starts write-back of dirty pages (mm/fadvise.c). Unlike a sync it
            # reports no write error, so the later sync still does: each error is reported only once for an
            # open file. Then it drops the clean pages of the range, so the range must just have been written.
            with suppress(OSError):
                self.perform(
                    "start writing back",
                    path,
                    lambda: os.posix_fadvise(fd, start, length, os.POSIX_FADV_DONTNEED),
                )

    def sync_closed(self, path: Path) -> None:
        """Like :meth:`sync`, for a file that was closed."""
        if self._fsync:
            self._sync(path, self._at(path, syscalls.sync_file))

    def seal(self, fd: int, path: Path, *, executable: bool = False) -> None:
        """Make a file read-only; read permissions that the umask removed stay removed.

        An executable file can be run by everyone who may read it.

        Not on Windows, where a read-only file can be neither replaced nor deleted. A file system that refuses
        is no failure: integrity rests on the digest, the mode only prevents accidental writes.
        """
        if sys.platform != "win32":
            mode = self.fstat(fd, path).st_mode & 0o444
            if executable:
                mode |= mode >> 2  # each execute bit is two places below its read bit
            if not self._try("change the mode of", path, lambda: os.fchmod(fd, mode), syscalls.NO_MODES):
                self.notices.add(UNSEALED)

    def reflink(self, fd: int, path: Path, source: int) -> bool:
        """Let a file share the extents of another one; False where that is impossible."""
        return self._share(path, lambda: syscalls.share_extents(fd, source))

    def reflink_range(self, fd: int, path: Path, offset: int, source: int, start: int, length: int) -> bool:
        """Let a range of a file share the extents of another one, from ``start`` on; False if impossible."""
        return self._share(path, lambda: syscalls.share_range(fd, offset, source, start, length))

    def _share(self, path: Path, share: Callable[[], None]) -> bool:
        is_possible = sys.platform.startswith("linux")
        return is_possible and self._try("clone into", path, share, syscalls.NO_REFLINK)

    # Names

    def rename(self, source: Path, target: Path) -> None:
        """Rename a file atomically, replacing a file that has the new name."""
        renaming = self._between(
            source,
            target,
            lambda name, at, new, there: os.replace(name, new, src_dir_fd=at, dst_dir_fd=there),
        )
        for pause in self.rename_pauses:
            if self._try("rename to", target, renaming, syscalls.DENIED):
                return
            time.sleep(pause)
        self._call("rename to", target, renaming)

    def touch(self, path: Path) -> None:
        """Set the modification time of a name to the present; a link itself is changed, not its target."""
        follow = os.utime not in os.supports_follow_symlinks
        self._call(
            "touch",
            path,
            self._at(path, lambda name, at: os.utime(name, dir_fd=at, follow_symlinks=follow)),
        )

    def mark_use(self, path: Path, found: os.stat_result) -> None:
        """Set the access time of a file to the present; best effort, as only its owner may do so.

        Its modification time, which receipts compare, stays as in the status ``found``.
        """
        times = (time.time_ns(), found.st_mtime_ns)
        follow = os.utime not in os.supports_follow_symlinks
        marking = self._at(path, lambda name, at: os.utime(name, ns=times, dir_fd=at, follow_symlinks=follow))
        with suppress(OSError):
            self.perform("touch", path, marking)

    def link(self, source: Path, target: Path) -> bool:
        """Create a hard link; False where these two places cannot share an inode."""
        follow = os.link not in os.supports_follow_symlinks
        linking = self._between(
            source,
            target,
            lambda name, at, new, there: os.link(
                name, new, src_dir_fd=at, dst_dir_fd=there, follow_symlinks=follow
            ),
        )
        return self._try("link to", target, linking, syscalls.NO_LINK)

    def link_free(self, source: Path, target: Path) -> bool | None:
        """Like :meth:`link`, but None instead of an error when the target exists."""
        try:
            return self.link(source, target)
        except StoreError as error:
            if isinstance(error.__cause__, FileExistsError):
                return None
            raise

    def unlink(self, path: Path) -> bool:
        """Remove a name; False when it does not exist."""
        return self._try(
            "remove", path, self._at(path, lambda name, at: os.unlink(name, dir_fd=at)), syscalls.ABSENT
        )

    def mkdir(self, path: Path, mode: int = 0o777) -> bool:
        """Create a directory; False if the name exists. The umask applies, setgid is inherited."""
        making = self._at(path, lambda name, at: os.mkdir(name, mode, dir_fd=at))
        return self._try("create", path, making, (errno.EEXIST,))

    def rmdir(self, path: Path) -> bool:
        """Remove an empty directory; False when it is not empty, does not exist, or is no directory."""
        expected = (*syscalls.ABSENT, errno.ENOTEMPTY, errno.EEXIST)
        return self._try("remove", path, self._at(path, lambda name, at: os.rmdir(name, dir_fd=at)), expected)

    def sync_directory(self, path: Path) -> None:
        """Wait until a directory's names are on the disk, where the file system supports that."""
        if self._fsync and sys.platform != "win32":
            # Many file systems cannot sync directories; unlike for a file, that is not worth a notice.
            expected = (*syscalls.NO_SYNC, errno.EBADF)
            self._try("sync", path, lambda: self._paths.on_directory(path, syscalls.sync_directory), expected)

"""One SQLite file that may be in any state, used so that its state never matters to anyone else.

sqlite3 is imported when the file is really used. What goes wrong comes out as one of two exceptions: the file
is :class:`~modelfetch.history.trouble.Damaged`, or it is :class:`~modelfetch.history.trouble.Unavailable`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from modelfetch.history.schema import VERSION, create
from modelfetch.history.trouble import Damaged, Unavailable, patiently, translated

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")
Inode = tuple[int, int]
"""Device and inode: what tells a file from another one of the same name."""

_LOOK: Final = "SELECT (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_master)"
"""One statement, so that both come from the same moment: another process may be making the tables."""


_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_SIDES: Final = ("-wal", "-shm", "-journal")
"""Files that SQLite makes beside the database (https://www.sqlite.org/tempfiles.html)."""


def _require_plain(found: os.stat_result, what: str) -> None:
    """Make sure that what is written to a file goes nowhere else."""
    if not stat.S_ISREG(found.st_mode):
        raise Unavailable(f"{what} is not a plain file")
    if found.st_nlink > 1:
        raise Unavailable(f"{what} is also another file's name (a hard link)")


class Database:
    """Reads with a connection of its own each time; writes with one that is kept until :meth:`close`.

    Args:
        path: The file; it and its directory are made by the first transaction, never by reading.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._writer: sqlite3.Connection | None = None
        self._written: Inode | None = None
        """The file the writer is connected to, whatever has its name by now."""
        self._used: Inode | None = None
        """The file the last connection was made to."""

    def close(self) -> None:
        """Let go of the file; what was written is then in the file itself, and its log is gone."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(Exception):  # a log that cannot be folded in stays, and is folded in later
                writer.close()

    # Reading

    def read(self, query: Callable[[sqlite3.Connection], T], wait: float) -> T | None:
        """Run a query; None when there is nothing to read yet. Leaves no trace beside the file.

        Raises:
            Damaged: The file is not one of ours.
            Unavailable: It cannot be read, or not within ``wait`` seconds.
        """
        if not self._look():
            return None
        # Without a log nobody has it open, and SQLite need not make its side files to read it.
        if not self._side("-wal").exists():
            with suppress(Damaged, Unavailable):
                return self._query(query, "mode=ro&immutable=1", 0.0)
        return self._query(query, "mode=ro", wait)

    def _query(self, query: Callable[[sqlite3.Connection], T], mode: str, wait: float) -> T | None:
        with translated():
            connection = self._connect(mode, wait)
            try:
                return query(connection) if _version(connection) else None
            except (ValueError, OverflowError) as error:  # values that no row of ours has
                raise Damaged(str(error)) from error
            finally:
                connection.close()

    # Writing

    @contextmanager
    def transaction(self, wait: float) -> Iterator[sqlite3.Connection]:
        """Write everything or nothing.

        Raises:
            Damaged: The file is not one of ours.
            Unavailable: It cannot be written, or not within ``wait`` seconds.
        """
        connection = patiently(self._begin, wait, self._sign_of_life)
        with translated():
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                self.close()  # which rolls back
                raise

    def _begin(self) -> sqlite3.Connection:
        if self._look():
            self._require_access()
        else:
            self._make()
        if self._writer is not None and self._written == self._inode():
            connection = self._writer
        else:  # the first time, or another process has moved the file aside
            connection = self._open()
        with translated():
            connection.execute("BEGIN IMMEDIATE")
        return connection

    def _open(self) -> sqlite3.Connection:
        self.close()
        with translated():
            connection = self._connect("mode=rw", 0.0)
            try:
                # Nothing is synced but the log when it is folded in: a power cut may cost the last few runs.
                connection.execute("PRAGMA synchronous = NORMAL")
                if not _version(connection):
                    _found(connection)
            except BaseException:
                connection.close()
                raise
        self._writer, self._written = connection, self._used
        return connection

    def _make(self) -> None:
        """Make an empty file that only its owner may read."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, _NEW, 0o600))
        except OSError:
            if not self._look():  # else another process was quicker
                raise Unavailable("") from None

    # Looking

    def _look(self) -> bool:
        """Whether the file is there."""
        try:
            found = self.path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise Unavailable((error.strerror or "it cannot be looked at").lower()) from None
        _require_plain(found, "it")
        for side in map(self._side, _SIDES):  # SQLite opens these by name, and writes to them
            with suppress(OSError):
                _require_plain(side.lstat(), side.name)
        return True

    def _require_access(self) -> None:
        if not os.access(self.path.parent, os.W_OK):
            raise Unavailable("")  # where no cache can be kept, nobody expects a history
        if not os.access(self.path, os.R_OK | os.W_OK):
            # In a cache that several users share, the history is that of its owner.
            is_ours = self.path.lstat().st_uid == getattr(os, "geteuid", lambda: -1)()
            raise Unavailable("it is read-only" if is_ours else "")

    def _connect(self, mode: str, wait: float) -> sqlite3.Connection:
        import sqlite3

        self._used = self._inode()
        uri = f"{self.path.as_uri()}?{mode}"
        return sqlite3.connect(uri, uri=True, timeout=wait, isolation_level=None, check_same_thread=False)

    def _inode(self) -> Inode | None:
        try:
            found = self.path.lstat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _sign_of_life(self) -> tuple[int, int] | None:
        """What changes whenever somebody writes."""
        try:
            found = self._side("-wal").stat()
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns

    def _side(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    # Mending

    def move_aside(self) -> Path | None:
        """Give the damaged file another name; None when another process has done so already.

        Raises:
            Unavailable: It cannot be renamed.
        """
        self.close()
        if self._used != self._inode():
            return None
        kept = self._side(f".corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
        try:
            # The log first: one left alone could be replayed into the file that comes next.
            self._put_log_aside(kept)
            self.path.rename(kept)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable(f"it is damaged, and cannot be moved aside: {error.strerror}") from None
        return kept

    def _put_log_aside(self, kept: Path) -> None:
        log = self._side("-wal")
        with suppress(FileNotFoundError):
            if log.stat().st_size:
                log.rename(kept.with_name(f"{kept.name}-wal"))
            else:
                log.unlink()
        self._side("-shm").unlink(missing_ok=True)  # an index of the log, made anew from it


def _version(connection: sqlite3.Connection) -> int:
    """The version of the tables; 0 when there are none yet.

    Raises:
        Unavailable: It is newer than this program.
        Damaged: Somebody else's tables are there.
    """
    version, tables = connection.execute(_LOOK).fetchone()
    if version > VERSION:
        raise Unavailable("a newer modelfetch wrote it")
    if (version == VERSION) != (tables > 0):
        raise Damaged("other tables than ours")
    return int(version)


def _found(connection: sqlite3.Connection) -> None:
    """Make the tables, unless another process was quicker. Nothing is there yet to be lost by a power cut."""
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    if not _version(connection):
        create(connection)
    connection.execute("COMMIT")
    connection.execute("PRAGMA synchronous = NORMAL")

"""One SQLite file that may be in any state, used so that its state never matters to anyone else.

sqlite3 is imported when the file is really used. What goes wrong comes out as one of two exceptions: the file
is :class:`~modelfetch.history.errors.Damaged`, or it is :class:`~modelfetch.history.errors.Unavailable`.

An end to every statement: a database is input, and what one asks of it may never end.

A view may count to infinity, and so may an ordinary table whose pages point at each other. SQLite asks a
handler every few thousand steps whether to go on (https://www.sqlite.org/c3ref/progress_handler.html).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from modelfetch.history.database_file import DatabaseFile, Inode
from modelfetch.history.errors import Damaged, Endless, Unavailable, patiently, translated
from modelfetch.history.schema import VERSION, create, is_ours

if TYPE_CHECKING:
    import sqlite3


T = TypeVar("T")

_LOOK: Final = (
    "SELECT user_version, type, name, tbl_name, sql"
    " FROM pragma_user_version LEFT JOIN sqlite_master LIMIT 100"
)
"""One statement, so that all comes from the same moment: another process may be making the tables. It counts
nothing: SQLite counts the rows of a table in one step, which no handler can end."""
_CELL: Final = 64 << 20
"""Bytes of a value at most; the snapshot of a job of 20,000 files has five million."""


def _never() -> bool:
    return False


class Database:
    """Reads with a connection of its own each time; writes with one that is kept until :meth:`close`.

    Whatever the file holds, only tables of ours are ever asked: its schema is compared with ours in the same
    transaction, so that no view and no trigger of somebody else takes part.

    Args:
        path: The file; it and its directory are made by the first transaction, never by reading.
        is_cancelled: Whether nothing of it is wanted any more; asked during each statement.

    Attributes:
        is_hurried: Whether somebody waits for the end: then nothing is synced, and the log stays for the next
            one to fold in. A power cut may cost what was written since, as it may cost the last few runs.
    """

    def __init__(self, path: Path, is_cancelled: Callable[[], bool] = _never) -> None:
        self.is_hurried = False
        self._place = DatabaseFile(path)
        self._is_cancelled = is_cancelled
        self._writer: sqlite3.Connection | None = None
        self._written: Inode | None = None
        """The file the writer is connected to, whatever has its name by now."""

    @property
    def path(self) -> Path:
        """The file."""
        return self._place.path

    def close(self) -> None:
        """Let go of the file; what was written is then in the file itself, and its log is gone."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(Exception):  # a log that cannot be folded in stays, and is folded in later
                self._close(writer)

    def _close(self, writer: sqlite3.Connection) -> None:
        """Close a connection; the last one that may write folds the log in, with two syncs."""
        if not self.is_hurried or self._written != self._place.inode():
            writer.close()
            return
        with closing(self._connect("mode=ro", 0.0)) as last:
            last.execute(
                "SELECT user_version FROM pragma_user_version"
            ).fetchone()  # by which it opens the log
            writer.close()

    # Reading

    def read(self, query: Callable[[sqlite3.Connection], T], wait: float) -> T | None:
        """Run a query; None when there is nothing to read yet. Leaves no trace beside the file.

        Raises:
            Damaged: The file is not one of ours.
            Unavailable: It cannot be read, or not within ``wait`` seconds.
            Endless: What was asked did not come to its end.
        """
        if not self._place.look():
            return None
        watch = StatementLimit(allowed(wait), self._is_cancelled)
        # Without a log nobody has it open, and SQLite need not make its side files to read it.
        if not self._place.has_log:
            try:
                return self._query(query, "mode=ro&immutable=1", 0.0, watch)
            except Endless:
                raise
            except (Damaged, Unavailable):  # somebody may have begun to write meanwhile
                pass
        return self._query(query, "mode=ro", wait, watch)

    def _query(
        self, query: Callable[[sqlite3.Connection], T], mode: str, wait: float, watch: StatementLimit
    ) -> T | None:
        with translated():
            connection = self._connect(mode, wait)
            try:
                with watch.over(connection):
                    connection.execute("BEGIN")
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
            Endless: What was asked did not come to its end.
        """
        connection = patiently(self._begin, wait, self._place.sign_of_life)
        with translated():
            try:
                with StatementLimit(allowed(wait), self._is_cancelled).over(connection):
                    if not _version(connection):
                        raise Damaged("its tables are gone")
                    yield connection
                    connection.execute("COMMIT")
            except BaseException:
                self.close()  # which rolls back
                raise

    def _begin(self) -> sqlite3.Connection:
        if self._place.look():
            self._place.require_access()
        else:
            self._place.make()
        if self._writer is not None and self._written == self._place.inode():
            connection = self._writer
        else:  # the first time, or another process has moved the file aside
            connection = self._open()
        with translated():
            if self.is_hurried:
                connection.execute("PRAGMA synchronous = OFF")
            connection.execute("BEGIN IMMEDIATE")
        return connection

    def _open(self) -> sqlite3.Connection:
        self.close()
        with translated():
            self._place.look()
            connection = self._connect("mode=rw", 0.0)
            try:
                with StatementLimit(allowed(0.0), self._is_cancelled).over(connection):
                    # Only the log is synced, when it is folded in: a power cut may cost the last few runs.
                    connection.execute("PRAGMA synchronous = NORMAL")
                    if not _version(connection):
                        _found(connection)
            except BaseException:
                connection.close()
                raise
        self._writer, self._written = connection, self._place.used
        return connection

    def _connect(self, mode: str, wait: float) -> sqlite3.Connection:
        import sqlite3

        uri = f"{self.path.as_uri()}?{mode}"
        connection = sqlite3.connect(
            uri, uri=True, timeout=wait, isolation_level=None, check_same_thread=False
        )
        try:
            self._place.require_opened(_opened(connection))
            # https://www.sqlite.org/security.html, untrusted database files
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _CELL)
        except BaseException:
            connection.close()
            raise
        return connection

    # Mending

    def move_aside(self) -> Path | None:
        """Give the damaged file another name; see :meth:`.DatabaseFile.move_aside`."""
        self.close()
        return self._place.move_aside()


def _opened(connection: sqlite3.Connection) -> bytes:
    """The path of the file that a connection is to; bytes, for it need not be UTF-8."""
    connection.text_factory = bytes
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    connection.text_factory = str
    return path if isinstance(path, bytes) else os.fsencode(path)


def _version(connection: sqlite3.Connection) -> int:
    """The version of the tables; 0 when there are none yet.

    Raises:
        Unavailable: It is newer than this program.
        Damaged: Other tables than ours are there, or anything beside them.
    """
    rows = connection.execute(_LOOK).fetchall()
    version, entries = rows[0][0], [tuple(row[1:]) for row in rows if row[1] is not None]
    if version > VERSION:
        raise Unavailable("a newer modelfetch wrote it")
    if (version != VERSION or not is_ours(entries)) and (version or entries):
        raise Damaged("other tables than ours")
    return int(version)


def _found(connection: sqlite3.Connection) -> None:
    """Make the tables, unless another process was quicker. Nothing is there yet to be lost by a power cut."""
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA journal_mode = MEMORY")  # so that no journal file is ever one of ours
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    if not _version(connection):
        create(connection)
    connection.execute("COMMIT")
    connection.execute("PRAGMA synchronous = NORMAL")


STEPS: Final = 10_000
"""Instructions of SQLite's machine between two looks at the clock: about a millisecond."""
LEAST_SECONDS: Final = 1.0
"""What statements may take at least, however short the patience with locks: a slow disk is no attack."""
WAITS: Final = 2.0
"""How many times as long as a lock is waited for the statements of one use may take."""


def allowed(wait: float) -> float:
    """Seconds that the statements of one use of the file may take, where a lock is waited for so long."""
    return max(LEAST_SECONDS, WAITS * wait)


class StatementLimit:
    """Ends the statements of one use when their time is up, the run is cancelled, or a signal came.

    Args:
        seconds: What they may take together.
        is_cancelled: Whether their result is wanted no more.
    """

    def __init__(self, seconds: float, is_cancelled: Callable[[], bool]) -> None:
        self._until = time.monotonic() + seconds
        self._is_cancelled = is_cancelled
        self._interrupt: BaseException | None = None

    @contextmanager
    def over(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Watch over the statements of a block.

        Raises:
            Endless: Their time was up.
            Unavailable: They were cancelled.
            KeyboardInterrupt: A signal came meanwhile; it is the one that its handler raised.
        """
        import sqlite3

        connection.set_progress_handler(partial(next, self._verdicts()), STEPS)
        try:
            yield
        except sqlite3.Error:
            if self._interrupt is not None:
                raise self._interrupt from None
            if self._is_cancelled():
                raise Unavailable("") from None
            if time.monotonic() >= self._until:
                raise Endless from None
            raise
        finally:
            connection.set_progress_handler(None, 0)

    def _verdicts(self) -> Generator[bool, None, None]:
        """Say each time whether to stop.

        A generator and no function: a signal's handler runs where this one goes on, inside of the ``try``.
        What a function raises on its way in is swallowed by sqlite3, and with it a Ctrl-C.
        """
        while True:
            try:
                yield self._interrupt is not None or self._is_cancelled() or time.monotonic() >= self._until
            except GeneratorExit:
                raise
            except BaseException as interrupt:
                self._interrupt = interrupt

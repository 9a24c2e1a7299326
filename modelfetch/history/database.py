"""Access to the SQLite file of the history, which may be in any state.

The file is untrusted input: it may be damaged, written by another program, or crafted. So

* its schema must be exactly that of this package; no view or trigger of another author is ever run;
* every statement has a time limit. A view can recurse forever, and so can an ordinary table whose pages point
  at each other. SQLite calls a handler every few thousand steps, which can stop the statement
  (https://www.sqlite.org/c3ref/progress_handler.html);
* every failure becomes one of two exceptions: :class:`~modelfetch.history.errors.Damaged` if the file must be
  replaced, :class:`~modelfetch.history.errors.Unavailable` if it cannot be used now.

sqlite3 is imported on first use, because the import takes milliseconds that most runs do not need.
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
from modelfetch.history.errors import Damaged, TooSlow, Unavailable, retry_while_locked, translated
from modelfetch.history.schema import VERSION, create, is_expected_schema

if TYPE_CHECKING:
    import sqlite3


T = TypeVar("T")

_READ_SCHEMA: Final = (
    "SELECT user_version, type, name, tbl_name, sql"
    " FROM pragma_user_version LEFT JOIN sqlite_master LIMIT 100"
)
"""Reads version and schema in one statement, so in one snapshot: another process may be creating the tables.
It does not count rows: SQLite counts the rows of a table in one step, which no handler can stop. The limit is
far above the number of our tables and indexes, and bounds what a crafted schema can return."""
_MAX_VALUE_BYTES: Final = 64 << 20
"""Largest value, in bytes; the snapshot of a job with 20,000 files has five million."""

STEPS: Final = 10_000
"""Instructions of SQLite's virtual machine between two calls of the handler: about a millisecond."""
MIN_SECONDS: Final = 1.0
"""Least time limit of statements, in seconds, however short the wait for locks: a slow disk is no attack."""
WAIT_FACTOR: Final = 2.0
"""Time limit of the statements of one use, as a multiple of the wait for locks."""


def _never() -> bool:
    return False


class Database:
    """The SQLite file: every read opens a connection; all writes share one, kept until :meth:`close`.

    The schema is compared with the expected one in the transaction that uses it, so it cannot change between
    check and use.

    Args:
        path: The file. The first write creates it and its directory; a read never does.
        is_cancelled: Whether to stop; called during each statement.

    Attributes:
        is_hurried: Whether the user waits for the process to end. Then nothing is synced, and the
            write-ahead log is left for the next process to checkpoint. A power cut may lose what was written
            since then.
    """

    def __init__(self, path: Path, is_cancelled: Callable[[], bool] = _never) -> None:
        self.is_hurried = False
        self._file = DatabaseFile(path)
        self._is_cancelled = is_cancelled
        self._writer: sqlite3.Connection | None = None
        self._written: Inode | None = None
        """The file that the writer is connected to; another file may have the path by now."""

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    def close(self) -> None:
        """Close the file; SQLite then checkpoints the write-ahead log into it and deletes the log."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(Exception):  # a log that cannot be checkpointed stays for the next process
                self._close(writer)

    def _close(self, writer: sqlite3.Connection) -> None:
        """Close the writer; if hurried, without the checkpoint and its two syncs.

        SQLite checkpoints when the last connection that may write is closed. While a read-only connection is
        open, the writer is not the last one.
        """
        if not self.is_hurried or self._written != self._file.inode():
            writer.close()
            return
        with closing(self._connect("mode=ro", 0.0)) as last:
            # SQLite opens the log at the first read.
            last.execute("SELECT user_version FROM pragma_user_version").fetchone()
            writer.close()

    # Reading

    def read(self, query: Callable[[sqlite3.Connection], T], wait: float) -> T | None:
        """Run a query; return None if there are no tables yet. Creates no files.

        Raises:
            Damaged: The file is damaged or has another schema.
            Unavailable: It cannot be read, or not within ``wait`` seconds.
            TooSlow: The query exceeded its time limit.
        """
        if not self._file.inspect():
            return None
        limit = StatementLimit(time_limit(wait), self._is_cancelled)
        # Without a log no process has the file open. Then it can be read as immutable, for which SQLite
        # creates no side files.
        if not self._file.has_log:
            try:
                return self._query(query, "mode=ro&immutable=1", 0.0, limit)
            except TooSlow:
                raise
            except (Damaged, Unavailable):  # another process may have started to write
                pass
        return self._query(query, "mode=ro", wait, limit)

    def _query(
        self, query: Callable[[sqlite3.Connection], T], mode: str, wait: float, limit: StatementLimit
    ) -> T | None:
        with translated():
            connection = self._connect(mode, wait)
            try:
                with limit.applied_to(connection):
                    connection.execute("BEGIN")
                    return query(connection) if _version(connection) else None
            except (ValueError, OverflowError) as error:  # a value that this package never writes
                raise Damaged(str(error)) from error
            finally:
                connection.close()

    # Writing

    @contextmanager
    def transaction(self, wait: float) -> Iterator[sqlite3.Connection]:
        """Run a block in one transaction.

        Raises:
            Damaged: The file is damaged or has another schema.
            Unavailable: It cannot be written, or not within ``wait`` seconds.
            TooSlow: The statements exceeded their time limit.
        """
        connection = retry_while_locked(self._begin, wait, self._file.log_state)
        with translated():
            try:
                with StatementLimit(time_limit(wait), self._is_cancelled).applied_to(connection):
                    if not _version(connection):
                        raise Damaged("its tables were deleted")
                    yield connection
                    connection.execute("COMMIT")
            except BaseException:
                self.close()  # SQLite rolls back when a connection is closed
                raise

    def _begin(self) -> sqlite3.Connection:
        if self._file.inspect():
            self._file.require_access()
        else:
            self._file.create()
        if self._writer is not None and self._written == self._file.inode():
            connection = self._writer
        else:  # the first write, or another process moved the file aside
            connection = self._open()
        with translated():
            if self.is_hurried:
                connection.execute("PRAGMA synchronous = OFF")
            # IMMEDIATE takes the write lock now: a read lock cannot be upgraded once another process wrote.
            connection.execute("BEGIN IMMEDIATE")
        return connection

    def _open(self) -> sqlite3.Connection:
        self.close()
        with translated():
            self._file.inspect()
            connection = self._connect("mode=rw", 0.0)
            try:
                with StatementLimit(time_limit(0.0), self._is_cancelled).applied_to(connection):
                    # NORMAL syncs at checkpoints only: a power cut may lose the last runs, never the file.
                    connection.execute("PRAGMA synchronous = NORMAL")
                    version = _version(connection)
                    if not version:
                        _create_tables(connection)
                    elif version < VERSION:
                        _add_tables(connection)
            except BaseException:
                connection.close()
                raise
        self._writer, self._written = connection, self._file.used
        return connection

    def _connect(self, mode: str, wait: float) -> sqlite3.Connection:
        import sqlite3

        uri = f"{self.path.as_uri()}?{mode}"
        # No isolation level: transactions are started here, not by the Python module. Threads may share a
        # connection because the lock of History lets one of them use it at a time.
        connection = sqlite3.connect(
            uri, uri=True, timeout=wait, isolation_level=None, check_same_thread=False
        )
        try:
            self._file.require_opened(_opened(connection))
            # As https://www.sqlite.org/security.html recommends for untrusted database files: a schema cannot
            # call functions with side effects, and damaged pages are detected when they are loaded.
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
        except BaseException:
            connection.close()
            raise
        return connection

    def move_aside(self) -> Path | None:
        """Rename the damaged file; see :meth:`.DatabaseFile.move_aside`."""
        self.close()
        return self._file.move_aside()


def _opened(connection: sqlite3.Connection) -> bytes:
    """Return the path of the file that a connection opened; bytes, since it may not be UTF-8."""
    connection.text_factory = bytes
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    connection.text_factory = str
    return path if isinstance(path, bytes) else os.fsencode(path)


def _version(connection: sqlite3.Connection) -> int:
    """Return the version of the schema; 0 if there are no tables yet. An earlier one than ours can be read.

    Raises:
        Unavailable: A newer version of the program wrote the file.
        Damaged: The schema is not exactly the expected one.
    """
    rows = connection.execute(_READ_SCHEMA).fetchall()
    version, entries = rows[0][0], [tuple(row[1:]) for row in rows if row[1] is not None]
    if version > VERSION:
        raise Unavailable("a newer modelfetch wrote it")
    if (version or entries) and not is_expected_schema(version, entries):
        raise Damaged("its tables are not those of modelfetch")
    return int(version)


def _create_tables(connection: sqlite3.Connection) -> None:
    """Create the tables, unless another process did so first.

    Without syncs: the file is new, so a power cut can lose nothing.
    """
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA journal_mode = MEMORY")  # so that this package never writes a journal file
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    if not _version(connection):
        create(connection)
    connection.execute("COMMIT")
    connection.execute("PRAGMA synchronous = NORMAL")


def _add_tables(connection: sqlite3.Connection) -> None:
    """Add the tables that an earlier version lacks, unless another process did so first."""
    connection.execute("BEGIN IMMEDIATE")
    create(connection, _version(connection))
    connection.execute("COMMIT")


def time_limit(wait: float) -> float:
    """Return the time limit of the statements of one use, in seconds, for a given wait for locks."""
    return max(MIN_SECONDS, WAIT_FACTOR * wait)


class StatementLimit:
    """Stops the statements of one use at their time limit, on cancellation, or on a signal.

    Args:
        seconds: Time limit of all statements together.
        is_cancelled: Whether to stop.
    """

    def __init__(self, seconds: float, is_cancelled: Callable[[], bool]) -> None:
        self._until = time.monotonic() + seconds
        self._is_cancelled = is_cancelled
        self._interrupt: BaseException | None = None

    @contextmanager
    def applied_to(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Apply the limit to the statements of a block.

        Raises:
            TooSlow: The time limit was reached.
            Unavailable: The statements were cancelled.
            KeyboardInterrupt: A signal arrived; the exception is the one that the signal's handler raised.
        """
        import sqlite3

        connection.set_progress_handler(partial(next, self._verdicts()), STEPS)
        try:
            yield
        except sqlite3.Error as error:
            if self._interrupt is not None:
                raise self._interrupt from None
            if self._is_cancelled():
                raise Unavailable("") from None
            # By its code, not by the clock: damage that a busy machine finds late is damage.
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                raise TooSlow from None
            raise
        finally:
            connection.set_progress_handler(None, 0)

    def _verdicts(self) -> Generator[bool, None, None]:
        """Yield, at each call of the handler, whether to stop.

        This is a generator because of Ctrl-C: Python runs signal handlers when it enters Python code. A
        generator resumes inside the ``try``, so the exception is caught and kept. In a plain function it
        would be raised before the ``try``, and sqlite3 would swallow it.
        """
        while True:
            try:
                yield self._interrupt is not None or self._is_cancelled() or time.monotonic() >= self._until
            except GeneratorExit:
                raise
            except BaseException as interrupt:
                self._interrupt = interrupt

"""The database file and its side files: inspected before SQLite opens them, and moved aside if damaged.

SQLite opens files beside a database by their names: ``state.db-wal`` (write-ahead log), ``state.db-shm``
(its index) and ``state.db-journal``. In a shared directory another user may have put links or crafted files
there, so every file must be a regular file with one name.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from modelfetch.history.errors import Damaged, Unavailable

Inode = tuple[int, int]
"""Device and inode: identifies a file, whatever its name."""

SIDE_SUFFIXES: Final = ("-wal", "-shm", "-journal")
"""Suffixes of the files that SQLite opens beside a database (https://www.sqlite.org/tempfiles.html)."""
_LOG: Final = "-wal"
_JOURNAL: Final = "-journal"
"""This package never writes one (:func:`modelfetch.history.database._create_tables`). A crafted journal could
name any file as its super-journal, which SQLite deletes after playing the journal back."""


class DatabaseFile:
    """The path of a database, and the files there.

    Attributes:
        path: Absolute path of the database.
        used: The file that was there at the last inspection, or None.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.used: Inode | None = None

    def inspect(self) -> bool:
        """Return whether the file exists, after checking that SQLite may open it and its side files.

        Raises:
            Unavailable: The file cannot be inspected, or is not a regular file with one name.
            Damaged: A side file is not one that this package created.
        """
        found = self._stat(self.path)
        self.used = None if found is None else (found.st_dev, found.st_ino)
        if found is not None and not stat.S_ISREG(found.st_mode):
            raise Unavailable("it is not a regular file")
        if found is not None and found.st_nlink > 1:  # SQLite finds log and locks by the name
            raise Unavailable("it has another name: it is a hard link")
        for suffix in SIDE_SUFFIXES:
            self._inspect_side(suffix)
        return found is not None

    def _inspect_side(self, suffix: str) -> None:
        found = self._stat(self.side_file(suffix))
        if found is None:
            return
        if suffix == _JOURNAL or not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise Damaged(f"{self.side_file(suffix).name} was not created by modelfetch")

    def _stat(self, path: Path) -> os.stat_result | None:
        try:
            return path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Unavailable((error.strerror or "it cannot be inspected").lower()) from None

    def inode(self) -> Inode | None:
        """Return the file that has the path now."""
        try:
            found = self.path.lstat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    @property
    def has_log(self) -> bool:
        """Whether a process has the file open, or was killed while it had."""
        return os.path.lexists(self.side_file(_LOG))

    def require_access(self) -> None:
        """Check that the file can be written.

        Raises:
            Unavailable: It cannot be written.
        """
        if not os.access(self.path.parent, os.W_OK):
            raise Unavailable("")  # a read-only cache has no history; no notice is needed
        if not os.access(self.path, os.R_OK | os.W_OK):
            # In a cache shared by several users, only its owner has a history; no notice for the others.
            is_ours = self.path.lstat().st_uid == getattr(os, "geteuid", lambda: -1)()
            raise Unavailable("it is read-only" if is_ours else "")

    def create(self) -> None:
        """Create an empty file that only its owner may read: the history names what the user fetched."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except OSError:
            if not self.inspect():  # otherwise another process created it
                raise Unavailable("") from None

    def require_opened(self, opened: bytes) -> None:
        """Check that a connection opened the inspected file, not the target of a link put there since.

        Args:
            opened: The path as SQLite reports it, with every link followed.

        Raises:
            Unavailable: It opened another file.
        """
        real = Path(os.path.realpath(self.path.parent), self.path.name)
        is_followed = os.name == "posix" and opened != os.fsencode(real)  # on Windows SQLite follows no links
        if is_followed or self.inode() != self.used:
            raise Unavailable("it is being replaced", is_transient=True)

    def log_state(self) -> tuple[int, int] | None:
        """Return size and time of the log, which change whenever a process writes."""
        try:
            found = self.side_file(_LOG).lstat()
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns

    def side_file(self, suffix: str) -> Path:
        """Return the path of a side file."""
        return self.path.with_name(self.path.name + suffix)

    def move_aside(self) -> Path | None:
        """Rename the damaged file and its side files, and return the new path.

        Returns:
            The new path; None if another process has already renamed the file.

        Raises:
            Unavailable: The file cannot be renamed.
        """
        if self.used != self.inode():
            return None
        kept = self.side_file(f".corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
        try:
            # Side files first: SQLite would replay a log that is left behind into the next file.
            for suffix in SIDE_SUFFIXES:
                self._move_side(suffix, kept)
            if self.used is not None:
                self.path.rename(kept)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable(f"it is damaged and cannot be renamed: {error.strerror}") from None
        return kept

    def _move_side(self, suffix: str, kept: Path) -> None:
        side = self.side_file(suffix)
        with suppress(FileNotFoundError):
            found = side.lstat()
            # SQLite rebuilds the index from the log, and an empty log holds nothing.
            if stat.S_ISREG(found.st_mode) and (suffix == "-shm" or not found.st_size):
                side.unlink()
            else:
                side.rename(kept.with_name(kept.name + suffix))

"""The file's name and those beside it: looked at before SQLite opens any of them, and moved aside."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from modelfetch.history.errors import Damaged, Unavailable

Inode = tuple[int, int]
"""Device and inode: what tells a file from another one of the same name."""

SIDES: Final = ("-wal", "-shm", "-journal")
"""What SQLite opens beside a database, as https://www.sqlite.org/tempfiles.html has it."""
_LOG: Final = "-wal"
_JOURNAL: Final = "-journal"
"""Ours never has one (:func:`modelfetch.history.database._found`). One that is played back may name any file
of the disk as its super-journal, which is then deleted."""


class DatabaseFile:
    """Where a database lies.

    Attributes:
        path: Its file, with an absolute path.
        used: The file that was looked at last, or None.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.used: Inode | None = None

    def look(self) -> bool:
        """Whether the file is there, and fit to be opened with all that lies beside it.

        Raises:
            Unavailable: It cannot be looked at, or is no plain file of one name.
            Damaged: Something lies beside it that SQLite would open and we did not make.
        """
        found = self._stat(self.path)
        self.used = None if found is None else (found.st_dev, found.st_ino)
        if found is not None and not stat.S_ISREG(found.st_mode):
            raise Unavailable("it is not a plain file")
        if found is not None and found.st_nlink > 1:  # SQLite's locks and log go by the name
            raise Unavailable("it is a hard link, and has another name elsewhere")
        for suffix in SIDES:
            self._look_beside(suffix)
        return found is not None

    def _look_beside(self, suffix: str) -> None:
        found = self._stat(self.side(suffix))
        if found is None:
            return
        if suffix == _JOURNAL or not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise Damaged(f"{self.side(suffix).name} is none of ours")

    def _stat(self, path: Path) -> os.stat_result | None:
        try:
            return path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Unavailable((error.strerror or "it cannot be looked at").lower()) from None

    def inode(self) -> Inode | None:
        """What has the name now."""
        try:
            found = self.path.lstat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    @property
    def has_log(self) -> bool:
        """Whether somebody has it open, or was killed having it open."""
        return os.path.lexists(self.side(_LOG))

    def require_access(self) -> None:
        """Make sure that it can be written.

        Raises:
            Unavailable: It cannot.
        """
        if not os.access(self.path.parent, os.W_OK):
            raise Unavailable("")  # where no cache can be kept, nobody expects a history
        if not os.access(self.path, os.R_OK | os.W_OK):
            # In a cache that several users share, the history is that of its owner.
            is_ours = self.path.lstat().st_uid == getattr(os, "geteuid", lambda: -1)()
            raise Unavailable("it is read-only" if is_ours else "")

    def make(self) -> None:
        """Make an empty file that only its owner may read."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except OSError:
            if not self.look():  # else another process was quicker
                raise Unavailable("") from None

    def require_opened(self, opened: bytes) -> None:
        """Make sure that a connection is to the file that was looked at, and not to where a link led since.

        Args:
            opened: The file's path as SQLite has it, which has followed every link.

        Raises:
            Unavailable: It is to another one.
        """
        real = Path(os.path.realpath(self.path.parent), self.path.name)
        is_followed = os.name == "posix" and opened != os.fsencode(real)  # on Windows it follows none
        if is_followed or self.inode() != self.used:
            raise Unavailable("it is being replaced", is_transient=True)

    def sign_of_life(self) -> tuple[int, int] | None:
        """What changes whenever somebody writes."""
        try:
            found = self.side(_LOG).lstat()
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns

    def side(self, suffix: str) -> Path:
        """A file beside it."""
        return self.path.with_name(self.path.name + suffix)

    def move_aside(self) -> Path | None:
        """Give the damaged file another name; None when another process has done so already.

        Raises:
            Unavailable: It cannot be renamed.
        """
        if self.used != self.inode():
            return None
        kept = self.side(f".corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
        try:
            # What lies beside it first: a log left alone could be replayed into the file that comes next.
            for suffix in SIDES:
                self._put_aside(suffix, kept)
            if self.used is not None:
                self.path.rename(kept)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable(f"it is damaged, and cannot be moved aside: {error.strerror}") from None
        return kept

    def _put_aside(self, suffix: str, kept: Path) -> None:
        side = self.side(suffix)
        with suppress(FileNotFoundError):
            found = side.lstat()
            # An index is made anew from its log, and an empty log says nothing.
            if stat.S_ISREG(found.st_mode) and (suffix == "-shm" or not found.st_size):
                side.unlink()
            else:
                side.rename(kept.with_name(kept.name + suffix))

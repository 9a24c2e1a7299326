"""The journal of a partial on disk, open at its end."""

from __future__ import annotations

import threading

from modelfetch.model.manifest import FileSpec
from modelfetch.store.disk import Disk
from modelfetch.store.journal import Checkpoint, Piece, header, line
from modelfetch.store.slots import Slot


class JournalFile:
    """The open end of a journal. Lines may come from several threads."""

    def __init__(self, disk: Disk, slot: Slot, fd: int, file: FileSpec) -> None:
        self._disk = disk
        self._path = slot.journal
        self._fd: int | None = fd
        self._header = header(file)
        self._end = 0
        self._is_cut = False
        self._lock = threading.Lock()

    def restart(self) -> None:
        """Empty the journal but for its header."""
        self.resume(0)
        self._cut()

    def resume(self, end: int) -> None:
        """Go on after the first ``end`` bytes; the rest is cut off by the next line, not before."""
        self._end, self._is_cut = end, False

    def append(self, statement: Checkpoint | Piece) -> None:
        """Add a line."""
        text = line(statement)
        with self._lock:
            at = self._place(text)
        self._disk.pwrite(self._open, self._path, text, at)  # without the lock: others wait to write theirs

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        fd, self._fd = self._fd, None
        if fd is not None:
            self._disk.close(fd, self._path)

    @property
    def _open(self) -> int:
        assert self._fd is not None, "nobody has anything to say after the end"
        return self._fd

    def _place(self, text: bytes) -> int:
        """Where a line goes."""
        if not self._is_cut:
            self._cut()
        at, self._end = self._end, self._end + len(text)
        return at

    def _cut(self) -> None:
        self._disk.truncate(self._open, self._path, self._end)
        self._is_cut = True
        if not self._end:
            self._disk.pwrite(self._open, self._path, self._header, 0)
            self._end = len(self._header)

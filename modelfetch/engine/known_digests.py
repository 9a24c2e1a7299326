"""Digests of files outside of the cache, remembered in the history between runs.

A digest counts as long as the path has the size, modification time and inode of when it was hashed. Losing
the history loses nothing: the files are hashed again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation
    from modelfetch.history import DigestRow

AT_ONCE: Final = 64 << 20
"""Bytes that were hashed since the last write after which digests are written: a run that is killed must not
lose the work of seconds, and small files must not cost a transaction each."""
WAIT: Final = 0.2
"""Seconds to wait for the history database: hashing a file again is not worth a longer wait."""
_LIMIT: Final = 2**63
"""Upper bound of SQLite's integers; some file systems have larger inode numbers."""


class HistoryDigests:
    """Remembers digests in the history of a cache; read when a digest is first looked up. Thread-safe.

    Args:
        root: Root directory of the cache, which has the history.
        days: How long the history keeps runs (``history.days``): each write deletes older ones.
        cancel: Ends statements under way.
    """

    def __init__(self, root: Path, days: int, cancel: Cancellation) -> None:
        self._root = root
        self._days = days
        self._cancel = cancel
        self._lock = threading.Lock()
        self._rows: dict[str, DigestRow] | None = None
        self._pending: list[DigestRow] = []
        self._hashed = 0
        """Bytes of the files in ``_pending``."""

    def get(self, path: Path, found: os.stat_result) -> str | None:
        """Return the SHA-256 of a file if it is unchanged since it was hashed."""
        with self._lock:
            row = self._known().get(str(path))
        return row.sha256 if row is not None and _is_unchanged(row, found) else None

    def paths_of(self, sha256: str) -> Iterator[Path]:
        """Yield the files with a SHA-256 that are unchanged since they were hashed."""
        with self._lock:
            rows = [row for row in self._known().values() if row.sha256 == sha256]
        for row in rows:
            with suppress(OSError):
                if _is_unchanged(row, Path(row.path).stat()):
                    yield Path(row.path)

    def put(self, path: Path, found: os.stat_result, sha256: str) -> None:
        """Remember the SHA-256 of a file."""
        from modelfetch.history import DigestRow

        if found.st_mtime_ns < 0 or max(found.st_mtime_ns, found.st_ino) >= _LIMIT:
            return
        row = DigestRow(str(path), found.st_size, found.st_mtime_ns, found.st_ino, sha256, datetime.now(UTC))
        with self._lock:
            self._known()[row.path] = row
            self._pending.append(row)
            self._hashed += row.size
            if self._hashed >= AT_ONCE:
                self._write()

    def close(self) -> None:
        """Write what was not written yet."""
        with self._lock:
            self._write()

    def _known(self) -> dict[str, DigestRow]:
        if self._rows is None:
            from modelfetch.history import FILE, History

            path, cancel = self._root / FILE, self._cancel
            with History(path, wait=WAIT, is_cancelled=lambda: cancel.cancelled) as history:
                self._rows = {row.path: row for row in history.digests()}
        return self._rows

    def _write(self) -> None:
        if not self._pending:
            return
        from modelfetch.history import FILE, History

        with History(self._root / FILE, days=self._days, wait=WAIT) as history:
            history.write(digests=self._pending)
        self._pending, self._hashed = [], 0


def _is_unchanged(row: DigestRow, found: os.stat_result) -> bool:
    return (row.size, row.mtime_ns, row.inode) == (found.st_size, found.st_mtime_ns, found.st_ino)

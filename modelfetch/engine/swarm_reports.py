"""What the engine of a swarm reports about its torrents: the latest figures of each, and totals of a session.

The engine counts each torrent from 0 when it adds it, also when it replaces one of the same infohash, as when
a model that was fetched is uploaded from its final place. So what a torrent counted is kept at its last
report, and when the engine is started again. Only what a crashed engine had not reported is lost.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelfetch.swarm.engine import Status


class Reports:
    """The reports of one session. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: dict[str, Status] = {}
        """By infohash."""
        self._counts: dict[str, tuple[int, int]] = {}
        """Bytes uploaded and downloaded by the latest report about each torrent."""
        self._before = (0, 0)
        """The same of torrents that are gone."""

    def note(self, status: Status, *, is_shown: bool = True) -> None:
        """Note a report.

        Args:
            status: The report.
            is_shown: Whether the session has the torrent; if not, only its bytes count.
        """
        with self._lock:
            self._counts[status.infohash] = status.uploaded, status.downloaded
            if status.is_last:
                self._keep([status.infohash])
            elif is_shown:
                self._latest[status.infohash] = status

    def note_restart(self) -> None:
        """Note that the engine was started again, and counts every torrent from 0."""
        with self._lock:
            self._keep([*self._counts])

    def forget(self, infohash: str) -> None:
        """Forget the figures of a torrent; its bytes stay in the totals."""
        with self._lock:
            self._latest.pop(infohash, None)

    def latest(self) -> list[Status]:
        """Return the latest report about each torrent."""
        with self._lock:
            return list(self._latest.values())

    @property
    def uploaded(self) -> int:
        """Bytes that were sent to peers."""
        return self._sums()[0]

    @property
    def downloaded(self) -> int:
        """Bytes that were received from peers."""
        return self._sums()[1]

    @property
    def incomplete_peers(self) -> int:
        """Number of connected machines that have not all of a model."""
        return sum(not peer.is_seed for status in self.latest() for peer in status.peers)

    def _keep(self, infohashes: Iterable[str]) -> None:
        for infohash in infohashes:
            up, down = self._counts.pop(infohash)
            self._before = self._before[0] + up, self._before[1] + down

    def _sums(self) -> tuple[int, int]:
        with self._lock:
            up, down = map(sum, zip(self._before, *self._counts.values(), strict=True))
            return up, down

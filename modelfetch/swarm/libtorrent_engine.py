"""The engine of the swarm by libtorrent. Only the child process loads this.

libtorrent has threads of its own. One thread here polls its alerts and makes events of them; another one
carries out what the run asks for. How alerts of a torrent become events is in
:mod:`modelfetch.swarm.libtorrent_torrent`.

Version 2.0 and 2.1 are supported. What 2.1 calls deprecated is used where 2.0 has no other name for it.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import libtorrent as lt

from modelfetch.lazy_dataclass import replace
from modelfetch.swarm import libtorrent_settings
from modelfetch.swarm.endpoints import endpoints, free_port
from modelfetch.swarm.engine import EngineError, EngineOptions, Event, Listening, Mode, Removed, TorrentSpec
from modelfetch.swarm.libtorrent_torrent import Torrent, message_of

warnings.simplefilter("ignore", DeprecationWarning)

_STATUS_SECONDS: Final = 0.5
"""Seconds between two reports about each torrent; the decision who reads the origin takes seconds."""
_POLL_SECONDS: Final = 0.1
"""Longest wait for an alert. Flushes and closed files are looked at that often."""
_ADDING_BYTES: Final = 32 * 1024 * 1024
"""Most bytes of pieces that were handed over and are not hashed yet; then the caller waits."""
_ADDING_SECONDS: Final = 5.0
"""Longest wait for that: frames after the piece wait, too."""


class LibtorrentEngine:
    """See :class:`~modelfetch.swarm.engine.Engine`. One thread polls; any may call the other methods."""

    def __init__(self) -> None:
        self._session: Any = None
        self._options = EngineOptions(Path())
        self._torrents: dict[str, Torrent] = {}
        self._removed: list[Torrent] = []
        self._last: list[Event] = []
        """The last reports about torrents that were removed."""
        self._lock = threading.Lock()
        self._hashed = threading.Condition(self._lock)  # notified when pieces may have been hashed
        self._listening: dict[str, None] = {}
        self._next_status = 0.0

    def start(self, options: EngineOptions) -> None:
        """Open the session."""
        self._options = options
        category = lt.alert.category_t
        mask = category.error_notification | category.status_notification | category.storage_notification
        mask |= category.piece_progress_notification | category.peer_notification
        options = replace(options, port=free_port(options.listen, options.port))
        self._session = lt.session(libtorrent_settings.session_settings(options, int(mask)))
        # By default peers of the LAN and this host are in a class without limits.
        every = 1 << int(lt.session.global_peer_class_id)
        classes = lt.ip_filter()
        classes.add_rule("0.0.0.0", "255.255.255.255", every)  # noqa: S104 - a range, not an address to bind
        classes.add_rule("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", every)
        self._session.set_peer_class_filter(classes)

    def add(self, torrent: TorrentSpec) -> None:
        """See the protocol."""
        if torrent.mode is Mode.LEECH:
            _check_below(self._options.staging, torrent.paths.values())
        self._forget(torrent.infohash, is_reported=False)
        with self._lock:  # so that its first alert, which may come at once, finds it
            unused = self._options.staging / ".unused"
            self._torrents[torrent.infohash] = Torrent(self._session, torrent, unused)
        self.peers(torrent.infohash, torrent.peers)

    def add_piece(self, infohash: str, piece: int, data: bytes) -> None:
        """See the protocol."""
        deadline = time.monotonic() + _ADDING_SECONDS
        with self._hashed:
            torrent = self._torrents.get(infohash)
            if torrent is None or not torrent.is_missing(piece):
                return
            while self._adding_bytes() > _ADDING_BYTES and self._hashed.wait(deadline - time.monotonic()):
                pass
            if torrent.is_missing(piece):  # it may have come from a peer meanwhile, or the torrent is removed
                torrent.add_piece(piece, data)

    def _adding_bytes(self) -> int:
        return sum(torrent.adding_bytes for torrent in self._torrents.values())

    def peers(self, infohash: str, addresses: Sequence[str]) -> None:
        """See the protocol."""
        torrent = self._torrents.get(infohash)
        if torrent is not None:
            torrent.connect(endpoints(addresses))

    def remove(self, infohash: str) -> None:
        """See the protocol."""
        self._forget(infohash, is_reported=True)

    def _forget(self, infohash: str, *, is_reported: bool) -> None:
        with self._lock:
            torrent = self._torrents.pop(infohash, None)
            if torrent is not None:
                torrent.is_reported = is_reported
                self._last.append(torrent.status(is_last=True))
                self._session.remove_torrent(torrent.handle)
                self._removed.append(torrent)

    def _closed(self) -> Iterator[Event]:
        """Report torrents that were removed, and whose files are closed."""
        for torrent in [each for each in self._removed if each.is_closed()]:
            self._removed.remove(torrent)
            # One that was replaced has the same files: the removal of both is reported with the last.
            twin = next((each for each in self._removed if each.spec.infohash == torrent.spec.infohash), None)
            if twin is not None:
                twin.is_reported |= torrent.is_reported
            elif torrent.is_reported:
                yield Removed(torrent.spec.infohash)

    def events(self, timeout: float) -> Sequence[Event]:
        """See the protocol; ``timeout`` is at most a tenth of a second."""
        self._session.wait_for_alert(int(min(timeout, _POLL_SECONDS) * 1000))
        with self._lock:
            found = [event for alert in self._session.pop_alerts() for event in self._events_of(alert)]
            for torrent in self._torrents.values():
                torrent.flush()
                found += torrent.add_again()
            found += self._last
            self._last.clear()
            found += self._closed()
            self._hashed.notify_all()
            if time.monotonic() >= self._next_status:
                self._next_status = time.monotonic() + _STATUS_SECONDS
                found += [torrent.status() for torrent in self._torrents.values()]
        return found

    def _events_of(self, alert: Any) -> Iterator[Event]:
        if isinstance(alert, lt.listen_succeeded_alert):
            yield from self._listening_events(alert)
        elif isinstance(alert, lt.listen_failed_alert):
            yield EngineError(f"cannot listen: {message_of(alert)}")
        elif isinstance(alert, lt.alerts_dropped_alert):
            for torrent in self._torrents.values():
                torrent.catch_up()
        elif isinstance(alert, lt.torrent_alert):
            # Compared by handle: the alert of a torrent that was replaced has the same infohash.
            for torrent in (*self._torrents.values(), *self._removed):
                if torrent.handle == alert.handle:
                    yield from torrent.events_of(alert)
                    return

    def _listening_events(self, alert: Any) -> Iterator[Event]:
        if "TCP" not in alert.message():  # the socket for uTP has the same port, and is not used
            return
        host = f"[{alert.address}]" if ":" in alert.address else alert.address
        self._listening[f"{host}:{alert.port}"] = None
        yield Listening(tuple(self._listening), self._options.peer_id.hex())

    def close(self) -> None:
        """Close the session: announces to trackers that it stops, and closes all files."""
        self._session = None


def _check_below(staging: Path, paths: Iterable[Path]) -> None:
    """Check that the engine writes below the staging directory alone, whatever a caller mistakes.

    Raises:
        ValueError: A path is elsewhere.
    """
    root = staging.resolve()
    for path in paths:
        if not path.is_absolute() or not path.resolve().is_relative_to(root):
            raise ValueError("a path is not below the staging directory")

"""The engine as the run sees it: a child process, started again after a crash.

One thread starts the child and reads its events. A crash of the native library costs a restart: all torrents
are added again, and libtorrent checks what lies in the staging files. After too many crashes ``EngineGone``
is reported, and the run goes on without a swarm::

    engine = EngineClient()
    engine.start(EngineOptions(staging))
    engine.add(spec)
    for event in engine.events(1.0): ...
    engine.close()
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from modelfetch import threads
from modelfetch.errors import StoreError, UnavailableError
from modelfetch.lazy_dataclass import replace
from modelfetch.swarm import child_process
from modelfetch.swarm.child_process import ChildProcess
from modelfetch.swarm.endpoints import endpoints
from modelfetch.swarm.engine import (
    EngineGone,
    EngineOptions,
    Event,
    Listening,
    Mode,
    Removed,
    Restarted,
    Status,
    TorrentSpec,
)
from modelfetch.swarm.frames import frame, read_event, read_frame
from modelfetch.swarm.metainfo import Metainfo, parse

if TYPE_CHECKING:
    from pathlib import Path

RESTARTS: Final = 3
"""Most restarts in a row. A crash that the data of a peer causes comes back."""
_STABLE_SECONDS: Final = 600.0
"""A child that ran that long counts as the first again: a server runs for months."""
_FIRST_DELAY: Final = 0.5
"""Seconds before the first restart; twice as long before each further one."""
_START_SECONDS: Final = 20.0
"""Longest wait for a child that starts: Python, libtorrent and the sockets."""
_PASSING: Final = frozenset({errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errors of a system that has too little for another process at the moment (fork(2), pipe(2))."""
_CLOSE_SECONDS: Final = 5.0
"""Longest wait for a child that was told to end, which takes itself four; then it is killed."""


class EngineClient:
    """See :class:`~modelfetch.swarm.engine.Engine`. Thread-safe.

    Args:
        words: The command line of the child; None for the engine by libtorrent.
        first_delay: Seconds before the first restart.
    """

    def __init__(self, words: Sequence[str] | None = None, *, first_delay: float = _FIRST_DELAY) -> None:
        self._words = words
        self._first_delay = first_delay
        self._options: EngineOptions | None = None
        self._torrents: dict[str, TorrentSpec] = {}
        self._metainfo: dict[str, Metainfo] = {}
        self._removing: list[str] = []
        self._child: ChildProcess | None = None
        self._is_closed = False
        self._events: list[Event] = []
        self._statuses: dict[str, Status] = {}
        self._is_listening = False
        self._end: EngineGone | None = None
        self._changed = threading.Condition(threading.RLock())
        self._thread: threading.Thread | None = None

    @property
    def pid(self) -> int | None:
        """The process ID of the child, if it runs."""
        child = self._child
        return None if child is None else child.pid

    def start(self, options: EngineOptions) -> None:
        """See the protocol."""
        if self._words is None:
            child_process.check_available()
            self._words = child_process.command()
        self._options = options
        self._thread = threads.require(self._supervise, "swarm-engine")
        with self._changed:
            self._changed.wait_for(lambda: self._is_listening or self._end, _START_SECONDS)
            end = self._end or (None if self._is_listening else EngineGone("the engine does not start"))
        if end is not None:
            self.close()
            raise UnavailableError(end.reason, hint="The sources are used without the swarm.")

    def add(self, torrent: TorrentSpec) -> None:
        """See the protocol."""
        endpoints(torrent.peers)
        metainfo = parse(torrent.metainfo) if torrent.metainfo else None
        if metainfo is not None:
            if metainfo.infohash != torrent.infohash:
                raise ValueError("the torrent has another infohash")
            # Nothing that a torrent file has beside that reaches the engine: no tracker, no web seed.
            torrent = replace(torrent, metainfo=metainfo.encode())
        self._check_paths(torrent)
        with self._changed:
            self._torrents[torrent.infohash] = torrent
            self._metainfo.pop(torrent.infohash, None)
            if metainfo is not None:
                self._metainfo[torrent.infohash] = metainfo
            self._send(_add_frame(torrent))

    def _check_paths(self, torrent: TorrentSpec) -> None:
        assert self._options is not None, "start the engine first"
        for path in torrent.paths.values():
            str(path).encode()  # libtorrent has paths in UTF-8 alone; UnicodeEncodeError is a ValueError
            if not path.is_absolute():
                raise ValueError("a path is not absolute")
            if torrent.mode is Mode.LEECH and not _is_below(self._options.staging, path):
                raise ValueError("a path is not below the staging directory")

    def add_piece(self, infohash: str, piece: int, data: bytes) -> None:
        """See the protocol."""
        with self._changed:
            metainfo, torrent = self._metainfo.get(infohash), self._torrents.get(infohash)
            child = self._child
        if metainfo is None or torrent is None or child is None:
            return
        place = metainfo.piece(piece)
        if place.size != len(data):
            raise ValueError(f"piece {piece} has {place.size} bytes, not {len(data)}")
        if place.file.path in torrent.paths:
            # Not under the lock: it may wait for the child.
            child.send(frame({"do": "add_piece", "infohash": infohash, "piece": piece}, data), waits=True)

    def peers(self, infohash: str, addresses: Sequence[str]) -> None:
        """See the protocol."""
        endpoints(addresses)
        with self._changed:
            torrent = self._torrents.get(infohash)
            if torrent is None:
                return
            known = tuple(dict.fromkeys((*torrent.peers, *addresses)))  # for after a crash
            self._torrents[infohash] = replace(torrent, peers=known)
            self._send(frame({"do": "peers", "infohash": infohash, "addresses": list(addresses)}))

    def remove(self, infohash: str) -> None:
        """See the protocol."""
        with self._changed:
            if self._torrents.pop(infohash, None) is None:
                return
            self._metainfo.pop(infohash, None)
            if self._child is None:
                self._put(Removed(infohash))  # the process that had its files open is gone
                return
            self._removing.append(infohash)
            self._send(frame({"do": "remove", "infohash": infohash}))

    def events(self, timeout: float) -> Sequence[Event]:
        """See the protocol."""
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._statuses, timeout)
            found = [*self._events, *self._statuses.values()]
            self._events.clear()
            self._statuses.clear()
            return found

    def close(self) -> None:
        """See the protocol."""
        with self._changed:
            self._is_closed = True
            child = self._child
            self._changed.notify_all()
        if child is not None:
            child.close()
        if self._thread is None:
            return
        self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive() and (child := self._child) is not None:
            child.kill()
            self._thread.join(_CLOSE_SECONDS)

    def _send(self, data: bytes) -> None:
        """Write a frame, if a child runs; else it is sent what it needs when it starts."""
        if self._child is not None:
            self._child.send(data)

    def _put(self, event: Event) -> None:
        with self._changed:
            match event:
                case Status() if event.is_last:
                    self._statuses.pop(event.infohash, None)
                    self._events.append(event)
                case Status():
                    self._statuses[event.infohash] = event
                case Removed():
                    if event.infohash in self._removing:
                        self._removing.remove(event.infohash)
                    if (status := self._statuses.pop(event.infohash, None)) is not None:
                        self._events.append(status)  # of a torrent that a crash removed
                    self._events.append(event)
                case _:
                    self._is_listening |= isinstance(event, Listening)
                    self._end = event if isinstance(event, EngineGone) else self._end
                    self._events.append(event)
            self._changed.notify_all()

    def _supervise(self) -> None:
        """Run children; report EngineGone even after a bug, because files wait for events."""
        try:
            self._run_children()
        except Exception as error:  # a bug
            self._put(EngineGone(f"the engine of the swarm failed: {type(error).__name__}: {error}"))

    def _run_children(self) -> None:
        """Run children until the engine is closed, or crashed too often."""
        crashes = 0
        while True:
            started = time.monotonic()
            reason, is_final = self._run_child()
            if self._is_closed:
                return
            crashes = 1 if time.monotonic() - started > _STABLE_SECONDS else crashes + 1
            if is_final or crashes > RESTARTS:
                self._put(EngineGone(reason))
                return
            with self._changed:
                if self._changed.wait_for(lambda: self._is_closed, self._first_delay * 2 ** (crashes - 1)):
                    return
                # Before that: they would seem to be of the next child.
                self._events += self._statuses.values()
                self._statuses.clear()
                self._put(Restarted(reason))

    def _run_child(self) -> tuple[str, bool]:
        """Run one child to its end. Returns why it ended, and whether another one would end like it."""
        assert self._words is not None
        try:
            child = ChildProcess(self._words)
        except OSError as error:
            is_final = error.errno not in _PASSING
            return f"the engine of the swarm cannot be started: {error.strerror}", is_final
        except StoreError as error:
            return f"the engine of the swarm cannot be started: {error.message}", False
        with self._changed:
            self._child = child
            for data in self._first_frames():
                child.send(data)
            if self._is_closed:
                child.close()
        fault = self._read(child)
        with self._changed:
            self._child = None
        reason = child.wait()
        for infohash in [*self._removing]:
            self._put(Removed(infohash))
        return fault or reason, child.is_impossible

    def _read(self, child: ChildProcess) -> str:
        """Read events until the child ends; what is malformed ends it. Returns what was malformed."""
        try:
            while (found := read_frame(child.output)) is not None:
                self._put(read_event(*found))
        except (ValueError, RecursionError) as error:
            child.kill()
            return f"the engine of the swarm sent something malformed: {error}"
        except BaseException:
            child.kill()
            raise
        return ""

    def _first_frames(self) -> list[bytes]:
        """Return what a new child is sent: the options, and all torrents."""
        options = self._options
        assert options is not None
        head = {name: getattr(options, name) for name in EngineOptions.__annotations__}
        head |= {
            "staging": str(options.staging),
            "peer_id": options.peer_id.hex(),
            "listen": [*options.listen],
        }
        return [
            frame({"do": "start", **head}),
            *map(_add_frame, self._torrents.values()),
        ]


def _add_frame(torrent: TorrentSpec) -> bytes:
    head = {
        "do": "add",
        "infohash": torrent.infohash,
        "paths": {path: str(place) for path, place in torrent.paths.items()},
        "mode": torrent.mode.value,
        "trackers": list(torrent.trackers),
        "peers": list(torrent.peers),
    }
    return frame(head, torrent.metainfo)


def _is_below(staging: Path, path: Path) -> bool:
    return path.resolve().is_relative_to(staging.resolve())

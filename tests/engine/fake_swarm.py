"""An engine of a swarm that a test plays: machines with pieces, in memory, moved on by a fake clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from modelfetch.engine.runtime import Runtime
from modelfetch.engine.swarm_options import SwarmOptions
from modelfetch.engine.swarm_session import Session
from modelfetch.errors import UnavailableError
from modelfetch.lazy_dataclass import replace
from modelfetch.model.manifest import Manifest, SwarmTorrent
from modelfetch.swarm.engine import (
    EngineError,
    EngineGone,
    EngineOptions,
    Event,
    HashFailed,
    MetadataReceived,
    Peer,
    PieceFinished,
    Ready,
    Restarted,
    Status,
    TorrentSpec,
)
from modelfetch.swarm.merkle import FileHashes, hash_pieces
from modelfetch.swarm.metainfo import Metainfo, build
from tests.engine.fakes import FakeTime, Laboratory
from tests.swarm.torrent_pieces import has_piece

PIECE = 64 * 1024


def torrent_of(manifest: Manifest, contents: Sequence[bytes]) -> Metainfo:
    """Make the torrent of a model with small pieces."""
    hashes = {file.path: _hashes(content) for file, content in zip(manifest.files, contents, strict=True)}
    return build(manifest.name, hashes, PIECE)


@lru_cache(maxsize=16)
def _hashes(content: bytes) -> FileHashes:
    """Kept: most tests use the same megabytes."""
    return hash_pieces([content[at : at + PIECE] for at in range(0, len(content), PIECE)], PIECE)


def with_torrent(manifest: Manifest, metainfo: Metainfo, directory: Path | None = None) -> Manifest:
    """Name the torrent in a manifest, and write the torrent file if a directory is given."""
    torrent = None
    if directory is not None:
        directory.mkdir(exist_ok=True)
        torrent = directory / f"{manifest.name}.torrent"
        torrent.write_bytes(metainfo.encode())
    swarm = SwarmTorrent(metainfo.infohash)
    return replace(manifest, swarm=swarm, torrent=None if torrent is None else str(torrent))


@dataclass
class Machine:
    """Another machine of the swarm."""

    peer_id: str
    pieces: set[int] = field(default_factory=set)
    is_seed: bool = False

    def peer(self, total: int) -> Peer:
        return Peer(self.peer_id, "10.0.0.9:6881", self.is_seed, len(self.pieces) / total, 0, 0)


class FakeEngine:
    """An engine whose peers bring a piece at each call of :meth:`events`, as long as they have one."""

    def __init__(self, metainfo: Metainfo, content: bytes, *, lies: bool = False) -> None:
        self.metainfo = metainfo
        self.machines: list[Machine] = []
        self.options: EngineOptions | None = None
        self.specs: list[TorrentSpec] = []
        self.addresses: list[str] = []
        """Peers that it was told of for a torrent that it has."""
        self.before_adding: Callable[[], object] = lambda: None
        self.given: list[int] = []
        """Pieces that the caller handed over."""
        self.here: set[int] = set()
        self.is_closed = False
        self.is_missing = False
        self.is_silent = False
        """Whether no peer sends anything."""
        self.per_call = 1
        self.knows_availability = True
        self.rounds = 0
        self._content = content
        self._lies = lies
        self._events: list[Event] = []
        self._downloaded = 0

    # Engine

    def start(self, options: EngineOptions) -> None:
        if self.is_missing:
            raise UnavailableError("libtorrent is not installed")
        self.options = options

    def add(self, torrent: TorrentSpec) -> None:
        self.before_adding()
        self.specs.append(torrent)
        self.addresses.extend(torrent.peers)
        if torrent.metainfo or torrent.paths:
            self._events.append(Ready(torrent.infohash))

    def add_piece(self, infohash: str, piece: int, data: bytes) -> None:
        if not has_piece(self.metainfo, piece, data):
            self._events.append(HashFailed(infohash, piece))
            return
        self.given.append(piece)
        self._write(piece, data)
        self._events.append(PieceFinished(infohash, piece))

    def peers(self, infohash: str, addresses: Sequence[str]) -> None:
        if any(spec.infohash == infohash for spec in self.specs):
            self.addresses.extend(addresses)

    def remove(self, infohash: str) -> None: ...

    def close(self) -> None:
        self.is_closed = True

    def events(self, timeout: float) -> Sequence[Event]:
        self.rounds += 1
        if self.specs and self.specs[-1].paths and not self.is_silent:
            self._bring()
        events, self._events = self._events, []
        return [*events, self.status()] if self.specs else events

    # What a test plays

    def crash(self) -> None:
        """End and start again: the staging files are checked again."""
        self._events = [Restarted("killed by signal 11"), Ready(self.metainfo.infohash)]

    def die(self) -> None:
        """End for good."""
        self._events.append(EngineGone("ended three times"))
        self.is_silent = True

    def fail(self, message: str) -> None:
        """Report that the torrent cannot go on, such as after a full disk."""
        self._events.append(EngineError(message, self.metainfo.infohash, is_fatal=True))

    def refuse(self, tracker: str, why: str) -> None:
        """Report that a tracker does not answer."""
        self._events.append(EngineError(why, self.metainfo.infohash, tracker=tracker))

    def send_metadata(self) -> None:
        self._events.append(MetadataReceived(self.metainfo.infohash, self.metainfo.info))

    def status(self) -> Status:
        total = self.metainfo.pieces
        counts = [sum(each in machine.pieces for machine in self.machines) for each in range(total)]
        peers = tuple(machine.peer(total) for machine in self.machines)
        availability = bytes(counts) if self.knows_availability else b""
        return Status(
            self.metainfo.infohash,
            0,
            0,
            self._downloaded,
            0,
            len(self.here),
            peers,
            availability=availability,
        )

    def _bring(self) -> None:
        offered = sorted({piece for machine in self.machines for piece in machine.pieces} - self.here)
        for piece in offered[-self.per_call :]:  # from the end: pieces come in any order
            place = self.metainfo.piece(piece)
            data = self._content[place.offset : place.offset + place.size]
            self._write(piece, bytes(len(data)) if self._lies else data)
            self._downloaded += len(data)
            self._events.append(PieceFinished(self.metainfo.infohash, piece))

    def _write(self, piece: int, data: bytes) -> None:
        place = self.metainfo.piece(piece)
        path = self.specs[-1].paths[place.file.path]
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.seek(place.offset)
            file.write(data)
        self.here.add(piece)


class SwarmTime(FakeTime):
    """A fake clock: each wait of the run moves the swarm on."""

    def __init__(self) -> None:
        super().__init__()
        self.session: Session | None = None
        self.at: list[tuple[float, object]] = []
        """What a test does at some times: seconds since the start, and a function."""
        self._began = self.clock.now

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        while self.at and self.clock.now - self._began >= self.at[0][0]:
            self.at.pop(0)[1]()  # type: ignore[operator]
        self.move()

    def move(self) -> None:
        if self.session is not None:
            while self.session.feeder.feed_next(is_blocking=False):
                pass
            self.session.pump()


def played_session(
    lab: Laboratory, engine: FakeEngine, time: SwarmTime, *, readers: int = 2, trackers: tuple[str, ...] = ()
) -> tuple[Session, list[str]]:
    """Make a session that a test plays, and the list of its notices."""
    notices: list[str] = []
    options = SwarmOptions(readers=readers, trackers=trackers)
    session = Session(lab.store, options, lambda: engine, notices.append, time.clock, is_threaded=False)
    time.session = session
    return session, notices


def swarm_runtime(lab: Laboratory, session: Session, time: SwarmTime) -> Runtime:
    """Make a runtime with a swarm, from the sources that the laboratory has by now."""
    return replace(lab.runtime(cancel=time, clock=time.clock), swarm=session)

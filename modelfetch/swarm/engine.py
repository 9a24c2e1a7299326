"""What a run asks of a BitTorrent engine, and what the engine reports: the seam of the swarm.

The engine moves pieces between machines. It vouches for nothing: the caller reads a finished piece from the
staging file and hashes the whole file like the bytes of any source. The engine never decides who reads the
origin; the caller gives it pieces that came another way, with :meth:`Engine.add_piece`.

The life of a torrent::

    engine.start(EngineOptions(staging=directory))
    engine.add(TorrentSpec(infohash, metainfo, paths={"onnx/model.onnx": directory / "0"}))
    -> Ready(infohash)                  the staging files were checked; pieces may be added from now on
    engine.add_piece(infohash, 7, data) -> PieceFinished(infohash, 7), or HashFailed(infohash, 7)
    -> PieceFinished(infohash, 8)       it came from a peer, or lay in the staging file; it is in the file now
    -> Status(infohash, ...)            twice a second
    engine.remove(infohash) -> Status(infohash, ..., is_last=True)
    -> Removed(infohash)                libtorrent has closed the files

Without metainfo (``metainfo=b""``) the engine asks peers for it, writes nothing, and reports
:class:`MetadataReceived`. The caller checks that against the manifest and calls :meth:`Engine.add` again for
the same infohash, with the metainfo (without layers) and the paths.

An engine that ended unexpectedly is started again, with all torrents that were added. Then ``Restarted`` is
reported, and ``Ready`` for each torrent again: a caller adds the pieces that it has at each ``Ready``, those
that were reported as finished before excepted if their staging file is still there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from modelfetch.lazy_dataclass import dataclass, field


class Mode(StrEnum):
    """What an engine may do with the files of a torrent."""

    LEECH = "leech"
    """Read and write the staging files: check what lies there, fetch what is missing, upload the rest."""
    SEED = "seed"
    """Upload from complete files, and never write to them. Each piece is hashed before its first upload."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How an engine runs; the same for all its torrents."""

    staging: Path
    """The directory below which the engine may write. It must exist."""
    peer_id: bytes = b""
    """20 bytes by which peers know this engine, in ``Status.peers`` too; empty for random ones."""
    listen: tuple[str, ...] = ("0.0.0.0", "::")  # noqa: S104 - peers of the LAN connect to it
    """Addresses to listen on, IPv4 or IPv6."""
    port: int = 0
    """TCP port to listen on; 0 for any free one. If it is in use, another one is taken."""
    upload_rate: int | None = None
    """Limit of all uploads, in bytes per second. LAN and loopback peers obey it too."""
    download_rate: int | None = None
    """Limit of all downloads, in bytes per second."""
    discovers_lan: bool = True
    """Whether peers are found by multicast in the LAN (Local Service Discovery, BEP 14)."""
    is_shared_address: bool = False
    """Whether several peers may have the same address, as on one host or behind one NAT."""


@dataclass(frozen=True, slots=True)
class TorrentSpec:
    """A torrent for an engine."""

    infohash: str
    """SHA-256 of the info dictionary: 64 lowercase hexadecimal digits."""
    metainfo: bytes = b""
    """The torrent file with piece layers; empty if it must be fetched from peers."""
    paths: Mapping[str, Path] = field(default_factory=dict)
    """Absolute path of the data of each wanted file, by the path in the torrent. Others are not fetched."""
    mode: Mode = Mode.LEECH
    trackers: tuple[str, ...] = ()
    """Announce URLs: http, https or udp."""
    peers: tuple[str, ...] = ()
    """``HOST:PORT`` of machines to connect to, with IP addresses: the engine resolves no names."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A connected peer."""

    peer_id: str
    """Its peer ID: 40 lowercase hexadecimal digits."""
    address: str
    """``HOST:PORT`` of the connection."""
    is_seed: bool
    progress: float
    """The part of the torrent that it has: 0 to 1."""
    upload_rate: int
    """What it is sent, in bytes per second."""
    download_rate: int
    """What it sends, in bytes per second."""
    client: str = ""
    """What it calls itself. Text of a stranger: sanitize it before it is shown."""


@dataclass(frozen=True, slots=True)
class Listening:
    """The engine runs; reported again when the addresses change."""

    addresses: tuple[str, ...]
    """``HOST:PORT`` of each listening socket."""
    peer_id: str
    """The own peer ID: 40 lowercase hexadecimal digits; empty if none was chosen."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The files of a torrent were checked; what lay there was reported as PieceFinished before.

    A torrent in mode ``seed`` reports no pieces: all are there.
    """

    infohash: str


@dataclass(frozen=True, slots=True)
class PieceFinished:
    """A piece matched its hash and lies in the staging file: fetched, added, or there from an earlier run."""

    infohash: str
    piece: int


@dataclass(frozen=True, slots=True)
class HashFailed:
    """A piece did not match its hash; it is fetched again."""

    infohash: str
    piece: int


@dataclass(frozen=True, slots=True)
class PeerBanned:
    """A peer sent wrong bytes; the engine has closed its connection, and takes nothing from it any more."""

    infohash: str
    address: str
    """``HOST:PORT`` of the connection."""


@dataclass(frozen=True, slots=True)
class Status:
    """Figures of a torrent, twice a second, and once when it is removed or replaced.

    A newer one replaces one that was not read yet, except the last one of a torrent.
    """

    infohash: str
    download_rate: int
    """Payload, in bytes per second."""
    upload_rate: int
    downloaded: int
    """Payload received since the torrent was added, in bytes; pieces added by the caller do not count."""
    uploaded: int
    pieces: int
    """Number of pieces that are there."""
    peers: tuple[Peer, ...] = ()
    availability: bytes = b""
    """For each piece, how many connected peers have it, a byte each, at most 255; empty if unknown."""
    swarm_size: int = 0
    """How many machines of the swarm are known, connected or not, as far as peers and trackers say."""
    is_last: bool = False
    """Whether the torrent is removed, or replaced by one that counts from 0."""


@dataclass(frozen=True, slots=True)
class MetadataReceived:
    """The info dictionary came from peers, and has the infohash. Nothing else of it was checked."""

    infohash: str
    info: bytes


@dataclass(frozen=True, slots=True)
class Removed:
    """The files of a torrent are closed; nothing writes to them any more."""

    infohash: str


@dataclass(frozen=True, slots=True)
class EngineError:
    """Something failed: for a torrent, or for the engine (empty infohash). The engine goes on."""

    message: str
    infohash: str = ""
    is_fatal: bool = False
    """Whether the torrent can make no progress any more, such as after a full disk."""
    tracker: str = ""
    """The tracker that answers at none of the own addresses; ``message`` says why. Empty for all else."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """The engine ended unexpectedly, and was started again with all its torrents."""

    reason: str


@dataclass(frozen=True, slots=True)
class EngineGone:
    """The engine ended, and will not be started again. No event follows."""

    reason: str


Event = (
    Listening
    | Ready
    | PieceFinished
    | HashFailed
    | PeerBanned
    | Status
    | MetadataReceived
    | Removed
    | EngineError
    | Restarted
    | EngineGone
)
"""What :meth:`Engine.events` returns."""


class Engine(Protocol):
    """A BitTorrent engine. Its methods may be called by any thread; they return before their effect."""

    def start(self, options: EngineOptions) -> None:
        """Start it.

        Raises:
            UnavailableError: It is not installed, or cannot be started.
            StoreError: The system allows no more threads.
        """

    def add(self, torrent: TorrentSpec) -> None:
        """Add a torrent. One with the same infohash is replaced, as after MetadataReceived.

        Raises:
            ValueError: The torrent or an address is malformed, or a path is not below the staging directory.
        """

    def add_piece(self, infohash: str, piece: int, data: bytes) -> None:
        """Hand over a piece that came another way. Blocks while the engine is behind.

        A piece that is given before Ready, that is there already, or that is of a file without a path, is
        ignored.

        Raises:
            IndexError: The torrent has no such piece.
            ValueError: The piece has another size.
        """

    def peers(self, infohash: str, addresses: Sequence[str]) -> None:
        """Connect to more peers, ``HOST:PORT`` each.

        Raises:
            ValueError: An address is malformed.
        """

    def remove(self, infohash: str) -> None:
        """Forget a torrent and close its files, which stay; Removed reports when that is done."""

    def events(self, timeout: float) -> Sequence[Event]:
        """Wait for events, and return all that have come, in order; none after ``timeout`` seconds."""

    def close(self) -> None:
        """End it, and wait for that for a few seconds; then kill it. May be called twice."""

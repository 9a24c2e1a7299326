"""One torrent in libtorrent: how it is added, and how its alerts become events.

libtorrent says that a piece is finished when its hash is right, while its bytes may still be in a cache. So a
piece is reported after a flush that was asked for later::

    piece_finished_alert 7, 8     collected
    flush_cache()
    piece_finished_alert 9        collected for the next flush
    cache_flushed_alert           PieceFinished 7, 8; their bytes are in the file

libtorrent says that a torrent is removed while a thread may still write a block. The files are closed when
no descriptor of this process leads to them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import libtorrent as lt

from modelfetch.lazy_dataclass import dataclass
from modelfetch.swarm.engine import (
    EngineError,
    Event,
    HashFailed,
    MetadataReceived,
    Mode,
    Peer,
    PeerBanned,
    PieceFinished,
    Ready,
    Status,
    TorrentSpec,
)
from modelfetch.swarm.metainfo import Metainfo, parse

_FLUSH_SECONDS: Final = 0.05
"""Least time between two flushes: a fast network finishes hundreds of pieces in a second."""
_FLUSH_PATIENCE: Final = 10.0
"""A slow disk may take seconds for a flush."""
_CLOSE_SECONDS: Final = 5.0
"""Longest wait for closed files after a removal; then they are given up as they are."""
_WRITE_SECONDS: Final = 0.5
"""The wait where the system does not tell whether they are closed: a block of 16 KiB is written by then,
unless the disk is stuck."""
_ADD_SECONDS: Final = 1.0
"""Time for a piece that was added to be hashed; then it is added again, and more time is given each time."""
_ADD_TRIES: Final = 4
"""Times that it is added again: 31 seconds with the waits. Then the piece counts as wrong."""
_TAKES_PADDING: Final = lt.version.startswith("2.0.")
"""Whether a piece at the end of a file is added with the padding after it: 2.0 reads as much, whatever it is
given, and 2.1 does not take more than the file has."""
_GIVEN_SECONDS: Final = 30.0
"""Time in which an address that is given again is not passed on."""
_DESCRIPTORS: Final = Path("/proc/self/fd")
_WANTED: Final = 4
"""The default priority of libtorrent."""
_UNREACHABLE: Final = 180
"""Code of libtorrent (``announce_skipped``): it asks none from this address, such as the loopback's."""


@dataclass(slots=True)
class _Added:
    """A piece that was added, and of which nothing was heard yet."""

    data: bytes
    due: float
    """When it is added again."""
    tries: int = 0


class Torrent:
    """A torrent of a session. Not thread-safe.

    Args:
        session: The session, to which the torrent is added.
        spec: The torrent.
        unused: Where files without a path would lie; nothing is written there.

    Raises:
        ValueError: The metainfo does not have the infohash, or a file that is to be uploaded is another one.
    """

    def __init__(self, session: Any, spec: TorrentSpec, unused: Path) -> None:
        self.spec: Final = spec
        self._adding: dict[int, _Added] = {}
        self.is_reported = True
        """Whether its removal is reported."""
        self._given: dict[tuple[str, int], float] = {}
        self._is_ready = False
        self._reported: set[int] = set()
        self._finished: list[int] = []
        self._flushing: list[int] = []
        self._is_flushing = False
        self._next_flush = 0.0
        self._removed_at: float | None = None
        self.handle: Final[Any] = session.add_torrent(_parameters(spec, unused))

    def connect(self, endpoints: Iterable[tuple[str, int]]) -> None:
        """Connect to peers; an address that libtorrent refuses is left out.

        libtorrent tries a peer that it knows again by itself. It begins anew with one that it is told again,
        and would never get to connect to one that it is told all the time.
        """
        now = time.monotonic()
        for endpoint in endpoints:
            if now < self._given.get(endpoint, 0.0) + _GIVEN_SECONDS:
                continue
            self._given[endpoint] = now
            try:
                self.handle.connect_peer(endpoint)
            except RuntimeError:  # for instance, of another address family than all listening sockets
                continue

    def is_missing(self, piece: int) -> bool:
        """Whether a piece may be added."""
        return self._is_ready and self.spec.mode is Mode.LEECH and piece not in self._reported

    def add_piece(self, piece: int, data: bytes) -> None:
        """Hand over a piece; libtorrent hashes it."""
        if _TAKES_PADDING:
            data = data.ljust(self.handle.torrent_file().piece_size(piece), b"\0")
        self._adding[piece] = _Added(data, time.monotonic() + _ADD_SECONDS)
        self.handle.add_piece(piece, data, 0)

    @property
    def adding_bytes(self) -> int:
        """Bytes of pieces that were added and are not hashed yet."""
        return sum(len(added.data) for added in self._adding.values())

    def add_again(self) -> Iterator[Event]:
        """Add pieces again of which nothing was heard; report those that libtorrent does not take.

        It ignores a piece while it cleans up after the same piece failed.
        """
        now = time.monotonic()
        for piece, added in [*self._adding.items()]:
            if now < added.due:
                continue
            if added.tries == _ADD_TRIES:
                del self._adding[piece]
                yield HashFailed(self.spec.infohash, piece)
                continue
            added.tries += 1
            added.due = now + _ADD_SECONDS * 2**added.tries
            self.handle.add_piece(piece, added.data, 0)

    def events_of(self, alert: Any) -> Iterator[Event]:
        """Make events of an alert."""
        handler = self._handlers.get(type(alert).__name__)
        return iter(()) if handler is None else handler(self, alert)

    def flush(self) -> None:
        """Ask for a flush, if pieces were finished since the last one; ask again if no answer comes."""
        now = time.monotonic()
        if self._is_flushing:
            if now >= self._next_flush + _FLUSH_PATIENCE:
                self._next_flush = now
                self.handle.flush_cache()
        elif self._finished and now >= self._next_flush:
            self._flushing, self._finished = self._finished, []
            self._is_flushing = True
            self._next_flush = now + _FLUSH_SECONDS
            self.handle.flush_cache()

    def catch_up(self) -> None:
        """Look at all pieces, because alerts were lost; that of a flush may be among them."""
        if self._is_ready and self.spec.mode is Mode.LEECH:
            for piece in self._there():
                self._collect(piece)
        self._is_flushing = False
        self._finished += self._flushing
        self._flushing = []

    def status(self, *, is_last: bool = False) -> Status:
        """Make an event of the figures."""
        status = self.handle.status(0)
        return Status(
            infohash=self.spec.infohash,
            download_rate=int(status.download_payload_rate),
            upload_rate=int(status.upload_payload_rate),
            downloaded=int(status.total_payload_download),
            uploaded=int(status.total_payload_upload),
            pieces=int(status.num_pieces),
            peers=tuple(_peers(self.handle.get_peer_info())),
            availability=bytes(min(count, 255) for count in self.handle.piece_availability()),
            swarm_size=max(0, int(status.list_peers), int(status.num_incomplete)),
            is_last=is_last,
        )

    def is_closed(self) -> bool:
        """Whether it was removed, and all its files are closed."""
        if self._removed_at is None:
            return False
        waited = time.monotonic() - self._removed_at
        if sys.platform != "linux":  # no list of descriptors
            return waited > _WRITE_SECONDS
        return waited > _CLOSE_SECONDS or not _open_paths() & {
            os.fsencode(path) for path in self.spec.paths.values()
        }

    def _on_piece_finished(self, alert: Any) -> Iterator[Event]:
        if self._is_ready:  # pieces that a check of the files finds are reported at its end
            self._collect(int(alert.piece_index))
        yield from ()

    def _on_cache_flushed(self, _: Any) -> Iterator[Event]:
        flushed, self._flushing = self._flushing, []
        self._is_flushing = False
        yield from (PieceFinished(self.spec.infohash, piece) for piece in flushed)

    def _on_hash_failed(self, alert: Any) -> Iterator[Event]:
        piece = int(alert.piece_index)
        self._adding.pop(piece, None)
        yield HashFailed(self.spec.infohash, piece)

    def _on_peer_ban(self, alert: Any) -> Iterator[Event]:
        yield PeerBanned(self.spec.infohash, _address(alert.ip))

    def _on_metadata(self, _: Any) -> Iterator[Event]:
        yield MetadataReceived(self.spec.infohash, bytes(self.handle.torrent_file().metadata()))

    def _on_removed(self, _: Any) -> Iterator[Event]:
        self._removed_at = time.monotonic()
        yield from ()

    def _on_fatal(self, alert: Any) -> Iterator[Event]:
        yield EngineError(message_of(alert), self.spec.infohash, is_fatal=True)

    def _on_error(self, alert: Any) -> Iterator[Event]:
        yield EngineError(message_of(alert), self.spec.infohash)

    def _on_checked(self, _: Any) -> Iterator[Event]:
        """Report what lay in the files: it was read from there, so it needs no flush."""
        if not self.spec.metainfo:
            return
        self._is_ready = True
        if self.spec.mode is Mode.LEECH:
            pieces = self._there() - self._reported
            self._reported |= pieces
            yield from (PieceFinished(self.spec.infohash, piece) for piece in sorted(pieces))
        yield Ready(self.spec.infohash)

    def _there(self) -> set[int]:
        """Return the numbers of the pieces that libtorrent has."""
        bits = self.handle.status(lt.torrent_handle.query_pieces).pieces
        return {piece for piece, is_there in enumerate(bits) if is_there}

    def _collect(self, piece: int) -> None:
        self._adding.pop(piece, None)
        if piece not in self._reported:
            self._reported.add(piece)
            self._finished.append(piece)

    def _on_tracker_error(self, alert: Any) -> Iterator[Event]:
        yield from self._on_error(alert)
        url, error = str(alert.tracker_url()), alert.error
        if error.value() != _UNREACHABLE and self._has_failed(url):
            yield EngineError(str(error.message()), self.spec.infohash, tracker=url)

    def _has_failed(self, url: str) -> bool:
        """Whether a tracker answered at none of the own addresses, as far as that can be read."""
        try:
            return has_failed(self.handle.trackers(), url)
        except UnicodeDecodeError:  # one of them sent what is no text, which hides all of them
            return True

    _handlers: ClassVar[dict[str, Callable[[Torrent, Any], Iterator[Event]]]] = {
        "piece_finished_alert": _on_piece_finished,
        "cache_flushed_alert": _on_cache_flushed,
        "hash_failed_alert": _on_hash_failed,
        "peer_ban_alert": _on_peer_ban,
        "metadata_received_alert": _on_metadata,
        "torrent_checked_alert": _on_checked,
        "torrent_removed_alert": _on_removed,
        "file_error_alert": _on_fatal,
        "torrent_error_alert": _on_fatal,
        "file_rename_failed_alert": _on_error,
        "tracker_error_alert": _on_tracker_error,
    }
    """By the name of the class of an alert: a class that one version does not have is never met."""


def _parameters(spec: TorrentSpec, unused: Path) -> Any:
    flags = lt.torrent_flags
    if spec.metainfo:
        parameters = lt.add_torrent_params()
        parameters.ti = lt.torrent_info(lt.bdecode(spec.metainfo))
        metainfo = parse(spec.metainfo)
        if metainfo.infohash != spec.infohash or str(parameters.ti.info_hashes().v2) != spec.infohash:
            raise ValueError("the torrent has another infohash")
        _set_files(parameters, spec, metainfo)
        # upload_mode: it never asks for a piece, so that it never writes to the files of a model.
        parameters.flags = flags.seed_mode | flags.upload_mode if spec.mode is Mode.SEED else 0
    else:
        parameters = lt.parse_magnet_uri(f"magnet:?xt=urn:btmh:1220{spec.infohash}")
        parameters.flags = flags.default_dont_download | flags.upload_mode
    parameters.flags |= flags.override_trackers | flags.override_web_seeds
    parameters.trackers = list(spec.trackers)
    parameters.tracker_tiers = list(range(len(spec.trackers)))
    parameters.save_path = str(unused)
    return parameters


def _set_files(parameters: Any, spec: TorrentSpec, metainfo: Metainfo) -> None:
    """Say where the files lie. Indexes of libtorrent count the padding that it puts between files."""
    theirs = parameters.ti.files()
    indexes = [at for at in range(theirs.num_files()) if not theirs.file_flags(at) & theirs.flag_pad_file]
    if [theirs.file_size(index) for index in indexes] != [file.size for file in metainfo.files]:
        raise ValueError("libtorrent reads the torrent in another way")
    renamed: dict[int, str] = {}
    priorities = [0] * theirs.num_files()
    for index, file in zip(indexes, metainfo.files, strict=True):
        path = spec.paths.get(file.path)
        if spec.mode is Mode.SEED and (path is None or path.stat().st_size != file.size):
            raise ValueError("a file to upload is missing, or has another size")
        if path is None:
            continue
        renamed[index] = str(path)
        priorities[index] = _WANTED if file.size else 0  # 0: an empty file is not created
    parameters.renamed_files = renamed
    if spec.mode is Mode.LEECH:  # a torrent with priorities does not start as a seed
        parameters.file_priorities = priorities


def message_of(alert: Any) -> str:
    """Return the message of an alert; it may quote a tracker or a peer, which send any bytes.

    libtorrent passes them on as they came, and its binding for Python raises where they are no UTF-8.
    """
    try:
        return str(alert.message())
    except UnicodeDecodeError as error:
        return error.object.decode("utf-8", "replace")


def has_failed(trackers: Iterable[Mapping[str, Any]], url: str) -> bool:
    """Whether a tracker answered at none of the own addresses, each of which asks it.

    Args:
        trackers: The trackers as libtorrent describes them.
        url: The one.
    """
    found = next((each for each in trackers if each["url"] == url), None)
    if found is None or found["verified"]:  # verified: it has answered once
        return False
    return all(any(each["fails"] for each in one["info_hashes"]) for one in found["endpoints"])


def _peers(infos: Iterable[Any]) -> Iterator[Peer]:
    for info in infos:
        if info.flags & (info.handshake | info.connecting):
            continue
        yield Peer(
            peer_id=str(info.pid),
            address=_address(info.ip),
            is_seed=bool(info.flags & info.seed),
            progress=min(1.0, max(0.0, float(info.progress))),
            upload_rate=int(info.payload_up_speed),
            download_rate=int(info.payload_down_speed),
            client=bytes(info.client).decode("utf-8", "replace")[:64],
        )


def _address(endpoint: tuple[str, int]) -> str:
    host, port = endpoint
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _open_paths() -> set[bytes]:
    found = set()
    for name in os.listdir(os.fsencode(_DESCRIPTORS)):  # noqa: PTH208 - bytes, for any name of a file
        try:
            found.add(os.readlink(os.path.join(os.fsencode(_DESCRIPTORS), name)))  # noqa: PTH115, PTH118
        except OSError:  # closed meanwhile
            continue
    return found

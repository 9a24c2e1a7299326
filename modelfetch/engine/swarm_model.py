"""One model's torrent as a run sees it: which pieces are there, who may bring the rest, and when to read.

The thread that reads the engine's events (:mod:`modelfetch.engine.swarm_session`) calls :meth:`note`; the
threads of files ask the rest. One lock protects all fields. While it is held, no other lock is taken.

The life of a torrent here: it is added; its metainfo is known at once, or comes from peers; the engine has
checked its files (``is_ready``); pieces finish one by one. If the engine ends for good, ``is_gone`` says so,
and files are fetched without the swarm.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.swarm.engine import HashFailed, PieceFinished, Ready, Status
from modelfetch.swarm.file_pieces import FilePieces

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest
    from modelfetch.swarm.engine import Event
    from modelfetch.swarm.metainfo import Metainfo
    from modelfetch.swarm.rendezvous import ReaderPart, Turn


class SwarmModel:
    """The torrent of one model.

    Args:
        manifest: The model.
        wanted: Paths of the files to fetch.
        staging: Path of the file below the staging directory into which the engine writes each of them.
        turn: Decides when this machine reads.
    """

    def __init__(
        self, manifest: Manifest, wanted: Collection[str], staging: Mapping[str, Path], turn: Turn
    ) -> None:
        assert manifest.swarm is not None, "only models with a torrent are added"
        self.manifest = manifest
        self.infohash = manifest.swarm.infohash
        self.wanted = frozenset(wanted)
        self.staging = staging
        self.metainfo: Metainfo | None = None
        self.is_ready = False
        self.is_gone = False
        self.checks = 0
        """How often the engine has checked the files: more than once after a crash."""
        self._spans: dict[str, FilePieces] = {}
        self._turn = turn
        self._lock = threading.Lock()
        self._finished: set[int] = set()

    def know(self, metainfo: Metainfo) -> None:
        """Note the pieces of the files."""
        with self._lock:
            self._spans = {
                file.path: FilePieces(file.first_piece, file.size, metainfo.piece_length)
                for file in metainfo.files
                if file.path in self.wanted and file.size
            }
            self.metainfo = metainfo

    def note(self, event: Event) -> None:
        """Note an event about this torrent."""
        with self._lock:
            match event:
                case Ready():
                    self.is_ready = True
                    self.checks += 1
                    if self.checks > 1:  # an engine that was started again connects from now on
                        self._turn.begin_discovery()
                case PieceFinished() if self.metainfo and 0 <= event.piece < self.metainfo.pieces:
                    self._finished.add(event.piece)
                case HashFailed():
                    self._finished.discard(event.piece)
                case Status():
                    self._turn.note(event)
                case _:
                    pass

    def note_added_again(self) -> None:
        """Note that the engine gets the torrent again: it knows no peer of it yet, and checks all files."""
        with self._lock:
            self.is_ready = False
            self._turn.forget_engine()

    def note_end(self) -> None:
        """Note that the engine brings nothing for this model any more."""
        with self._lock:
            self.is_gone = True

    def remove_staging(self) -> None:
        """Remove the files into which the engine wrote; what cannot be removed goes with their directory."""
        for path in self.staging.values():
            with suppress(OSError):
                path.unlink()

    def span(self, path: str) -> FilePieces | None:
        """Return the pieces of a file, if they are known."""
        with self._lock:
            return self._spans.get(path)

    def finished(self, span: FilePieces) -> list[int]:
        """Return those pieces of a file that lie in its staging file."""
        with self._lock:
            return [piece for piece in span.pieces if piece in self._finished]

    def is_finished(self, piece: int) -> bool:
        """Whether a piece lies in its staging file."""
        with self._lock:
            return piece in self._finished

    def forget(self, piece: int) -> None:
        """Note that a piece does not lie in its staging file, whatever the engine reported."""
        with self._lock:
            self._finished.discard(piece)

    def part(self) -> ReaderPart | None:
        """Return what this machine reads from the other sources, or None while it waits for the swarm."""
        with self._lock:
            return self._turn.part()

    def needs(self, pieces: Sequence[int]) -> list[int]:
        """Return those of some pieces that neither lie in a staging file nor can come from a peer."""
        with self._lock:
            return [piece for piece in self._turn.needs(pieces) if piece not in self._finished]

    @property
    def may_bring(self) -> bool:
        """Whether peers may be connected, and the swarm brought enough lately or had no time for it yet.

        An engine that was started has none at first: it checks the files, and then looks for peers, which
        takes up to three seconds where two machines connect to each other at the same time.
        """
        with self._lock:
            is_checking = self.checks > 0 and not self.is_ready
            may_have_peers = self._turn.has_peers or is_checking or self._turn.is_early
            return not self.is_gone and may_have_peers and self._turn.is_patient

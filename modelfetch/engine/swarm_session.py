"""The swarm of a process: one engine, the torrents of the models in work, and the files that they fill.

A session is made when a run has the swarm enabled, and costs nothing until the first model with a torrent is
fetched: then the engine is started, with two threads here. One reads the engine's events and has finished
pieces copied (:meth:`Session.pump`), the other gives it pieces that came from the other sources.

What the engine says is never believed about bytes, and its end is no failure of a run: files that wait for it
are then fetched from the other sources.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from modelfetch import tracing
from modelfetch.engine.swarm_feeder import Feeder
from modelfetch.engine.swarm_fill import SwarmFile
from modelfetch.engine.swarm_model import SwarmModel
from modelfetch.engine.swarm_options import SwarmOptions
from modelfetch.engine.swarm_reports import Reports
from modelfetch.engine.swarm_torrents import (
    TrackerNotices,
    place_in_swarm,
    received_metainfo,
    report_without_torrent,
    resolved,
)
from modelfetch.errors import ModelfetchError, StoreError
from modelfetch.model.text import sanitize
from modelfetch.swarm.engine import (
    EngineError,
    EngineGone,
    MetadataReceived,
    Mode,
    PeerBanned,
    PieceFinished,
    Restarted,
    Status,
    TorrentSpec,
)
from modelfetch.swarm.rendezvous import Turn, new_peer_id
from modelfetch.swarm.torrent_files import read_torrent
from modelfetch.threads import require, start

if TYPE_CHECKING:
    from pathlib import Path

    from modelfetch.engine.plan import Job
    from modelfetch.engine.rate_limit import Clock
    from modelfetch.engine.runtime import Runtime
    from modelfetch.model.manifest import Manifest, SwarmTorrent
    from modelfetch.store import Store
    from modelfetch.store.staging import Staging
    from modelfetch.swarm.engine import Engine, Event

EVENT_SECONDS: Final = 0.25
"""Longest wait for events, and so between two looks whether the session was closed."""


class Session:
    """The swarm of a process. Its methods may be called by any thread.

    Args:
        store: The cache.
        options: Of the session.
        make_engine: Makes the engine, which is started when it is needed.
        notify: Receives lines for the user.
        clock: Monotonic seconds.
        is_threaded: Whether two threads do the work; tests call :meth:`pump` and the feeder instead.
    """

    def __init__(
        self,
        store: Store,
        options: SwarmOptions,
        make_engine: Callable[[], Engine],
        notify: Callable[[str], None],
        clock: Clock = time.monotonic,
        *,
        is_threaded: bool = True,
    ) -> None:
        self.models: dict[str, SwarmModel] = {}
        """The torrents of models that runs fetch, by infohash."""
        self.reports: Final = Reports()
        self.seeds: dict[str, Manifest] = {}
        """The models that are only uploaded, by infohash."""
        self._store = store
        self._options = options
        self._make_engine = make_engine
        self._notify = notify
        self._tracker_notices = TrackerNotices(options.trackers, notify)
        self._clock = clock
        self._is_threaded = is_threaded
        self._lock = threading.Lock()  # for models, seeds, files, and the start of the engine
        self._peer_id = new_peer_id()
        self._engine: Engine | None = None
        self._staging: Staging | None = None
        self._is_gone = False
        self._is_closed = False
        self._files: list[SwarmFile] = []
        self._addresses: tuple[str, ...] = ()
        self.feeder = Feeder(self._give_piece, clock)
        self._threads: list[threading.Thread | None] = []

    # In the threads of runs

    def covered(self, jobs: Sequence[Job]) -> frozenset[tuple[str, int]]:
        """Return the keys of those jobs that a swarm may fill; starts nothing."""
        if self._is_gone or self._is_closed:
            return frozenset()
        return frozenset(job.key for job in jobs if place_in_swarm(job) is not None)

    def begin(self, jobs: Sequence[Job]) -> frozenset[tuple[str, int]]:
        """Join the swarms of the models that some jobs are of.

        Returns:
            The keys of those jobs that a swarm may fill.
        """
        wanted: dict[str, tuple[Manifest, set[str]]] = {}
        for manifest, path in filter(None, map(place_in_swarm, jobs)):
            wanted.setdefault(manifest.identity, (manifest, set()))[1].add(path)
        if self._options.is_asked:
            report_without_torrent(jobs, self._notify)
        if not wanted or not self._start():
            return frozenset()
        for manifest, paths in wanted.values():
            self._join(manifest, paths)
        return self.covered(jobs)

    def file(self, runtime: Runtime, job: Job) -> SwarmFile | None:
        """Return the part of the swarm in a job; None if no swarm has its file."""
        place = place_in_swarm(job)
        if place is None or self._is_gone:
            return None
        manifest, path = place
        with self._lock:
            model = self.models.get(manifest.swarm.infohash if manifest.swarm else "")
            if model is None or path not in model.wanted or model.manifest.file(path) != job.file:
                return None
            file = SwarmFile(runtime, model, path, self.feeder.put)
            self._files.append(file)
        return file

    def seed(self, manifest: Manifest, directory: Path) -> bool:
        """Upload a model that is present, from its own files, which the engine never writes to.

        Returns:
            Whether it is uploaded: its torrent file is known, the engine runs, and no run is fetching it.
        """
        assert manifest.swarm is not None, "only models with a torrent are uploaded"
        infohash, notify = manifest.swarm.infohash, self._notify
        if infohash in self.seeds:
            return True
        metainfo = read_torrent(manifest, notify)
        if metainfo is None or not self._start():
            return False
        paths = {file.path: directory / file.path for file in manifest.files if file.size}
        trackers = self._trackers(manifest.swarm)
        with self._lock:
            fetched = self.models.get(infohash)
            if self._is_in_use(fetched):
                return False  # another run fills files of it; the caller tries again after that
            self.models.pop(infohash, None)
            self.seeds[infohash] = manifest
        try:
            self._give(TorrentSpec(infohash, metainfo.encode(), paths, Mode.SEED, trackers, self._addresses))
        except ValueError as error:  # such as a cache whose path is not UTF-8
            with self._lock:
                del self.seeds[infohash]
            notify(f"{manifest.name} is not uploaded: {sanitize(str(error))}")
            return False
        if fetched is not None:
            fetched.remove_staging()  # the engine reads the model's own files from now on
        return True

    def forget_seeds(self, *, except_for: Collection[str]) -> None:
        """Upload only some models, by infohash; those of runs under way are left alone."""
        with self._lock:
            gone = [infohash for infohash in self.seeds if infohash not in except_for]
            for infohash in gone:
                del self.seeds[infohash]
        for infohash in gone:
            self.reports.forget(infohash)
            if (engine := self._engine) is not None:
                engine.remove(infohash)

    def close(self) -> None:
        """End the engine, and remove what it has written. May be called twice."""
        with self._lock:
            self._is_closed = True
            engine, self._engine = self._engine, None
            staging, self._staging = self._staging, None
        self.feeder.stop()
        if engine is not None:
            engine.close()
        for thread in filter(None, self._threads):
            thread.join(1.0)
        if staging is not None:
            staging.remove()

    @property
    def is_active(self) -> bool:
        """Whether the engine runs, and has torrents."""
        return self._engine is not None and not self._is_gone and bool(self.reports.latest())

    def _start(self) -> bool:
        """Start the engine if it does not run yet; whether it runs."""
        with self._lock:
            if self._engine is not None or self._is_gone or self._is_closed:
                return self._engine is not None and not self._is_gone
            engine = self._make_engine()
            try:
                self._staging = self._staging or self._store.staging()
                engine.start(self._options.of_engine(self._staging.directory, self._peer_id))
                self._engine = engine
                if self._is_threaded:
                    self._start_threads()
            except BaseException as error:
                self._engine = None
                engine.close()
                if not isinstance(error, ModelfetchError):  # such as Ctrl-C during the start
                    raise
                self._is_gone = not isinstance(error, StoreError)  # a lack of room or threads may pass
                self._notify(f"no swarm: {error.message}")
                return False
            return True

    def _start_threads(self) -> None:
        """Start the threads; raises StoreError without that of the events, which nobody would read."""
        events = require(partial(self._work, self._read_events), "modelfetch-swarm")
        self._threads = [events, start(partial(self._work, self.feeder.run), "modelfetch-feed")]
        start(partial(self._work, self._resolve), "modelfetch-peers")

    def _join(self, manifest: Manifest, paths: Collection[str]) -> None:
        """Add the torrent of a model, unless it is there."""
        assert manifest.swarm is not None, "as begin() has found"
        infohash = manifest.swarm.infohash
        with self._lock:
            # After the end of the engine nothing would report that end to a model that is made now.
            if self._is_in_use(self.models.get(infohash)) or self._staging is None or self._is_gone:
                return
            self.seeds.pop(infohash, None)  # the engine replaces it, and an earlier run's torrent, too
            directory = self._staging.directory
            staging = {
                file.path: directory / f"{infohash[:16]}-{number}"
                for number, file in enumerate(manifest.files)
                if file.path in paths
            }
            turn = Turn(manifest.identity, self._peer_id.hex(), self._options.readers, self._clock)
            model = self.models[infohash] = SwarmModel(manifest, paths, staging, turn)
        if (metainfo := read_torrent(manifest, self._notify)) is not None:
            model.know(metainfo)
        self._add(model)

    def _is_in_use(self, model: SwarmModel | None) -> bool:
        """Whether files of a torrent are being filled. Only under the lock."""
        return any(file.model is model and not file.is_over for file in self._files)

    def _trackers(self, swarm: SwarmTorrent) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*swarm.trackers, *self._options.trackers)))

    def _add(self, model: SwarmModel) -> None:
        """Add a torrent to the engine, or say where its files lie, now that its metainfo is known."""
        swarm, metainfo = model.manifest.swarm, model.metainfo
        assert swarm is not None, "only models with a torrent are added"
        spec = TorrentSpec(
            model.infohash,
            b"" if metainfo is None else metainfo.encode(),
            {} if metainfo is None else dict(model.staging),
            trackers=self._trackers(swarm),
            peers=self._addresses,
        )
        try:
            self._give(spec)
        except ValueError as error:  # such as a cache whose path is not UTF-8
            self._notify(f"{model.manifest.name}: no swarm: {sanitize(str(error))}")
            self._leave(model)

    def _give(self, torrent: TorrentSpec) -> None:
        """Add a torrent to the engine, if that runs; raises ValueError if it is malformed."""
        if (engine := self._engine) is not None:
            engine.add(torrent)
            if torrent.peers != self._addresses:  # resolved while the engine did not know the torrent
                engine.peers(torrent.infohash, self._addresses)

    # In threads of their own

    def _work(self, work: Callable[[], None]) -> None:
        """Do the work of a thread. A bug in it ends the swarm, and leaves no file waiting for pieces."""
        try:
            work()
        except Exception as error:
            self._end(f"{type(error).__name__}: {error}")

    def _give_piece(self, infohash: str, piece: int, data: bytes) -> None:
        if (engine := self._engine) is not None:
            engine.add_piece(infohash, piece, data)

    def _resolve(self) -> None:
        """Resolve the names of peers, which may take half a minute. Torrents added later have them."""
        self._addresses = resolved(self._options.peers, self._notify)
        for infohash in (*self.models.copy(), *self.seeds.copy()) if self._addresses else ():
            if (engine := self._engine) is not None:
                engine.peers(infohash, self._addresses)

    # In the thread of events

    def _read_events(self) -> None:
        while not (self._is_closed or self._is_gone):
            self.pump(EVENT_SECONDS)

    def pump(self, seconds: float = 0.0) -> None:
        """Read the events that have come, and act on them; waits some seconds at most for the first one."""
        for event in engine.events(seconds) if (engine := self._engine) is not None else ():
            self._apply(event)

    def _apply(self, event: Event) -> None:
        match event:
            case Restarted():
                self._trace(f"the engine was started again: {event.reason}")
                self.reports.note_restart()
                for model in self._all_models():
                    model.note_added_again()
            case EngineGone():
                self._end(event.reason)
            case EngineError():
                self._note_error(event)
            case MetadataReceived():
                self._note_metadata(event)
            case PeerBanned():
                self._trace(f"{sanitize(event.address)} sent wrong pieces, and is connected to no more")
            case Status(is_last=True):
                self.reports.note(event)
            case _:
                self._note(event)

    def _note(self, event: Event) -> None:
        model = self.models.get(infohash := getattr(event, "infohash", ""))
        if isinstance(event, Status):
            self.reports.note(event, is_shown=model is not None or infohash in self.seeds)
        if model is None:
            return
        model.note(event)
        if isinstance(event, PieceFinished | Status):
            # All finished pieces now and then, as connections may have freed some.
            piece = event.piece if isinstance(event, PieceFinished) else None
            for file in self._files_of(model):
                file.take(piece)

    def _files_of(self, model: SwarmModel) -> list[SwarmFile]:
        """Return the files that are being filled, and forget those that are done."""
        with self._lock:
            self._files = [file for file in self._files if not file.is_over]
            return [file for file in self._files if file.model is model]

    def _note_metadata(self, event: MetadataReceived) -> None:
        model = self.models.get(event.infohash)
        if model is None or model.metainfo is not None:
            return
        if (metainfo := received_metainfo(model.manifest, event.info, self._notify)) is None:
            self._leave(model)
            return
        model.note_added_again()
        model.know(metainfo)
        self._add(model)

    def _note_error(self, event: EngineError) -> None:
        self._trace(sanitize(event.message))
        self._tracker_notices.note(event)
        model = self.models.get(event.infohash)
        manifest = self.seeds.get(event.infohash) if model is None else model.manifest
        if event.is_fatal and manifest is not None:
            self._notify(f"{manifest.name}: the swarm failed: {sanitize(event.message)}")
        if event.is_fatal and model is not None:
            self._leave(model)

    def _end(self, reason: str) -> None:
        self._is_gone = True
        if not self._is_closed:
            self._notify(f"the swarm's engine ended: {sanitize(reason)}; all else goes on without it")
        for model in self._all_models():
            self._leave(model)

    def _leave(self, model: SwarmModel) -> None:
        """Have the files of a model fetched without the swarm."""
        model.note_end()
        for file in self._files_of(model):
            file.leave()

    def _all_models(self) -> list[SwarmModel]:
        with self._lock:
            return list(self.models.values())

    def _trace(self, text: str) -> None:
        if tracing.active is not None:
            tracing.active.say(f"swarm: {text}")

"""Files that a swarm fills: who waits, who reads, what is copied and fed, and what happens when it fails."""

from __future__ import annotations

import os
import random
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from modelfetch.engine.events import Event, FileCommitted, FileQuarantined, Progress
from modelfetch.engine.plan import Job
from modelfetch.engine.runtime import Runtime
from modelfetch.engine.swarm_options import SwarmOptions
from modelfetch.engine.swarm_session import Session
from modelfetch.engine.swarm_torrents import report_without_torrent
from modelfetch.errors import Fault, StoreError
from modelfetch.lazy_dataclass import replace
from modelfetch.model.manifest import Manifest
from modelfetch.model.source_kinds import SWARM, SWARM_LABEL
from modelfetch.store import Partial, Store
from modelfetch.store.disk import Disk
from modelfetch.swarm.rendezvous import LATEST_SECONDS, rank
from tests.engine.fake_swarm import (
    PIECE,
    FakeEngine,
    Machine,
    SwarmTime,
    played_session,
    swarm_runtime,
    torrent_of,
    with_torrent,
)
from tests.engine.fakes import EAGER, Answer, FakeOffer, Laboratory, body, code, cut, last, model, of, refuse
from tests.patience import IN_TIME

CONTENT = body(40 * PIECE + 1000)
TOTAL = 41


class Scene:
    """A model with a torrent, its origin, and the swarm as one machine sees it."""

    def __init__(self, lab: Laboratory, tmp_path: Path, *, lies: bool = False, has_file: bool = True) -> None:
        self.lab = lab
        plain = model("demo-model", {"model.bin": CONTENT})
        self.metainfo = torrent_of(plain, [CONTENT])
        self.manifest = with_torrent(plain, self.metainfo, tmp_path / "catalog" if has_file else None)
        self.engine = FakeEngine(self.metainfo, CONTENT, lies=lies)
        self.time = SwarmTime()
        self.session, self.notices = played_session(lab, self.engine, self.time)

    @property
    def own(self) -> str:
        return self.session._peer_id.hex()

    def machine(self, *, above: bool, pieces: range = range(0), is_seed: bool = False) -> Machine:
        """Make a machine whose rank is above the own one, or below it."""
        identity, own = self.manifest.identity, rank(self.manifest.identity, self.own)
        while True:
            peer_id = (b"-MF0100-" + random.randbytes(12)).hex()
            if (rank(identity, peer_id) > own) == above:
                return Machine(peer_id, set(pieces), is_seed)

    def run(self, manifest: Manifest | None = None) -> list[Event]:
        events = self.lab.ensure(manifest or self.manifest, runtime=self.runtime)
        while self.session.feeder.feed_next(is_blocking=False):
            pass
        return events

    @property
    def runtime(self) -> Runtime:
        return swarm_runtime(self.lab, self.session, self.time)

    @property
    def is_right(self) -> bool:
        return self.lab.read(self.manifest, "model.bin") == CONTENT


@pytest.fixture
def scene(lab: Laboratory, tmp_path: Path) -> Scene:
    return Scene(lab, tmp_path)


def requested(offer: FakeOffer) -> int:
    """Bytes that a place sent."""
    return sum(len(stream._left) for stream in offer.streams)


def test_a_machine_alone_reads_everything_in_order_after_the_discovery(scene: Scene) -> None:
    offer = scene.lab.serve(CONTENT)
    assert code(scene.run()) == 0
    assert scene.is_right
    assert offer.asked == sorted(offer.asked)
    assert requested(offer) == len(CONTENT)
    assert scene.time.clock.now - 1000 >= 2.5


def test_what_a_reader_fetches_is_fed_piece_by_piece(scene: Scene) -> None:
    scene.lab.serve(CONTENT)
    scene.run()
    assert sorted(scene.engine.given) == list(range(TOTAL))


def test_others_wait_for_the_swarm_and_ask_no_source(scene: Scene) -> None:
    offer = scene.lab.serve(CONTENT)
    scene.engine.machines = [scene.machine(above=True, pieces=range(TOTAL)), scene.machine(above=True)]
    events = scene.run()
    assert code(events) == 0
    assert scene.is_right
    assert not offer.asked
    [committed] = of(events, FileCommitted)
    assert (committed.source, committed.host, committed.fetched) == (SWARM, SWARM, len(CONTENT))
    assert {event.source for event in of(events, Progress) if event.attempt} == {SWARM}


def test_two_readers_read_a_half_each(scene: Scene) -> None:
    offer = scene.lab.serve(CONTENT, Answer(before_piece=lambda: scene.time.sleep(0.05)))
    other = scene.machine(above=True)
    scene.engine.machines = [other]

    def play() -> None:  # the other reader brings its half as fast as this one
        if len(other.pieces) < 21:
            other.pieces.add(len(other.pieces))

    scene.time.at = [(2.5 + n / 20, play) for n in range(200)]
    assert code(scene.run()) == 0
    assert scene.is_right
    assert requested(offer) <= 0.6 * len(CONTENT)
    assert set(scene.engine.given) >= set(range(21, TOTAL))


def test_pieces_that_a_peer_has_are_not_fetched_by_a_reader(scene: Scene) -> None:
    offer = scene.lab.serve(CONTENT)
    scene.engine.machines = [scene.machine(above=False, pieces=range(10, TOTAL))]
    assert code(scene.run()) == 0
    assert requested(offer) == 10 * PIECE


def test_with_a_seed_nobody_reads(scene: Scene) -> None:
    offer = scene.lab.serve(CONTENT)
    scene.engine.machines = [scene.machine(above=False, pieces=range(TOTAL), is_seed=True)]
    scene.engine.knows_availability = False
    assert code(scene.run()) == 0
    assert not offer.asked


def test_progress_of_a_reader_names_the_swarm_while_only_that_brings_bytes(scene: Scene) -> None:
    offer = scene.lab.serve(CONTENT)
    scene.engine.machines = [scene.machine(above=False, pieces=range(TOTAL))]
    scene.engine.is_silent = True
    scene.time.at = [(5.0, lambda: setattr(scene.engine, "is_silent", False))]
    events = scene.run()
    assert code(events) == 0
    assert not offer.asked
    # Else the history would say that the place delivered all of it.
    assert {event.source for event in of(events, Progress) if event.attempt} == {SWARM}


def test_the_next_in_rank_reads_when_a_reader_disappears(scene: Scene) -> None:
    offer = scene.lab.serve(CONTENT)
    scene.engine.machines = [scene.machine(above=True), scene.machine(above=True)]
    scene.time.at = [(4.0, scene.engine.machines.pop)]
    assert code(scene.run()) == 0
    assert scene.is_right
    assert offer.asked
    assert scene.time.clock.now - 1000 < 10  # before any patience


def test_a_swarm_that_stalls_costs_a_patience_and_the_rest_comes_from_the_origin(scene: Scene) -> None:
    offer = scene.lab.serve(CONTENT)
    first, second = scene.machine(above=True, pieces=range(TOTAL)), scene.machine(above=True)
    scene.engine.machines = [first, second]
    scene.time.at = [(1.0, lambda: setattr(scene.engine, "is_silent", True))]
    events = scene.run()
    assert code(events) == 0
    assert scene.is_right
    assert 0 < requested(offer) < len(CONTENT)
    assert 10 <= scene.time.clock.now - 1000 <= 35


def test_a_crash_of_the_engine_costs_a_retry_only(scene: Scene) -> None:
    offer = scene.lab.serve(CONTENT)
    scene.engine.machines = [scene.machine(above=True, pieces=range(TOTAL)), scene.machine(above=True)]
    scene.time.at = [(0.5, scene.engine.crash)]
    assert code(scene.run()) == 0
    assert scene.is_right
    assert not offer.asked
    assert not scene.notices


def test_the_end_of_the_engine_leaves_the_rest_to_the_sources(scene: Scene) -> None:
    offer = scene.lab.serve(CONTENT)
    scene.engine.machines = [scene.machine(above=True, pieces=range(TOTAL)), scene.machine(above=True)]
    scene.time.at = [(0.5, scene.engine.die)]
    assert code(scene.run()) == 0
    assert scene.is_right
    assert 0 < requested(offer) < len(CONTENT)
    assert scene.notices == ["the swarm's engine ended: ended three times; all else goes on without it"]


def test_a_bug_in_a_thread_of_the_session_leaves_the_rest_to_the_sources(scene: Scene) -> None:
    def fail() -> None:
        raise KeyError("bug")

    offer = scene.lab.serve(CONTENT)
    scene.engine.machines = [scene.machine(above=True, pieces=range(TOTAL)), scene.machine(above=True)]
    scene.time.at = [(0.5, lambda: scene.session._work(fail))]
    assert code(scene.run()) == 0
    assert 0 < requested(offer) < len(CONTENT)
    assert scene.notices == ["the swarm's engine ended: KeyError: 'bug'; all else goes on without it"]


def test_a_bug_while_the_names_of_peers_are_resolved_ends_the_swarm(scene: Scene) -> None:
    notices: list[str] = []
    is_over = threading.Event()

    def notify(line: str) -> None:
        notices.append(line)
        if len(notices) == 1:
            raise KeyError("bug")
        is_over.set()

    job = Job(((scene.manifest, scene.manifest.files[0]),))
    session = Session(scene.lab.store, SwarmOptions(peers=("no-port",)), lambda: scene.engine, notify)
    with closing(session):
        session.begin([job])
        assert is_over.wait(IN_TIME)
        assert session.begin([job]) == frozenset()
    assert notices[1:] == ["the swarm's engine ended: KeyError: 'bug'; all else goes on without it"]


def test_peers_that_are_resolved_while_a_torrent_is_added_are_not_lost(scene: Scene) -> None:
    job = Job(((scene.manifest, scene.manifest.files[0]),))
    options = SwarmOptions(peers=("127.0.0.1:6881",))
    session = Session(scene.lab.store, options, lambda: scene.engine, print, is_threaded=False)
    scene.engine.before_adding = session._resolve
    with closing(session):
        assert session.begin([job])
    assert scene.engine.addresses == ["127.0.0.1:6881"]


def test_an_engine_that_cannot_start_is_a_notice(scene: Scene) -> None:
    scene.lab.serve(CONTENT)
    scene.engine.is_missing = True
    assert code(scene.run()) == 0
    assert scene.notices == ["no swarm: libtorrent is not installed"]


def test_a_lying_swarm_is_quarantined_and_the_file_fetched_without_it(
    lab: Laboratory, tmp_path: Path
) -> None:
    scene = Scene(lab, tmp_path, lies=True)
    offer = lab.serve(CONTENT)
    scene.engine.machines = [scene.machine(above=True, pieces=range(TOTAL)), scene.machine(above=True)]
    events = scene.run()
    assert code(events) == 0
    assert scene.is_right
    assert requested(offer) == len(CONTENT)
    [quarantined] = of(events, FileQuarantined)
    assert quarantined.source == f"{SWARM} {SWARM}"


def test_a_lying_swarm_without_another_source_is_a_failure_of_integrity(
    lab: Laboratory, tmp_path: Path
) -> None:
    scene = Scene(lab, tmp_path, lies=True)
    scene.engine.machines = [scene.machine(above=True, pieces=range(TOTAL), is_seed=True)]
    scene.engine.machines.append(scene.machine(above=True))
    events = scene.run()
    assert code(events) == 5
    assert not lab.place(scene.manifest, "model.bin").exists()


def test_bytes_of_an_honest_source_mixed_with_lies_are_fetched_again_from_it_alone(
    lab: Laboratory, tmp_path: Path
) -> None:
    scene = Scene(lab, tmp_path, lies=True)
    offer = lab.serve(CONTENT)
    scene.engine.machines = [scene.machine(above=False, pieces=range(10))]
    assert code(scene.run()) == 0
    assert scene.is_right
    assert requested(offer) >= len(CONTENT)


def test_with_the_origin_down_the_swarm_is_enough(scene: Scene) -> None:
    scene.lab.serve(CONTENT, refuse(Fault.NOT_FOUND))
    other = scene.machine(above=False, pieces=range(5))
    scene.engine.machines = [other]
    scene.time.at = [(4.0, lambda: other.pieces.update(range(TOTAL)))]
    assert code(scene.run()) == 0
    assert scene.is_right


def test_with_the_origin_down_and_no_peer_the_run_fails_when_peers_had_time_to_connect(scene: Scene) -> None:
    scene.lab.serve(CONTENT, refuse(Fault.NOT_FOUND))
    assert code(scene.run()) == 6
    assert LATEST_SECONDS <= scene.time.clock.now - 1000 < LATEST_SECONDS + 2


def test_with_the_origin_down_a_silent_swarm_ends_the_run_after_a_patience(scene: Scene) -> None:
    scene.lab.serve(CONTENT, refuse(Fault.NOT_FOUND))
    scene.engine.machines = [scene.machine(above=False)]
    assert code(scene.run()) == 6
    assert scene.time.clock.now - 1000 < 45


@pytest.mark.parametrize("earlier", [10 * PIECE, 10 * PIECE + 1000])
def test_an_earlier_partial_is_fed_and_not_fetched_again(scene: Scene, earlier: int) -> None:
    offer = scene.lab.serve(CONTENT)
    scene.lab.begin(CONTENT, "mirror earlier", length=earlier)
    assert code(scene.run()) == 0
    assert requested(offer) == len(CONTENT) - earlier
    assert sorted(scene.engine.given) == list(range(TOTAL))


def test_a_disk_that_refuses_a_piece_of_the_swarm_ends_a_reader_too(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.lab.serve(CONTENT, Answer(before_piece=lambda: scene.time.sleep(0.05)))
    other = scene.machine(above=False)
    scene.engine.machines = [other]
    scene.time.at = [(3.0, lambda: other.pieces.add(TOTAL - 1))]  # while this machine reads
    put = Partial.put
    refused: list[int] = []

    def refuse_once(partial: Partial, offset: int, data: bytes | memoryview, origin: str) -> None:
        if origin == SWARM_LABEL and not refused:
            refused.append(offset)
            raise StoreError("the disk is full")
        put(partial, offset, data, origin)

    monkeypatch.setattr(Partial, "put", refuse_once)
    assert code(scene.run()) == StoreError("").exit_code
    assert refused == [(TOTAL - 1) * PIECE]


def test_a_torrent_that_failed_before_a_file_began_costs_that_file_no_patience(
    lab: Laboratory, tmp_path: Path
) -> None:
    contents = {"a.bin": CONTENT, "b.bin": CONTENT[::-1]}
    plain = model("two", contents)
    metainfo = torrent_of(plain, [*contents.values()])
    engine, time = FakeEngine(metainfo, CONTENT), SwarmTime()
    session, notices = played_session(lab, engine, time)
    manifest = with_torrent(plain, metainfo, tmp_path / "catalog")
    for content in contents.values():
        lab.serve(content)
    engine.machines = [Machine((b"-qB4520-" + bytes(12)).hex(), is_seed=True)]
    time.at = [(1.0, lambda: engine.fail("no space"))]
    runtime = replace(swarm_runtime(lab, session, time), files=1)
    assert code(lab.ensure(manifest, runtime=runtime)) == 0
    assert time.clock.now - 1000 < 2.5
    assert notices == ["two: the swarm failed: no space"]
    session.close()


def test_a_cancelled_run_keeps_what_the_swarm_brought_and_the_next_one_goes_on(
    scene: Scene, tmp_path: Path
) -> None:
    scene.engine.machines = [scene.machine(above=True, pieces=range(20)), scene.machine(above=True)]
    scene.time.at = [(3.0, scene.time.cancel)]
    assert last(scene.run()).outcome == "cancelled"
    scene.session.close()
    assert scene.engine.is_closed
    assert not list(scene.lab.root.glob("partial/.mf-tmp-*"))
    again = Scene(scene.lab, tmp_path)
    offer = scene.lab.serve(CONTENT)
    assert code(again.run()) == 0
    assert requested(offer) == len(CONTENT) - 20 * PIECE


def test_small_files_come_from_the_swarm_too(lab: Laboratory, tmp_path: Path) -> None:
    small = body(3000)
    plain = model("small", {"config.json": small})
    metainfo = torrent_of(plain, [small])
    engine, time = FakeEngine(metainfo, small), SwarmTime()
    session, _ = played_session(lab, engine, time)
    manifest = with_torrent(plain, metainfo, tmp_path / "catalog")
    offer = lab.serve(small)
    engine.machines = [Machine((b"-qB4520-" + bytes(12)).hex(), {0}, is_seed=True)]
    assert code(lab.ensure(manifest, runtime=swarm_runtime(lab, session, time))) == 0
    assert not offer.asked
    session.close()


def test_without_a_torrent_file_it_comes_from_peers(lab: Laboratory, tmp_path: Path) -> None:
    scene = Scene(lab, tmp_path, has_file=False)
    offer = lab.serve(CONTENT)
    scene.engine.machines = [scene.machine(above=True, pieces=range(TOTAL)), scene.machine(above=True)]
    scene.time.at = [(1.0, scene.engine.send_metadata)]
    assert code(scene.run()) == 0
    assert scene.is_right
    assert not offer.asked


def test_without_any_torrent_the_file_is_fetched_as_usual(lab: Laboratory, tmp_path: Path) -> None:
    scene = Scene(lab, tmp_path, has_file=False)
    offer = lab.serve(CONTENT)
    assert code(scene.run()) == 0
    assert offer.asked == [0]


def test_another_models_torrent_is_refused(lab: Laboratory, tmp_path: Path) -> None:
    scene = Scene(lab, tmp_path)
    other: Manifest = model("demo-model", {"model.bin": CONTENT, "more.bin": b"more"})
    lying = with_torrent(other, scene.metainfo, tmp_path / "catalog")
    lab.serve(CONTENT)
    lab.serve(b"more")
    assert code(scene.run(lying)) == 0
    assert scene.notices == [f"demo-model: {lying.torrent} is not used: it does not have 'more.bin'"]


def test_a_planted_fifo_in_place_of_a_torrent_is_not_waited_for(lab: Laboratory, tmp_path: Path) -> None:
    scene = Scene(lab, tmp_path)
    torrent = Path(scene.manifest.torrent or "")
    torrent.unlink()
    os.mkfifo(torrent)
    lab.serve(CONTENT)
    assert code(scene.run()) == 0
    assert scene.notices == [f"demo-model: {torrent} is not used: is not a regular file"]


def test_a_model_without_a_swarm_starts_no_engine(scene: Scene) -> None:
    scene.lab.serve(CONTENT)
    plain = model("plain", {"model.bin": CONTENT})
    assert code(scene.run(plain)) == 0
    assert scene.engine.options is None


def test_without_space_for_both_copies_no_engine_is_started(lab: Laboratory, tmp_path: Path) -> None:
    class TightDisk(Disk):
        def free(self, path: Path) -> int | None:
            return len(CONTENT) * 3 // 2

    scene = Scene(lab, tmp_path)
    offer = lab.serve(CONTENT)
    runtime = replace(scene.runtime, store=Store(lab.root, disk=TightDisk()))
    finished = last(lab.ensure(scene.manifest, runtime=runtime))
    assert finished.error is not None
    assert (finished.error.code, finished.exit_code) == ("disk", 7)
    assert "5.30 MB are needed, 3.93 MB are free" in finished.error.message
    assert finished.error.hint == "Free some space, or leave out the swarm, whose copy takes 2.62 MB."
    assert (scene.engine.options, scene.notices, offer.asked) == (None, [], [])
    assert not list(lab.root.glob("partial/*"))


def test_without_space_for_one_copy_it_is_not_advised_to_leave_out_the_other(
    lab: Laboratory, tmp_path: Path
) -> None:
    class FullDisk(Disk):
        def free(self, path: Path) -> int | None:
            return len(CONTENT) // 2

    scene = Scene(lab, tmp_path)
    runtime = replace(scene.runtime, store=Store(lab.root, disk=FullDisk()))
    finished = last(lab.ensure(scene.manifest, runtime=runtime))
    assert finished.error is not None
    assert "MB are needed, 1.31 MB are free" in finished.error.message
    assert finished.error.hint == "Free some space, or put the cache elsewhere with --cache-dir."


def test_a_failing_origin_is_retried_while_the_swarm_goes_on(scene: Scene) -> None:
    scene.lab.serve(CONTENT, cut(most=3 * PIECE), refuse(Fault.SERVER))
    scene.engine.machines = [scene.machine(above=False, pieces=range(TOTAL))]
    assert code(scene.run()) == 0
    assert scene.is_right


def test_a_staging_file_that_disappears_costs_a_patience_at_most(scene: Scene) -> None:
    offer = scene.lab.serve(CONTENT)
    scene.engine.machines = [scene.machine(above=True, pieces=range(TOTAL)), scene.machine(above=True)]
    write = scene.engine._write

    def lose(piece: int, data: bytes) -> None:
        write(piece, data)
        for path in scene.engine.specs[-1].paths.values():
            path.unlink()

    scene.engine._write = lose  # type: ignore[method-assign]
    assert code(scene.run()) == 0
    assert scene.is_right
    assert requested(offer) == len(CONTENT)
    assert scene.time.clock.now - 1000 < 30


def test_an_origin_without_ranges_sends_the_rest_in_one_answer(scene: Scene) -> None:
    offer = scene.lab.serve(CONTENT, Answer(whole=True))
    scene.engine.machines = [scene.machine(above=False, pieces=range(30, TOTAL))]
    assert code(scene.run()) == 0
    assert scene.is_right
    assert len(offer.asked) <= 3


def test_parallel_connections_fetch_units_too(lab: Laboratory, tmp_path: Path) -> None:
    scene = Scene(lab, tmp_path)
    offer = lab.serve(CONTENT, Answer(before_piece=lambda: time.sleep(0.002)))
    runtime = lab.runtime(cancel=scene.time, clock=scene.time.clock, split_policy=EAGER)
    events = lab.ensure(scene.manifest, runtime=replace(runtime, swarm=scene.session))
    assert code(events) == 0
    assert scene.is_right
    assert requested(offer) == len(CONTENT)
    assert len(offer.asked) > 2


def test_two_files_of_a_model_are_filled_at_the_same_time(lab: Laboratory, tmp_path: Path) -> None:
    first, second = body(3 * PIECE, seed=1), body(2 * PIECE, seed=2)
    plain = model("two", {"a.bin": first, "b.bin": second})
    metainfo = torrent_of(plain, [first, second])
    engine, clock = FakeEngine(metainfo, first), SwarmTime()
    session, _ = played_session(lab, engine, clock)
    manifest = with_torrent(plain, metainfo, tmp_path / "catalog")
    offers = [lab.serve(first), lab.serve(second)]
    assert code(lab.ensure(manifest, runtime=swarm_runtime(lab, session, clock))) == 0
    while session.feeder.feed_next(is_blocking=False):
        pass
    assert sorted(engine.given) == list(range(5))
    assert all(offer.asked for offer in offers)


def test_a_planted_link_to_what_cannot_be_looked_at_is_no_torrent(lab: Laboratory, tmp_path: Path) -> None:
    scene = Scene(lab, tmp_path)
    torrent = Path(scene.manifest.torrent or "")
    torrent.unlink()
    torrent.symlink_to("x" * 300)
    notices: list[str] = []
    report_without_torrent([Job(((scene.manifest, scene.manifest.files[0]),))], notices.append)
    assert len(notices) == 1
    assert notices[0].startswith("demo-model.torrent is not beside its manifest")


@pytest.mark.parametrize(
    ("why", "told"),
    [
        ("Connection refused", "connection refused"),
        ("421 (unknown HTTP error)", "it does not know itself by this name (421); its option --allow-host"),
        ("\x1b[31mRed", "[31mRed"),
    ],
)
def test_a_tracker_of_the_settings_that_does_not_answer_is_one_notice(
    scene: Scene, why: str, told: str
) -> None:
    mine, other = "http://head:8765/announce", "http://of-a-manifest.example/announce"
    scene.session, scene.notices = played_session(scene.lab, scene.engine, scene.time, trackers=(mine,))
    scene.lab.serve(CONTENT)
    for tracker in (other, mine, mine):
        scene.engine.refuse(tracker, why)
    assert code(scene.run()) == 0
    [notice] = scene.notices
    assert notice.startswith(f"tracker {mine} is left out: {told}")


def test_without_a_thread_for_its_events_an_engine_is_closed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "modelfetch-swarm":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    job, notices = Job(((scene.manifest, scene.manifest.files[0]),)), list[str]()
    with closing(Session(scene.lab.store, SwarmOptions(), lambda: scene.engine, notices.append)) as session:
        assert session.begin([job]) == frozenset()
        assert scene.engine.is_closed
        assert notices == ["no swarm: the system allows this process no more threads"]
        monkeypatch.undo()
        assert session.begin([job]) == {job.key}

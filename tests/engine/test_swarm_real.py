"""Runs in a swarm with libtorrent: machines with addresses of their own, each with its engine in a child."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from modelfetch.engine.events import Event, FileCommitted
from modelfetch.engine.swarm_options import SwarmOptions
from modelfetch.engine.swarm_session import Session
from modelfetch.lazy_dataclass import replace
from modelfetch.model.manifest import Manifest
from modelfetch.model.source_kinds import SWARM
from modelfetch.swarm.client import EngineClient
from tests.engine.fake_swarm import torrent_of, with_torrent
from tests.engine.fakes import Answer, Laboratory, body, code, model, of
from tests.swarm.nodes import address

pytest.importorskip("libtorrent")

CONTENT = body(8 << 20)
SMALL = body(3000)
PORT = 6881


class Machine:
    """A machine with a cache, an origin that may have the files, and an address."""

    def __init__(self, root: Path, *, rate: int | None = None) -> None:
        self.lab = Laboratory(root)
        self.address = address()
        self.peers: tuple[str, ...] = ()
        self.notices: list[str] = []
        self.engine = EngineClient(first_delay=0.05)
        self.rate = rate
        self.events: list[Event] = []
        self._session: Session | None = None

    @property
    def session(self) -> Session:
        if self._session is None:
            options = SwarmOptions(
                port=PORT,
                peers=self.peers,
                download_rate=self.rate,
                discovers_lan=False,
                listen=(self.address,),
            )
            self._session = Session(self.lab.store, options, lambda: self.engine, self.notices.append)
        return self._session

    def ensure(self, manifest: Manifest) -> list[Event]:
        runtime = replace(self.lab.runtime(), swarm=self.session)
        self.events = self.lab.ensure(manifest, runtime=runtime)
        return self.events

    def close(self) -> None:
        self.session.close()


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    plain = model("demo-model", {"config.json": SMALL, "model.bin": CONTENT})
    return with_torrent(plain, torrent_of(plain, [SMALL, CONTENT]), tmp_path / "catalog")


def introduce(*machines: Machine) -> None:
    for machine in machines:
        machine.peers = tuple(f"{other.address}:{PORT}" for other in machines if other is not machine)


def together(manifest: Manifest, *machines: Machine) -> None:
    """Run all machines at the same time, to their ends."""
    threads = [threading.Thread(target=machine.ensure, args=(manifest,)) for machine in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)


def is_right(machine: Machine, manifest: Manifest) -> bool:
    contents = {"config.json": SMALL, "model.bin": CONTENT}
    return all(machine.lab.read(manifest, path) == content for path, content in contents.items())


@pytest.mark.slow
def test_a_machine_gets_everything_from_one_that_seeds_from_its_models(
    tmp_path: Path, manifest: Manifest
) -> None:
    seed, other = Machine(tmp_path / "seed"), Machine(tmp_path / "other")
    introduce(seed, other)
    seed.lab.install(manifest, contents=[SMALL, CONTENT])
    try:
        assert seed.session.seed(manifest, seed.lab.store.directory(manifest))
        assert code(other.ensure(manifest)) == 0  # it has no source at all
        assert is_right(other, manifest)
        assert {event.source for event in of(other.events, FileCommitted)} == {SWARM}
        assert [other.notices, seed.notices] == [[], []]
    finally:
        seed.close()
        other.close()
    assert not list(tmp_path.glob("*/partial/.mf-tmp-*"))


@pytest.mark.slow
def test_four_machines_read_the_origin_about_once(tmp_path: Path, manifest: Manifest) -> None:
    machines = [Machine(tmp_path / f"{number}") for number in range(4)]
    introduce(*machines)
    slow = Answer(before_piece=lambda: time.sleep(0.02))
    offers = [machine.lab.serve(CONTENT, slow) for machine in machines]
    offers += [machine.lab.serve(SMALL) for machine in machines]
    together(manifest, *machines)
    try:
        assert [code(machine.events) for machine in machines] == [0, 0, 0, 0]
        assert all(is_right(machine, manifest) for machine in machines)
        read = sum(len(stream._left) for offer in offers for stream in offer.streams)
        assert read <= 2.1 * (len(CONTENT) + len(SMALL))
    finally:
        for machine in machines:
            machine.close()


@pytest.mark.slow
def test_a_killed_engine_costs_a_restart(tmp_path: Path, manifest: Manifest) -> None:
    seed, other = Machine(tmp_path / "seed"), Machine(tmp_path / "other", rate=1 << 20)
    introduce(seed, other)
    seed.lab.install(manifest, contents=[SMALL, CONTENT])
    killed: list[int] = []
    reports = other.session.reports  # made here: two threads at once would each make a session
    is_over = threading.Event()

    def kill() -> None:
        while not any(status.pieces > 10 for status in reports.latest()):
            if is_over.wait(0.05):
                return
        pid = other.engine.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)

    killer = threading.Thread(target=kill, daemon=True)
    try:
        assert seed.session.seed(manifest, seed.lab.store.directory(manifest))
        killer.start()
        assert code(other.ensure(manifest)) == 0
        assert killed
        assert is_right(other, manifest)
        assert not other.notices
    finally:
        is_over.set()
        seed.close()
        other.close()

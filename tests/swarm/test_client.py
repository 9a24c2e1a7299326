"""The client of the engine: a child that crashes, lies or hangs costs retries, and never the run."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelfetch.errors import UnavailableError
from modelfetch.swarm import child_process, client
from modelfetch.swarm.client import EngineClient
from modelfetch.swarm.engine import (
    EngineError,
    EngineGone,
    EngineOptions,
    Event,
    Listening,
    Mode,
    Ready,
    Removed,
    Restarted,
    Status,
    TorrentSpec,
)
from modelfetch.swarm.frames import event_frame
from tests.descriptors import no_descriptors
from tests.patience import IN_TIME
from tests.swarm.nodes import metainfo_of, until

FILES = {"a.bin": bytes(300_000)}
METAINFO = metainfo_of(FILES)
HEAD = """
import json, os, sys, time
def tell(**event):
    print(json.dumps(event), flush=True)
def listening():
    tell(event="Listening", addresses=["127.0.0.1:1"], peer_id="ab")
def read():
    line = sys.stdin.buffer.readline()
    head = json.loads(line) if line else {}
    return head, sys.stdin.buffer.read(head.pop("bytes", 0))
"""


class Fake:
    """An engine whose child is a script of a test."""

    def __init__(self, directory: Path, script: str) -> None:
        self.staging = directory
        self.engine = EngineClient([sys.executable, "-c", HEAD + script], first_delay=0.01)
        self.seen: list[Event] = []

    def start(self) -> None:
        self.engine.start(EngineOptions(self.staging))

    def add(self, name: str = "x") -> None:
        paths = {"a.bin": self.staging / name}
        self.engine.add(TorrentSpec(METAINFO.infohash, METAINFO.encode(), paths, Mode.LEECH))

    def until(self, kind: type[Event]) -> Event:
        deadline = time.monotonic() + IN_TIME
        while time.monotonic() < deadline:
            self.seen += self.engine.events(0.2)
            for event in self.seen:
                if isinstance(event, kind):
                    self.seen.remove(event)
                    return event
        raise AssertionError(self.seen)


MakeFake = Callable[[str], Fake]


@pytest.fixture
def fakes(tmp_path: Path) -> Iterator[list[Fake]]:
    made: list[Fake] = []
    yield made
    for fake in made:
        fake.engine.close()


@pytest.fixture
def child(fakes: list[Fake], tmp_path: Path) -> MakeFake:
    """Makes engines by the script of their child."""

    def make(script: str) -> Fake:
        fakes.append(Fake(tmp_path, script))
        return fakes[-1]

    return make


ECHO = """
listening()
while True:
    head, data = read()
    if not head: break
    message = json.dumps(head) + f" {len(data)}"
    tell(event="EngineError", message=message, infohash="", is_fatal=False, tracker="")
"""


def test_what_is_asked_arrives_in_order(child: MakeFake, tmp_path: Path) -> None:
    fake = child(ECHO)
    fake.start()
    assert fake.until(Listening) == Listening(("127.0.0.1:1",), "ab")
    fake.add()
    fake.engine.add_piece(METAINFO.infohash, 0, bytes(METAINFO.piece_length))
    fake.engine.peers(METAINFO.infohash, ["10.0.0.1:1"])
    fake.engine.remove(METAINFO.infohash)
    texts = [str(getattr(fake.until(EngineError), "message", "")) for _ in range(5)]
    words = ["start", "add", "add_piece", "peers", "remove"]
    assert [text.split('"')[3] for text in texts] == words
    assert texts[2].endswith(f" {METAINFO.piece_length}")
    assert str(tmp_path / "x") in texts[1]


def test_a_child_that_crashes_is_started_again_with_all_torrents(child: MakeFake, tmp_path: Path) -> None:
    fake = child(
        ECHO.replace(
            "while True:",
            f"""
if not os.path.exists({str(tmp_path / "first")!r}):
    open({str(tmp_path / "first")!r}, "w").close()
    head = read(), read()
    print("boom", file=sys.stderr, flush=True)
    os.kill(os.getpid(), 11)
while True:""",
        )
    )
    fake.start()
    fake.add()
    assert fake.until(Restarted) == Restarted("the engine of the swarm was ended by signal SIGSEGV: boom")
    texts = [str(getattr(fake.until(EngineError), "message", "")) for _ in range(2)]
    assert [text.split('"')[3] for text in texts] == ["start", "add"]


@pytest.mark.slow
def test_a_child_that_crashes_again_and_again_is_given_up(child: MakeFake) -> None:
    fake = child("listening(); read(); read(); os._exit(7)")
    fake.start()
    fake.add()  # which it waits for: the start would see an end that comes before it returns
    assert fake.until(EngineGone) == EngineGone("the engine of the swarm ended with code 7")
    assert sum(isinstance(event, Restarted) for event in fake.seen) == client.RESTARTS
    fake.add()  # nothing happens any more, and nothing hangs
    fake.engine.add_piece(METAINFO.infohash, 0, bytes(METAINFO.piece_length))
    fake.engine.remove(METAINFO.infohash)
    assert fake.until(Removed) == Removed(METAINFO.infohash)


def test_a_system_that_allows_no_more_threads_ends_it(
    child: MakeFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = child("listening(); read(); read()")
    fake.start()
    monkeypatch.setattr("modelfetch.threads.start", lambda *_: None)
    fake.add()  # which ends the child
    assert fake.until(EngineGone) == EngineGone(
        "the engine of the swarm cannot be started: the system allows this process no more threads"
    )


def test_a_torrent_that_was_to_be_removed_is_removed_by_a_crash(child: MakeFake, tmp_path: Path) -> None:
    fake = child("listening()\nwhile read()[0].get('do') != 'remove': pass\nos._exit(7)")
    fake.start()
    fake.add()
    fake.engine.remove(METAINFO.infohash)
    assert fake.until(Removed) == Removed(METAINFO.infohash)


@pytest.mark.parametrize(
    "sent",
    [
        "not json",
        '{"event": "Ready"}',
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ('{"event": "Nothing"}', "[]", '{"bytes": 99999999999}', "\\udcff")
        ),
    ],
)
def test_a_child_that_sends_something_malformed_is_killed(child: MakeFake, sent: str) -> None:
    fake = child(f"listening(); read(); read(); print({sent!r}, flush=True); time.sleep(60)")
    fake.start()
    fake.add()
    event = fake.until(Restarted)
    assert isinstance(event, Restarted)
    assert "malformed" in event.reason


def test_a_child_that_cannot_start_is_reported_at_once(child: MakeFake) -> None:
    fake = child("print('libtorrent cannot be loaded: no', file=sys.stderr); sys.exit(3)")
    with pytest.raises(UnavailableError, match="ended with code 3: libtorrent cannot be loaded: no"):
        fake.start()
    assert not any(isinstance(event, Restarted) for event in fake.engine.events(0))


def test_a_command_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    engine = EngineClient([str(tmp_path / "nothing")])
    with pytest.raises(UnavailableError, match="cannot be started: No such file"):
        engine.start(EngineOptions(tmp_path))


def test_a_child_that_never_listens_is_given_up(child: MakeFake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_START_SECONDS", 0.2)
    monkeypatch.setattr(client, "_CLOSE_SECONDS", 0.2)
    fake = child("time.sleep(60)")
    with pytest.raises(UnavailableError, match="does not start"):
        fake.start()


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_child_that_does_not_end_is_killed(child: MakeFake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_CLOSE_SECONDS", 0.2)
    fake = child("import signal; signal.signal(15, signal.SIG_IGN); listening(); time.sleep(60)")
    fake.start()
    pid = fake.engine.pid
    assert pid is not None
    fake.engine.close()
    until(lambda: not is_there(pid))  # it takes a moment, for which a short limit leaves no time
    assert fake.engine.pid is None


def test_a_child_that_does_not_read_is_killed(child: MakeFake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "_WRITE_SECONDS", 0.1)
    monkeypatch.setattr(child_process, "QUEUE_BYTES", 1_000_000)
    fake = child("listening(); read(); time.sleep(60)")
    fake.start()
    fake.add()
    for _ in range(20):
        fake.engine.add_piece(METAINFO.infohash, 0, bytes(METAINFO.piece_length))
    event = fake.until(Restarted)
    assert isinstance(event, Restarted)
    assert "SIGKILL" in event.reason
    monkeypatch.setattr(client, "_CLOSE_SECONDS", 0.1)
    fake.engine.close()


@pytest.mark.slow
def test_an_event_that_nobody_reads_takes_no_memory(child: MakeFake) -> None:
    fake = child(
        """
listening()
for n in range(100):
    tell(**json.loads(STATUS) | {"download_rate": n})
tell(event="Ready", infohash="a")
read(); read()
""".replace("STATUS", repr(event_frame(Status("a", 0, 0, 0, 0, 0)).decode()))
    )
    fake.start()
    engine = fake.engine
    with engine._changed:
        assert engine._changed.wait_for(lambda: Ready("a") in engine._events, IN_TIME)
    [status] = [event for event in engine.events(0) if isinstance(event, Status)]
    assert status.download_rate == 99


def test_the_last_figures_of_a_torrent_are_not_replaced_by_those_of_the_next(child: MakeFake) -> None:
    first, last, following = (
        Status("a", 0, 0, count, 0, 0, is_last=is_last)
        for count, is_last in ((7, False), (8, True), (1, False))
    )
    frames = "".join(event_frame(each).decode() for each in (first, last, following))
    fake = child(
        f"listening(); print({frames!r}, end='', flush=True)\n"
        "tell(event='Ready', infohash='a'); read(); read()"
    )
    fake.start()
    engine = fake.engine
    with engine._changed:
        assert engine._changed.wait_for(lambda: Ready("a") in engine._events, IN_TIME)
    assert [event for event in engine.events(0) if isinstance(event, Status)] == [last, following]


def test_what_a_child_reported_before_it_crashed_comes_before_the_restart(child: MakeFake) -> None:
    status = Status("a", 0, 0, 7, 0, 0)
    fake = child(
        "listening(); read(); read()\n"
        f"print({event_frame(status).decode()!r}, flush=True, end=''); os._exit(7)"
    )
    fake.start()
    fake.add()
    engine = fake.engine
    with engine._changed:
        assert engine._changed.wait_for(lambda: engine._end, IN_TIME)
    events = [event for event in engine.events(0) if isinstance(event, Status | Restarted)]
    assert [type(event) for event in events] == [Status, Restarted] * client.RESTARTS + [Status]


def test_closing_twice_or_before_the_start_is_harmless(child: MakeFake) -> None:
    child(ECHO).engine.close()
    fake = child(ECHO)
    fake.start()
    fake.engine.close()
    fake.engine.close()
    assert fake.engine.pid is None


def test_without_libtorrent_there_is_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "find_spec", lambda _: None)
    with pytest.raises(UnavailableError, match="not installed") as caught:
        EngineClient().start(EngineOptions(tmp_path))
    assert "modelfetch[swarm]" in caught.value.hint


def test_a_frozen_application_has_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(UnavailableError, match="interpreter"):
        EngineClient().start(EngineOptions(tmp_path))


@pytest.mark.slow
def test_a_lack_of_descriptors_is_waited_for_like_after_a_crash(child: MakeFake) -> None:
    fake = child("listening(); read(); read()")
    fake.start()
    with no_descriptors():
        fake.add()  # which ends the child
        reason = "the engine of the swarm cannot be started: Too many open files"
        assert fake.until(EngineGone) == EngineGone(reason)
    assert sum(isinstance(event, Restarted) for event in fake.seen) == client.RESTARTS

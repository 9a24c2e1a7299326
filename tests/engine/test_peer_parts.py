"""A file that a peer is fetching is taken as it comes, where its chunks can be checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from modelfetch.engine.events import Event, FileCommitted, SourceFailed
from modelfetch.engine.peer_wait import HELD_SECONDS, PATIENCE
from modelfetch.ipfs import car
from modelfetch.ipfs.file_tree import Built, FileTree
from modelfetch.ipfs.profiles import UNIXFS_V1_2025
from modelfetch.model.manifest import Manifest
from modelfetch.sources.peer import PeerAnswer
from tests.engine.fakes import (
    MIB,
    NOT_FOUND,
    STALL,
    Answer,
    FakeOffer,
    FakeTime,
    Laboratory,
    body,
    code,
    cut,
    flipped,
    model,
    of,
)
from tests.engine.test_peer_wait import FakePeer

SIZE = 4 * MIB + 12_345
CONTENT = body(SIZE)
HAS, LACKS = PeerAnswer("has"), PeerAnswer("lacks")


def fetching(*available: tuple[int, int]) -> PeerAnswer:
    """The answer of a peer that began before this run, and has these ranges."""
    received = sum(end - start for start, end in available)
    return PeerAnswer("fetching", received, 1e6, available=available)


def built() -> Built:
    tree = FileTree(UNIXFS_V1_2025)
    for at in range(0, SIZE, MIB):
        tree.add_chunk(CONTENT[at : at + MIB])
    return tree.finish()


TREE = built()
PLAIN = model("m", {"f.bin": CONTENT})


class Scene:
    """A laboratory with one peer, and with an origin behind it."""

    def __init__(self, root: Path) -> None:
        self.lab = Laboratory(root / "cache")
        self.time = FakeTime()
        path = root / "m.skeleton.car"
        path.write_bytes(car.header(TREE.root) + b"".join(car.section(*node) for node in TREE.nodes))
        file = replace(PLAIN.files[0], cid=TREE.root.text)
        self.manifest = replace(PLAIN, files=(file,), skeleton=str(path))

    def peer(self, *says: PeerAnswer, answers: Sequence[Answer] = ()) -> FakePeer:
        self.lab.serve(body(1, 9), kind="peer", host="unused")
        peer = FakePeer("near", *says, time=self.time, answers=answers, content=CONTENT)
        self.lab.sources["peer"].places[PLAIN.files[0].sha256] = [peer]
        return peer

    def origin(self) -> FakeOffer:
        return self.lab.serve(CONTENT, kind="mirror", host="origin.example")

    def ensure(self, manifest: Manifest | None = None) -> list[Event]:
        runtime = self.lab.runtime(cancel=self.time, clock=self.time.clock)
        return self.lab.ensure(manifest or self.manifest, runtime=replace(runtime, discover=lambda _: None))

    def is_right(self) -> bool:
        return self.lab.read(self.manifest, "f.bin") == CONTENT


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_ranges_are_fetched_as_they_come_and_the_rest_at_the_end(scene: Scene) -> None:
    first, second = (0, MIB), (3 * MIB, SIZE)
    peer = scene.peer(fetching(), fetching(first), fetching(first, second), HAS)
    origin = scene.origin()
    events = scene.ensure()
    assert (code(events), scene.is_right()) == (0, True)
    assert (peer.asked, origin.asked) == ([0, 3 * MIB, MIB], [])
    assert [event.source for event in of(events, FileCommitted)] == ["peer"]


def test_a_file_that_came_in_parts_needs_no_further_question(scene: Scene) -> None:
    peer, origin = scene.peer(fetching((0, 2 * MIB)), fetching((0, SIZE))), scene.origin()
    events = scene.ensure()
    assert (code(events), scene.is_right()) == (0, True)
    assert (peer.asked, len(peer.waits), origin.asked) == ([0, 2 * MIB], 2, [])


def test_the_rest_comes_from_elsewhere_if_the_peer_gives_up(scene: Scene) -> None:
    scene.peer(fetching((0, 2 * MIB)), LACKS)
    origin = scene.origin()
    events = scene.ensure()
    assert (code(events), scene.is_right()) == (0, True)
    assert origin.asked == [2 * MIB]
    assert not of(events, SourceFailed)


def test_a_wrong_chunk_ends_it_and_is_blamed_on_the_peer(scene: Scene) -> None:
    lie = Answer(sends=flipped(CONTENT, MIB + 5))
    peer = scene.peer(fetching((0, SIZE)), HAS, answers=[lie])
    origin = scene.origin()
    events = scene.ensure()
    assert (code(events), scene.is_right()) == (0, True)
    assert (peer.asked, origin.asked) == ([0], [MIB])
    failed = [(event.source, event.fault, event.next_source) for event in of(events, SourceFailed)]
    assert failed == [("peer", "hash", "mirror")]


def test_a_wrong_chunk_of_the_only_source_leaves_none(scene: Scene) -> None:
    scene.peer(fetching((0, SIZE)), HAS, answers=[Answer(sends=flipped(CONTENT, MIB + 5))])
    events = scene.ensure()
    failed = [(event.source, event.fault, event.next_source) for event in of(events, SourceFailed)]
    assert (code(events), failed) == (5, [("peer", "hash", "")])


@pytest.mark.parametrize("answer", [NOT_FOUND, STALL])
def test_a_peer_that_does_not_send_what_it_has_is_waited_for_until_it_is_complete(
    scene: Scene, answer: Answer
) -> None:
    peer = scene.peer(fetching((0, MIB)), fetching((0, 3 * MIB)), HAS, answers=[answer, Answer()])
    origin = scene.origin()
    events = scene.ensure()
    assert (code(events), scene.is_right()) == (0, True)
    assert (peer.asked, origin.asked) == ([0, 0], [])


def test_without_a_proof_the_whole_file_is_waited_for(scene: Scene) -> None:
    peer, origin = scene.peer(fetching((0, 3 * MIB)), fetching((0, 4 * MIB)), HAS), scene.origin()
    events = scene.ensure(PLAIN)
    assert (code(events), scene.is_right()) == (0, True)
    assert (peer.asked, len(peer.waits), origin.asked) == ([0], 3, [])


def test_only_whole_chunks_are_taken(scene: Scene) -> None:
    """Nothing could check a part of one, so a peer could spoil the file by many small ranges."""
    lie = Answer(sends=flipped(CONTENT, 5))
    ranges = (0, MIB - 5), (MIB - 5, MIB), (MIB, 3 * MIB - 1)
    peer, origin = scene.peer(fetching(*ranges), HAS, answers=[lie, Answer()]), scene.origin()
    events = scene.ensure()
    assert (code(events), scene.is_right()) == (0, True)
    assert (peer.asked, origin.asked) == ([MIB, 0, 2 * MIB], [])


def test_a_peer_that_stands_still_is_left_though_it_sends_what_it_has(scene: Scene) -> None:
    """Otherwise one that sends a chunk every nine seconds could hold a file for days."""
    answers = [fetching((0, (n // 4 + 1) * MIB))._replace(received=0) for n in range(16)]
    peer, origin = scene.peer(*answers), scene.origin()
    began = scene.time.clock.now
    events = scene.ensure()
    assert (code(events), scene.is_right()) == (0, True)
    assert (peer.is_slow, len(origin.asked)) == (True, 1)
    assert scene.time.clock.now - began < PATIENCE + 2 * HELD_SECONDS


def test_what_one_answer_brought_is_not_asked_for_again(scene: Scene) -> None:
    """Such as one of a server that ignores ranges: it is the whole file."""
    scene.lab.serve(CONTENT, cut(until=2 * MIB), NOT_FOUND, kind="mirror", host="first.example")
    assert code(scene.ensure()) != 0
    scene.lab.sources.clear()
    store = scene.lab.store
    with store.partial(scene.manifest.files[0], True) as partial:
        partial.put(3 * MIB, CONTENT[3 * MIB : 4 * MIB], "mirror")
    peer, origin = scene.peer(fetching((MIB, SIZE)), HAS, answers=[Answer(whole=True)]), scene.origin()
    events = scene.ensure()
    assert (code(events), scene.is_right()) == (0, True)
    assert origin.asked == []
    assert len(peer.streams) == 1

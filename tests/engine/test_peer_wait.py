"""Peers are asked who has a file. One that fetches it is waited for: never long, and never in a circle."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from modelfetch.engine.candidates import Candidate, Candidates
from modelfetch.engine.events import Event, LockWaiting, SourceFailed
from modelfetch.engine.peer_wait import (
    PATIENCE,
    STEP,
    AskedPeer,
    WantedFile,
    choose_leader,
    has_another_begun,
    settle,
)
from modelfetch.errors import Fault, SourceError
from modelfetch.sources.peer import PeerAnswer, leads
from modelfetch.store.in_progress import in_progress
from tests.engine.fakes import (
    NOT_FOUND,
    STALL,
    Answer,
    FakeClock,
    FakeOffer,
    FakeTime,
    Laboratory,
    body,
    code,
    flipped,
    last,
    model,
    of,
    refuse,
    sha256,
    spec,
)
from tests.patience import IN_TIME

CONTENT = body(3 << 20)
MODEL = model("m", {"a.bin": CONTENT})
FILE = spec("a.bin", CONTENT)
HAS, LACKS = PeerAnswer("has"), PeerAnswer("lacks")


def fetching(received: int = 0, begun: float | None = 1.0) -> PeerAnswer:
    return PeerAnswer("fetching", received, begun)


LEADS, FOLLOWS = PeerAnswer("fetching", leads=True), PeerAnswer("fetching", leads=False)
"""Answers of peers that ask who has the file."""


GONE = SourceError(Fault.CONNECT, "connection refused")


class FakePeer(FakeOffer):
    """A peer that gives its answers in turn, the last one for ever. A held answer takes its time."""

    def __init__(
        self,
        host: str,
        *says: PeerAnswer | SourceError,
        time: FakeTime,
        answers: Sequence[Answer] = (),
        content: bytes = CONTENT,
    ) -> None:
        super().__init__("peer", host, content, answers)
        self.waits: list[float] = []
        self.is_slow = False
        self._says = says
        self._time = time

    def ask(self, wait: float = 0.0) -> PeerAnswer:
        says = self._says[min(len(self.waits), len(self._says) - 1)]
        self.waits.append(wait)
        if isinstance(says, SourceError):
            raise says
        if says.state != "fetching":
            return says
        self._time.clock.now += wait
        return LACKS if self.is_slow else says

    def stop_waiting(self) -> None:
        self.is_slow = True


@dataclass
class Scene:
    """A laboratory with peers, and with an origin behind them."""

    lab: Laboratory
    time: FakeTime = field(default_factory=FakeTime)

    def peer(self, host: str, *says: PeerAnswer | SourceError, answers: Sequence[Answer] = ()) -> FakePeer:
        peer = FakePeer(host, *says, time=self.time, answers=answers)
        source = self.lab.sources.get("peer")
        if source is None:
            self.lab.serve(body(1, 9), kind="peer", host="unused")
            source = self.lab.sources["peer"]
        source.places.setdefault(FILE.sha256, []).append(peer)
        return peer

    def origin(self, *answers: Answer) -> FakeOffer:
        return self.lab.serve(CONTENT, *answers, kind="mirror", host="origin.example")

    def ensure(self) -> list[Event]:
        runtime = self.lab.runtime(cancel=self.time, clock=self.time.clock)
        return self.lab.ensure(MODEL, runtime=replace(runtime, discover=lambda _: None))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(Laboratory(tmp_path))


def test_the_peer_that_has_the_file_is_used_and_no_other_is_requested(scene: Scene) -> None:
    empty, full, origin = scene.peer("a", LACKS), scene.peer("b", HAS), scene.origin()
    events = scene.ensure()
    assert code(events) == 0
    assert (empty.asked, full.asked, origin.asked) == ([], [0], [])
    assert not of(events, SourceFailed), "not having a file is no failure"


def test_without_a_peer_that_has_it_the_file_comes_from_elsewhere(scene: Scene) -> None:
    peers = [scene.peer("a", LACKS), scene.peer("b", GONE)]
    origin = scene.origin()
    events = scene.ensure()
    assert origin.asked == [0]
    assert [peer.asked for peer in peers] == [[], []]
    assert not of(events, SourceFailed)


def test_an_error_names_the_peers_that_did_not_have_it(scene: Scene) -> None:
    scene.peer("a", LACKS)
    scene.peer("b", GONE)
    error = last(scene.ensure()).error
    assert error is not None
    assert "peer a: not found; peer b: connection refused" in error.message


@pytest.mark.parametrize("first", [LEADS, fetching()])
def test_a_peer_that_leads_or_has_begun_is_waited_for(first: PeerAnswer, scene: Scene) -> None:
    peer = scene.peer("a", first, fetching(STEP), fetching(2 * STEP), HAS)
    origin = scene.origin()
    events = scene.ensure()
    assert (peer.asked, origin.asked) == ([0], [])
    assert peer.waits == [0.0, 2.0, 2.0, 2.0]
    waits = of(events, LockWaiting)
    assert [(each.holder, each.received, each.size) for each in waits] == [
        ("peer a", 0, 0),
        ("peer a", STEP, len(CONTENT)),
        ("peer a", 2 * STEP, len(CONTENT)),
    ]
    assert [each.waited for each in waits] == pytest.approx([0.0, 2.0, 4.0], abs=0.5)


def test_a_peer_that_only_asks_and_does_not_lead_is_not_waited_for(scene: Scene) -> None:
    peer, origin = scene.peer("a", FOLLOWS), scene.origin()
    scene.ensure()
    assert (peer.asked, origin.asked, peer.waits) == ([], [0], [0.0, 0.0])


def test_a_peer_that_began_earlier_is_found_by_the_second_question(scene: Scene) -> None:
    """It had not taken its lock when it was asked first, and began at once."""
    peer, origin = scene.peer("a", LACKS, fetching(begun=0.2), HAS), scene.origin()
    scene.ensure()
    assert (peer.asked, origin.asked, peer.waits) == ([0], [], [0.0, 0.0, 2.0])


def test_of_two_that_have_begun_at_once_both_take_it_back_and_the_rank_decides(scene: Scene) -> None:
    """Whose answer took how long must not: with ages, each of them could take the other for the later one."""
    peer, origin = scene.peer("a", LACKS, fetching(begun=0.0), FOLLOWS), scene.origin()
    scene.ensure()
    assert (peer.asked, origin.asked, peer.waits) == ([], [0], [0.0, 0.0, 2.0, 0.0])
    assert not peer.is_slow, "it is waited for when it fetches another file of the model"


def test_a_peer_that_begins_again_and_again_without_progress_is_waited_for_within_a_patience(
    scene: Scene,
) -> None:
    flickering = [LACKS, *[fetching(begun=0.0), FOLLOWS] * 20]
    peer, origin = scene.peer("a", *flickering), scene.origin()
    before = scene.time.clock()
    scene.ensure()
    assert (peer.asked, origin.asked, peer.is_slow) == ([], [0], True)
    assert scene.time.clock() - before <= PATIENCE + 5


def test_others_see_whether_a_run_has_begun(scene: Scene) -> None:
    seen: list[bool] = []

    class Watched(FakePeer):
        def ask(self, wait: float = 0.0) -> PeerAnswer:
            found = in_progress(scene.lab.root, FILE.sha256)
            assert found is not None
            seen.append(found.begun is not None)
            return super().ask(wait)

    peer = Watched("a", LACKS, fetching(begun=9.0), LACKS, time=scene.time)
    scene.peer("b", LACKS)
    scene.lab.sources["peer"].places[FILE.sha256].append(peer)
    scene.origin()
    scene.ensure()
    assert seen == [False, True, False, True]


def test_a_peer_that_stops_making_progress_is_waited_for_within_a_patience(scene: Scene) -> None:
    peer, origin = scene.peer("a", fetching(), fetching(STEP), fetching(STEP + 1)), scene.origin()
    before = scene.time.clock()
    scene.ensure()
    assert (peer.asked, origin.asked, peer.is_slow) == ([], [0], True)
    assert PATIENCE <= scene.time.clock() - before <= PATIENCE + 5


def test_a_peer_that_ends_without_the_file_is_not_waited_for(scene: Scene) -> None:
    peer, origin = scene.peer("a", fetching(), LACKS), scene.origin()
    scene.ensure()
    assert (peer.asked, origin.asked, peer.waits) == ([], [0], [0.0, 2.0, 0.0])
    assert peer.is_slow, "a liar could let each file of a model wait for a patience"


def test_a_peer_that_dies_is_not_waited_for(scene: Scene) -> None:
    peer, origin = scene.peer("a", fetching(), fetching(STEP), GONE), scene.origin()
    scene.ensure()
    assert (peer.asked, origin.asked, peer.is_slow) == ([], [0], True)


def test_who_only_asks_may_wait_for_one_that_had_not_started_when_it_was_asked(scene: Scene) -> None:
    """It has no bytes meanwhile, and must not be taken for one that stands still."""
    asks = scene.peer("a", LEADS)
    late = scene.peer("b", LACKS, *(fetching(count * STEP) for count in range(9)), HAS)
    origin = scene.origin()
    scene.ensure()
    assert (late.asked, origin.asked, asks.is_slow, late.is_slow) == ([0], [], False, False)


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("says", "answer"),
    [
        ((fetching(), fetching(), fetching(), FOLLOWS), NOT_FOUND),
        ((fetching(), fetching(), fetching(STEP), fetching(2 * STEP), HAS), NOT_FOUND),
        ((fetching(), fetching(), fetching(STEP), fetching(2 * STEP), HAS), Answer(sends=b"wrong" * STEP)),
        (
            (fetching(), fetching(), fetching(STEP), fetching(2 * STEP), HAS),
            refuse(Fault.BUSY, retry_after=99),
        ),
    ],
)
def test_a_peer_that_lets_each_file_wait_in_vain_is_left_for_the_others(
    says: Sequence[PeerAnswer], answer: Answer, scene: Scene
) -> None:
    contents = {f"{number}.bin": body(2 * STEP + number) for number in range(6)}
    scene.lab.serve(body(1, 9), kind="peer", host="unused")
    peers = []
    for content in contents.values():
        peers.append(FakePeer("liar", *says, time=scene.time, answers=[answer], content=content))
        scene.lab.sources["peer"].places[sha256(content)] = [peers[-1]]
        scene.lab.serve(content, kind="mirror", host="origin.example")
    runtime = scene.lab.runtime(cancel=scene.time, clock=scene.time.clock, files=1)
    before, liar = scene.time.clock(), model("liar", contents)
    events = scene.lab.ensure(liar, runtime=replace(runtime, discover=lambda _: None))
    assert code(events) == 0
    assert scene.time.clock() - before <= 2 * PATIENCE
    assert sorted(peer.is_slow for peer in peers) == [False] * 2 + [True] * 4
    for path, content in contents.items():
        assert scene.lab.read(liar, path) == content


def test_another_peer_may_have_it_first(scene: Scene) -> None:
    slow, empty = scene.peer("a", fetching()), scene.peer("b", LACKS)
    later = scene.peer("c", FOLLOWS, HAS)
    scene.origin()
    scene.ensure()
    assert (slow.asked, empty.asked, later.asked) == ([], [], [0])


def test_a_peer_that_was_not_waited_for_is_the_last_resort(scene: Scene) -> None:
    peer, origin = scene.peer("a", FOLLOWS), scene.origin(NOT_FOUND)
    events = scene.ensure()
    assert code(events) == 0
    assert (origin.asked, peer.asked) == ([0], [0])


def test_a_liar_and_one_that_stalls_are_left_like_any_source(scene: Scene) -> None:
    wrong = flipped(CONTENT, 5)
    liar = scene.peer("liar", HAS, answers=[Answer(sends=wrong)])
    stalling = scene.peer("stalling", HAS, answers=[STALL])
    origin = scene.origin()
    events = scene.ensure()
    assert code(events) == 0
    assert {each.fault for each in of(events, SourceFailed)} == {Fault.HASH, Fault.STALL}
    assert liar.asked
    assert stalling.asked
    assert origin.asked
    assert scene.lab.read(MODEL, "a.bin") == CONTENT


def test_a_complete_partial_asks_no_peer(scene: Scene) -> None:
    scene.lab.begin(CONTENT, "mirror earlier.example")
    peer = scene.peer("a", HAS)
    scene.ensure()
    assert (peer.waits, peer.asked) == ([], [])


# Two runs that begin at once


class OtherCache(FakeOffer):
    """The server of another cache, as a run sees it that begins at the same time as a run of that cache.

    The first answer is from before the other run took its lock. The second question is sent when both have
    noted that they begin, and its answer is read when both were answered, long after that.
    """

    def __init__(
        self, lab: Laboratory, own: str, name: str, meet: threading.Barrier, clock: FakeClock
    ) -> None:
        super().__init__("peer", name, CONTENT, ())
        self.lab, self.own, self.name, self.meet, self.clock = lab, own, name, meet, clock
        self.answers: list[PeerAnswer] = []

    def ask(self, wait: float = 0.0) -> PeerAnswer:
        is_second = len(self.answers) == 1
        if is_second:
            self.meet.wait(IN_TIME)
        self.answers.append(self.answer() if self.answers else LACKS)
        if is_second:
            self.meet.wait(IN_TIME)
            self.clock.now += PATIENCE / 2
        return self.answers[-1]

    def answer(self) -> PeerAnswer:
        found = in_progress(self.lab.root, FILE.sha256)
        if found is None:
            return HAS if self.lab.store.blob_path(FILE.sha256).exists() else LACKS
        return PeerAnswer("fetching", 0, found.begun, leads(FILE.sha256, self.own, self.name))

    def stop_waiting(self) -> None:
        pytest.fail("nobody was waited for in vain")


def test_of_two_runs_that_begin_at_once_one_reads_the_origin(tmp_path: Path) -> None:
    names, meet = ("1" * 16, "2" * 16), threading.Barrier(2)
    labs = [Laboratory(tmp_path / name) for name in names]
    origins, peers, results = [], [], {}

    def run(number: int, clock: FakeClock) -> None:
        runtime = replace(labs[number].runtime(clock=clock), discover=lambda _: None)
        results[number] = labs[number].ensure(MODEL, runtime=runtime)

    threads = []
    for number in range(2):
        clock = FakeClock()
        labs[number].serve(body(1, 9), kind="peer", host="unused")
        peer = OtherCache(labs[1 - number], names[number], names[1 - number], meet, clock)
        labs[number].sources["peer"].places[FILE.sha256] = [peer]
        peers.append(peer)
        origins.append(labs[number].serve(CONTENT, kind="mirror", host="origin.example"))
        threads.append(threading.Thread(target=run, args=(number, clock)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * IN_TIME)
    assert {number: code(events) for number, events in results.items()} == {0: 0, 1: 0}
    assert [peer.answers[1].begun is not None for peer in peers] == [True, True]
    assert sorted(origin.asked for origin in origins) == [[], [0]]


# The choice: pure


def asked(answer: PeerAnswer, *earlier: int, at: float = 0.0) -> AskedPeer:
    candidate = Candidate(FakeOffer("peer", "a", b"", ()), 0)
    each = AskedPeer(candidate)
    for received in earlier:
        each.note(answer._replace(received=received), at)
    each.note(answer, at)
    return each


@pytest.mark.parametrize(
    ("answer", "earlier", "age", "is_waited_for"),
    [
        (HAS, (), 0.0, False),
        (LACKS, (), 0.0, False),
        (LEADS, (), 0.0, True),
        (LEADS, (), PATIENCE - 0.1, True),
        (LEADS, (), PATIENCE, False),
        (FOLLOWS, (), 0.0, False),
        (fetching(), (), 0.0, True),
        (fetching(begun=0.0), (), 0.0, True),
        (fetching(), (), PATIENCE, False),
        (fetching(0), (STEP,), PATIENCE, False),
    ],
)
def test_who_is_waited_for(
    answer: PeerAnswer, earlier: tuple[int, ...], age: float, *, is_waited_for: bool
) -> None:
    assert asked(answer, *earlier).is_waited_for(age) == is_waited_for


@pytest.mark.parametrize(
    ("received", "is_waited_for"), [(0, False), (STEP - 1, False), (STEP, True), (5 * STEP, True)]
)
def test_progress_is_what_prolongs_a_wait(received: int, *, is_waited_for: bool) -> None:
    each = asked(fetching())
    each.note(fetching(received), PATIENCE - 1)
    assert each.is_waited_for(PATIENCE + 1) == is_waited_for


def test_a_peer_that_hashes_what_it_has_fetched_begins_at_nothing_once() -> None:
    """It says how much is hashed then; for the last of many large files that takes minutes."""
    each = asked(fetching(9 * STEP))
    for now, received in ((8.0, 0), (16.0, STEP), (24.0, 2 * STEP)):
        each.note(fetching(received), now)
    assert each.is_waited_for(24.0 + PATIENCE - 1)
    each.note(fetching(0), 32.0)
    each.note(fetching(STEP), 33.0)
    assert not each.is_waited_for(24.0 + PATIENCE), "a liar could say so again and again"


def test_the_peer_that_is_nearest_to_the_end_is_waited_for() -> None:
    asking, slow, quick = asked(LEADS._replace(received=9)), asked(fetching(STEP)), asked(fetching(2 * STEP))
    assert choose_leader([asking, slow, quick], 0.0) is quick
    assert choose_leader([asking, slow], 0.0) is slow
    assert choose_leader([asking], 0.0) is asking
    assert choose_leader([], 0.0) is None


def test_whoever_has_begun_takes_precedence() -> None:
    assert has_another_begun([asked(fetching(begun=0.0))], 0.0)
    assert not has_another_begun([asked(LEADS), asked(HAS), asked(LACKS)], 0.0)
    assert not has_another_begun([asked(fetching(begun=2.0))], PATIENCE), "it was waited for in vain"


def test_no_peers_no_question(tmp_path: Path) -> None:
    lab = Laboratory(tmp_path)
    candidates, begun = Candidates([lab.serve(CONTENT)]), list[bool]()
    question = SimpleNamespace(
        runtime=lab.runtime(), model="m", file=FILE, candidates=candidates, note_begun=begun.append
    )
    with pytest.raises(StopIteration) as stop:
        next(settle(cast("WantedFile", question)))
    assert stop.value.value == []
    assert (begun, len(candidates.remaining())) == ([True], 1)


# A model of n machines: the real rules, and one action of each machine at a time, in any order

SIZE = 20 * STEP
QUICK_SECONDS, SLOW_SECONDS = 0.005, 0.5
"""Seconds of a step while machines start, and afterwards."""


@dataclass
class Node:
    """One machine: its lock, what it has, and what it knows of the others."""

    name: str
    starts: float
    reads: float
    """Bytes per second from the origin; 0 if that is down for it."""
    received: int = 0
    state: str = "off"
    began: float = 0.0
    read: int = 0
    """Bytes read from the origin."""
    known: dict[str, AskedPeer] = field(default_factory=dict)
    arriving: dict[str, PeerAnswer] = field(default_factory=dict)
    """Answers that were given, and are not here yet."""
    turns: int = 0
    """Its actions until they are."""

    def answer(self, to: Node, sha256: str, now: float) -> PeerAnswer:
        match self.state:
            case "done":
                return HAS
            case "asking":
                return PeerAnswer("fetching", self.received, None, leads(sha256, to.name, self.name))
            case "begun" | "fetching":
                return PeerAnswer("fetching", self.received, now - self.began)
            case _:
                return LACKS


@dataclass
class Network:
    """Machines that need one file."""

    nodes: list[Node]
    sees: Callable[[Node, Node], bool]
    rng: random.Random
    sha256: str
    slow: int = 1
    """Most actions of a machine until the answers to a question are there."""
    now: float = 0.0

    def run(self, until: float) -> None:
        quick_until = max(node.starts for node in self.nodes) + 0.2
        while self.now < until and any(node.state != "done" for node in self.nodes):
            step = QUICK_SECONDS if self.now < quick_until else SLOW_SECONDS
            for node in self.rng.sample(self.nodes, len(self.nodes)):
                self.now += step / len(self.nodes)
                self.step(node, step)

    def step(self, node: Node, seconds: float) -> None:
        match node.state:
            case "off" if node.starts <= self.now:
                node.state = "asking"  # the lock first: the others see it before this machine asks
            case "asking" if self.ask(node):
                if not self.has_it(node) and choose_leader(self.known(node), self.now) is None:
                    node.state, node.began = "begun", self.now
            case "begun" if self.ask(node):
                if not self.has_it(node):
                    is_second = has_another_begun(self.known(node), self.now)
                    node.state = "asking" if is_second else "fetching"
            case "fetching":
                more = min(SIZE - node.received, int(node.reads * seconds))
                node.received += more
                node.read += more
                node.state = "done" if node.received == SIZE else node.state
            case _:
                pass

    def ask(self, node: Node) -> bool:
        """Ask all that it sees; whether their answers are there."""
        if not node.turns:
            node.turns = self.rng.randint(1, self.slow)
            for other in self.nodes:
                if other is not node and self.sees(node, other):
                    node.arriving[other.name] = other.answer(node, self.sha256, self.now)
        node.turns -= 1
        if node.turns:
            return False
        while node.arriving:
            name, answer = node.arriving.popitem()
            node.known.setdefault(name, asked(LACKS)).note(answer, self.now)
        return True

    def has_it(self, node: Node) -> bool:
        if any(each.answer.state == "has" for each in self.known(node)):
            node.received, node.state = SIZE, "done"
        return node.state == "done"

    def known(self, node: Node) -> list[AskedPeer]:
        return list(node.known.values())


def network(
    seed: int, count: int, *, spread: float = 0.0, blind: float = 0.0, down: float = 0.0, slow: int = 1
) -> Network:
    rng = random.Random(seed)
    nodes = [
        Node(f"{rng.getrandbits(64):016x}", rng.uniform(0, spread), 0 if rng.random() < down else 2 * STEP)
        for _ in range(count)
    ]
    seen = {(a.name, b.name): rng.random() >= blind for a in nodes for b in nodes}
    return Network(nodes, lambda a, b: seen[a.name, b.name], rng, f"{rng.getrandbits(256):064x}", slow)


SPREADS = [0.0, 0.02, 0.2, 2.0, 20.0]
"""Seconds within which all machines start."""


def check_that_the_origin_is_read_once(count: int, spread: float, seeds: int, slow: int = 1) -> None:
    reads = []
    for seed in range(seeds):
        machines = network(seed, count, spread=spread, slow=slow)
        machines.run(100)
        assert {node.state for node in machines.nodes} == {"done"}
        reads.append(sum(node.read for node in machines.nodes) / SIZE)
    assert reads == [1.0] * len(reads)


@pytest.mark.quick(5)
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("count", [2, 3, 8])
def test_machines_that_start_together_read_the_origin_once(count: int, spread: float) -> None:
    check_that_the_origin_is_read_once(count, spread, seeds=5)


@pytest.mark.quick(4)
@pytest.mark.parametrize("slow", [2, 10])
@pytest.mark.parametrize("spread", [0.02, 0.2])
@pytest.mark.parametrize("count", [2, 3, 8])
def test_so_they_do_if_answers_take_their_time(count: int, spread: float, slow: int) -> None:
    """An answer may be out of date when it arrives, by more than machines start apart."""
    check_that_the_origin_is_read_once(count, spread, seeds=20, slow=slow)


@pytest.mark.slow
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize(("count", "seeds"), [(2, 40), (3, 40), (8, 40), (32, 3)])
def test_many_machines_that_start_together_read_the_origin_once(
    count: int, seeds: int, spread: float
) -> None:
    check_that_the_origin_is_read_once(count, spread, seeds)


def check_that_nobody_waits_for_ever(seeds: int) -> None:
    for seed in range(seeds):
        machines = network(seed, 2 + seed % 7, spread=5, blind=0.4, down=0.3)
        machines.run(200)
        assert all(node.state == "done" for node in machines.nodes if node.reads), seed


@pytest.mark.slow
def test_whoever_sees_whom_no_machine_waits_for_ever() -> None:
    """Not all of them see each other, and the origin is down for some; those with an origin always end."""
    check_that_nobody_waits_for_ever(seeds=28)


@pytest.mark.slow
def test_in_many_networks_no_machine_waits_for_ever() -> None:
    check_that_nobody_waits_for_ever(seeds=200)


@pytest.mark.slow
def test_a_machine_that_has_begun_and_does_nothing_costs_the_others_one_patience() -> None:
    for seed in range(40):
        machines = network(seed, 4, spread=0.1)
        machines.nodes[0].starts, machines.nodes[0].reads = -1.0, 0
        machines.run(PATIENCE + 15)
        assert all(node.state == "done" for node in machines.nodes[1:]), seed
        assert sum(node.read for node in machines.nodes) == SIZE


def test_where_only_peers_could_help_the_error_says_that_none_has_it(scene: Scene) -> None:
    error = last(scene.ensure()).error
    assert error is not None
    assert "no peer that answers has it" in error.message

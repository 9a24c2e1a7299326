"""Who reads the origin: the same answer on every machine that knows the same peers."""

from __future__ import annotations

from collections import Counter

from modelfetch.swarm.engine import Peer, Status
from modelfetch.swarm.rendezvous import (
    DISCOVERY_SECONDS,
    LATEST_SECONDS,
    PATIENCE,
    Turn,
    is_own_kind,
    new_peer_id,
    readers,
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


IDS = [(new_peer_id()[:8] + b"%012d" % number).hex() for number in range(64)]
"""The same in each run: their ranks are as likely as those of any others."""


def peer(peer_id: str, *, is_seed: bool = False) -> Peer:
    return Peer(peer_id, "10.0.0.9:6881", is_seed, 1.0 if is_seed else 0.0, 0, 0)


def status(*peers: Peer, downloaded: int = 0, availability: bytes = b"", size: int = 0) -> Status:
    figures = (0, 0, downloaded, 0, 0)
    return Status("3f" * 32, *figures, peers, availability=availability, swarm_size=size)


def turn(clock: Clock, own: str, patience: float = 15.0) -> Turn:
    return Turn("identity", own, 2, clock, jitter=lambda _low, _high: patience)


def test_a_peer_id_is_twenty_ascii_bytes_and_says_whose_it_is() -> None:
    found = new_peer_id()
    assert len(found) == 20
    assert found.isascii()
    assert is_own_kind(found.hex())
    assert not is_own_kind((b"-qB4520-" + bytes(12)).hex())


def test_machines_that_know_the_same_peers_choose_the_same_two() -> None:
    clock, reading = Clock(), []
    turns = {own: turn(clock, own) for own in IDS}
    for own, each in turns.items():
        each.note(status(*(peer(other) for other in IDS if other != own)))
    clock.now += DISCOVERY_SECONDS
    reading = [own for own, each in turns.items() if each.part() is not None]
    assert sorted(reading) == sorted(readers("identity", IDS, 2))
    assert {turns[own].part().index for own in reading} == {0, 1}  # type: ignore[union-attr]


def test_each_model_has_other_readers() -> None:
    chosen = Counter(each for model in range(500) for each in readers(f"model {model}", IDS, 2))
    assert len(chosen) > 55
    assert max(chosen.values()) < 40


def test_a_new_machine_changes_at_most_one_reader() -> None:
    for model in range(50):
        before = set(readers(f"{model}", IDS[:-1], 2))
        assert len(before - set(readers(f"{model}", IDS, 2))) <= 1


def test_nothing_is_read_before_the_discovery_is_over() -> None:
    clock = Clock()
    each = turn(clock, IDS[0])
    clock.now += DISCOVERY_SECONDS - 0.1
    assert each.part() is None
    clock.now += 0.1
    found = each.part()
    assert found is not None
    assert (found.index, found.count, found.start) == (0, 1, 0.0)


def test_readers_that_do_not_know_each_other_begin_at_places_far_from_each_other() -> None:
    """Two of them may have the same part for a while: they do not fetch the same bytes at the same time."""
    distances = []
    for model in range(40):
        starts = []
        for own in readers(f"{model}", IDS, 2):
            clock = Clock()
            each = Turn(f"{model}", own, 2, clock)
            each.note(status(size=len(IDS)))
            clock.now += DISCOVERY_SECONDS
            found = each.part()
            assert found is None or (found.index, found.count) == (0, 1)
            starts += [found.start] if found is not None else []
        distances += [abs(starts[0] - starts[1])] if len(starts) == 2 else []
    assert len(distances) > 30
    assert 0.2 < sum(distances) / len(distances) < 0.5  # a third on average


def begun_alone(clock: Clock, own: str) -> Turn:
    each = turn(clock, own)
    clock.now += DISCOVERY_SECONDS
    assert each.part() is not None
    return each


def test_a_machine_that_began_alone_decides_again_when_peers_connect_soon_after() -> None:
    first, second, *_, last = readers("identity", IDS, 64)
    clock = Clock()
    each = begun_alone(clock, last)
    each.note(status(peer(first), peer(second)))
    assert each.part() is not None  # further ones may connect
    clock.now += 1
    assert each.part() is None
    clock.now += PATIENCE[1]
    assert each.part() is not None


def test_a_machine_that_reads_for_some_time_goes_on_when_peers_connect() -> None:
    first, second, *_, last = readers("identity", IDS, 64)
    clock = Clock()
    each = begun_alone(clock, last)
    clock.now += LATEST_SECONDS
    each.note(status(peer(first), peer(second)))
    clock.now += LATEST_SECONDS
    assert each.part() is not None


def test_peers_of_other_programs_and_seeds_read_nothing() -> None:
    clock = Clock()
    each = turn(clock, IDS[0])
    foreign = [peer((b"-qB4520-" + bytes([n]) * 12).hex()) for n in range(20)]
    each.note(status(*foreign, *(peer(other, is_seed=True) for other in IDS[1:])))
    clock.now += DISCOVERY_SECONDS
    assert each.part() is not None


def test_the_patience_ends_when_the_swarm_brings_too_little() -> None:
    first, second, *_, last = readers("identity", IDS, 64)
    clock = Clock()
    each = turn(clock, last)
    each.note(status(peer(first), peer(second)))
    clock.now += LATEST_SECONDS  # nothing can come during the discovery
    for second_ in range(15):
        assert each.part() is None
        clock.now += 1
        each.note(status(peer(first), peer(second), downloaded=second_ * 1000))
    clock.now += 1
    assert each.part() is not None


def test_a_swarm_that_brings_enough_is_waited_for() -> None:
    clock = Clock()
    *_, last = readers("identity", IDS, 64)
    each = turn(clock, last)
    others = [peer(other) for other in IDS[:10] if other != last]
    for second in range(1, 200):
        clock.now += 1
        each.note(status(*others, downloaded=second * 100_000))
        assert each.part() is None


def test_the_patience_lies_between_its_bounds() -> None:
    seen = []

    def jitter(low: float, high: float) -> float:
        seen.append((low, high))
        return low

    Turn("identity", IDS[0], 2, Clock(), jitter)
    assert seen == [PATIENCE]


def test_what_a_peer_has_is_not_read_unless_the_swarm_is_too_slow() -> None:
    clock = Clock()
    each = turn(clock, IDS[0])
    each.note(status(peer(IDS[1]), availability=bytes([0, 1, 0, 3])))
    assert each.needs([0, 1, 2, 3, 4]) == [0, 2, 4]
    clock.now += 16
    assert each.needs([0, 1, 2, 3, 4]) == [0, 1, 2, 3, 4]


def test_after_a_restart_of_the_engine_peers_are_looked_for_again() -> None:
    clock = Clock()
    each = turn(clock, IDS[0])
    each.note(status(peer(IDS[1]), availability=bytes([1])))
    each.forget_engine()
    assert not each.has_peers
    assert each.part() is None


def test_peers_have_some_seconds_to_connect_after_each_start_of_the_engine() -> None:
    clock = Clock()
    each = turn(clock, IDS[0])
    assert each.is_early
    clock.now += LATEST_SECONDS
    assert not each.is_early
    each.begin_discovery()
    assert each.is_early


def test_while_further_peers_appear_the_decision_waits_but_not_for_ever() -> None:
    clock = Clock()
    each = turn(clock, IDS[0])
    for number in range(1, 6):
        clock.now += 0.9
        each.note(status(*map(peer, IDS[1 : number + 1])))
        assert each.part() is None
    clock.now += 1
    each.note(status(*map(peer, IDS[1:6])))
    assert (each.part() is not None) == (IDS[0] in readers("identity", IDS[:6], 2))
    each = turn(clock, max(IDS, key=lambda own: readers("identity", IDS, 64)[0] == own))
    for number in range(1, 20):
        clock.now += 0.5
        each.note(
            status(*(peer(other) for other in IDS[:number] if other != readers("identity", IDS, 64)[0]))
        )
    assert each.part() is not None


def test_in_a_large_swarm_few_of_those_read_who_are_first_among_their_own_peers() -> None:
    """A thousand machines, each connected to forty: fifty are among the first two of those that they know."""
    ids = [new_peer_id().hex() for _ in range(1000)]
    first = reading = 0
    for number, own in enumerate(ids):
        clock = Clock()
        each = turn(clock, own)
        others = [ids[(number * 7 + step * 13 + 1) % 1000] for step in range(40)]
        each.note(status(*(peer(other) for other in others if other != own), size=1000))
        clock.now += DISCOVERY_SECONDS
        reading += each.part() is not None
        first += own in readers("identity", [own, *others], 2)
    assert first > 25
    assert 1 <= reading <= 15


def test_in_a_large_swarm_that_is_known_there_are_always_two_readers() -> None:
    for model in range(300):
        for own in readers(f"{model}", IDS, 2):
            clock = Clock()
            each = Turn(f"{model}", own, 2, clock)
            each.note(status(*(peer(other) for other in IDS if other != own), size=len(IDS)))
            clock.now += DISCOVERY_SECONDS
            assert each.part() is not None


def test_a_peer_that_only_says_that_it_has_everything_is_believed_for_a_patience() -> None:
    """Afterwards this machine reads, and leaves pieces to the swarm again as soon as that brings enough."""
    clock = Clock()
    each = turn(clock, IDS[0])
    liar = peer(IDS[1], is_seed=True)
    everything = bytes([1]) * 4
    clock.now += LATEST_SECONDS
    each.part()
    for _ in range(15):
        each.note(status(liar, availability=everything))
        assert each.needs([0, 1]) == []
        clock.now += 1
    each.note(status(liar, availability=everything))
    assert each.part() is not None
    assert each.needs([0, 1]) == [0, 1]
    for second in range(1, 4):
        clock.now += 1
        each.note(status(liar, availability=everything, downloaded=second * 100_000))
    assert each.needs([0, 1]) == []
    clock.now += 3
    each.note(status(liar, availability=everything, downloaded=300_000))
    assert each.needs([0, 1]) == [0, 1]


def test_a_machine_that_gets_enough_at_the_moment_does_not_lose_its_patience() -> None:
    *_, last = readers("identity", IDS, 64)
    clock = Clock()
    each = turn(clock, last)
    others = [peer(other) for other in IDS[:10] if other != last]
    for second in range(25):  # the first reader lost its patience a moment before
        clock.now += 1
        each.note(status(*others, downloaded=max(0, second - 12) * 200_000))
        assert each.part() is None


def test_an_engine_that_hangs_is_left_after_the_patience() -> None:
    *_, last = readers("identity", IDS, 64)
    clock = Clock()
    each = turn(clock, last)
    for second in range(1, 30):
        clock.now += 1
        each.note(status(*(peer(other) for other in IDS[:10] if other != last), downloaded=second * 100_000))
    assert each.part() is None
    clock.now += 16
    assert each.part() is not None


def test_what_is_no_peer_id_has_no_rank() -> None:
    """It comes from the engine, which talks to strangers; a lone surrogate has no bytes to hash."""
    own, other = IDS[0], IDS[1][:-1]
    for text in (other, other + "\udc80", other + "G", other + "00", other + "0\n"):
        clock = Clock()
        each = turn(clock, own)
        each.note(status(peer(text)))
        clock.now += DISCOVERY_SECONDS
        part = each.part()
        assert part is not None
        assert part.count == 1

"""The tracker: who is named to whom, what it refuses, and that its tables stay small."""

from __future__ import annotations

import pytest

from modelfetch.share import tracker as module
from modelfetch.share.tracker import LIFETIME, MOST_OF_ADDRESS, Tracker
from modelfetch.swarm import bencode

HASH = "3f" * 32
PEER = "peer_id=-MF0100-abcdefabcdef"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tracker(clock: Clock) -> Tracker:
    return Tracker(lambda: [HASH], clock)


def query(port: int = 6881, infohash: str = "3f" * 20, more: str = "", left: int = 5) -> bytes:
    escaped = "".join(f"%{infohash[at : at + 2]}" for at in range(0, len(infohash), 2))
    return f"info_hash={escaped}&{PEER}&port={port}&left={left}{more}".encode()


def answer(tracker: Tracker, client: str = "10.0.0.1", text: bytes | None = None) -> dict[bytes, object]:
    found = bencode.decode(tracker.announce(query() if text is None else text, client))
    assert isinstance(found, dict)
    return dict(found)


def test_machines_of_a_torrent_are_named_to_each_other_and_not_to_themselves(tracker: Tracker) -> None:
    assert answer(tracker)[b"peers"] == b""
    assert answer(tracker, "10.0.0.2")[b"peers"] == bytes([10, 0, 0, 1, 26, 225])
    assert answer(tracker)[b"peers"] == bytes([10, 0, 0, 2, 26, 225])


def test_addresses_of_version_6_are_in_a_list_of_their_own(tracker: Tracker) -> None:
    answer(tracker, "fd00::1")
    found = answer(tracker)
    assert found[b"peers"] == b""
    assert found[b"peers6"] == bytes.fromhex("fd" + "00" * 14 + "01") + bytes([26, 225])


def test_an_address_that_is_mapped_to_version_6_is_one_of_version_4(tracker: Tracker) -> None:
    answer(tracker, "::ffff:10.0.0.7")
    assert answer(tracker)[b"peers"] == bytes([10, 0, 0, 7, 26, 225])


def test_an_address_in_the_request_is_ignored(tracker: Tracker) -> None:
    answer(tracker, "10.0.0.1", query(more="&ip=192.0.2.1&ipv6=%5B2001%3Adb8%3A%3A1%5D"))
    assert answer(tracker, "10.0.0.2")[b"peers"] == bytes([10, 0, 0, 1, 26, 225])


@pytest.mark.parametrize("local", ["127.0.0.1", "::1", "::ffff:127.0.0.2"])
def test_a_loopback_address_is_given_to_its_own_machine_only(tracker: Tracker, local: str) -> None:
    answer(tracker, local)
    found = answer(tracker, "10.0.0.1")
    assert (found[b"peers"], found[b"peers6"], found[b"incomplete"]) == (b"", b"", 0)
    here = answer(tracker, "127.0.0.9")
    assert len(here[b"peers"] + here[b"peers6"]) in (12, 24)  # type: ignore[operator]


def remembered(tracker: Tracker) -> int:
    return sum(map(len, tracker._torrents.values()))


def test_seeds_are_counted_and_not_named_to_each_other(tracker: Tracker) -> None:
    answer(tracker, "10.0.0.1", query(left=0))
    found = answer(tracker, "10.0.0.2", query(left=0))
    assert (found[b"complete"], found[b"incomplete"], found[b"peers"]) == (1, 0, b"")
    assert len(str(answer(tracker, "10.0.0.3")[b"peers"])) > 3


def test_a_machine_that_stops_is_forgotten_at_once(tracker: Tracker) -> None:
    answer(tracker)
    answer(tracker, "10.0.0.1", query(more="&event=stopped"))
    assert answer(tracker, "10.0.0.2")[b"peers"] == b""


def test_a_silent_machine_is_forgotten(tracker: Tracker, clock: Clock) -> None:
    answer(tracker)
    clock.now += LIFETIME + 1
    assert answer(tracker, "10.0.0.2")[b"peers"] == b""
    assert remembered(tracker) == 1


def test_one_address_cannot_fill_the_table(tracker: Tracker) -> None:
    for port in range(1, 1000):
        answer(tracker, "10.0.0.66", query(port))
    assert remembered(tracker) == MOST_OF_ADDRESS


def test_many_addresses_cannot_either(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PEERS", 10)
    for host in range(1, 200):
        answer(tracker, f"10.0.1.{host}")
    assert remembered(tracker) == 10


def test_one_network_of_version_6_cannot_push_others_out(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine has any number of addresses in its network."""
    monkeypatch.setattr(module, "MOST_PEERS", 8)
    others = ["10.0.0.1", "2001:db8:1::1", "2001:db8:2::1"]
    for client in others:
        answer(tracker, client)
    for number in range(1, 40):
        answer(tracker, f"2001:db8:bad::{number:x}")
    assert {key[0] for key in tracker._torrents[bytes.fromhex(HASH[:40])]} >= set(others)
    assert remembered(tracker) == 8


def test_an_answer_names_fifty_at_most(tracker: Tracker) -> None:
    for host in range(1, 101):
        answer(tracker, f"10.0.1.{host}")
    found = answer(tracker, "10.0.0.2", query(more="&numwant=1000"))[b"peers"]
    assert isinstance(found, bytes)
    assert len(found) == 50 * 6
    assert answer(tracker, "10.0.0.2", query(more="&numwant=0"))[b"peers"] == b""


@pytest.mark.parametrize(
    "text",
    [
        query(infohash="aa" * 20),
        query(infohash="3f" * 32),
        query(infohash="3f" * 19),
        query(port=0),
        query(port=65536),
        query(more="&numwant=-1"),
        b"",
        b"info_hash=%zz&port=1",
        b"x" * 3000,
        f"info_hash={'%3f' * 20}&port=6881".encode(),
        f"info_hash={'%3f' * 20}&peer_id=short&port=6881".encode(),
        query().replace(b"port=6881", b"port=" + b"9" * 5000),
    ],
)
def test_a_request_that_is_not_for_us_is_refused_and_remembered_nowhere(
    tracker: Tracker, text: bytes
) -> None:
    assert b"failure reason" in answer(tracker, text=text)
    assert not remembered(tracker)


def test_an_unknown_client_is_refused(tracker: Tracker) -> None:
    assert b"failure reason" in answer(tracker, "unix socket")


def test_a_torrent_that_is_pinned_later_is_tracked_from_then_on(clock: Clock) -> None:
    known: list[str] = []
    tracker = Tracker(lambda: known, clock)
    assert b"failure reason" in answer(tracker)
    known.append(HASH)
    assert b"failure reason" not in answer(tracker)

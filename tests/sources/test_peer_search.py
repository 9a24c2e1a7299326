"""Which peers a run asks, and what the ones that have nothing, or are not there, cost it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest

from modelfetch.cancel import Cancellation, Cancelled
from modelfetch.engine.batch import LARGEST
from modelfetch.errors import Fault, SourceError
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.net.client import Client
from modelfetch.net.mdns_records import FoundPeer
from modelfetch.sources import peer_search
from modelfetch.sources.peer import Peer
from modelfetch.sources.peer_search import PeerSource
from tests.engine.fakes import FakeClock, body, model, spec
from tests.peer_server import PeerServer
from tests.server.running import until

OWN = "a" * 16


def own_name() -> str:
    return OWN


LARGE, SMALL = body(2 << 20, 1), body(1000, 2)
MODEL = model("m", {"large.bin": LARGE, "small.json": SMALL})
PLACES = [(MODEL, file) for file in MODEL.files]
LARGE_FILE, SMALL_FILE = spec("large.bin", LARGE), spec("small.json", SMALL)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def hosts(source: PeerSource, file: FileSpec, manifest: Manifest = MODEL) -> list[str]:
    return [offer.host for offer in source.offers(manifest, file)]


def server(stack: ExitStack, *files: bytes, instance: str = "0" * 16) -> PeerServer:
    return stack.enter_context(PeerServer(*files, instance=instance))


def test_a_plan_lists_the_named_peers_and_asks_none(near: Client, stack: ExitStack) -> None:
    peer = server(stack, LARGE)
    source = PeerSource(
        near, [peer.url, "http://gone.example:8765"], own_name, lambda: pytest.fail("searched")
    )
    assert hosts(source, LARGE_FILE) == [peer.host, "gone.example:8765"]
    assert not peer.asked


def test_only_peers_that_have_the_model_are_asked_for_its_small_files(near: Client, stack: ExitStack) -> None:
    full, empty = server(stack, LARGE, SMALL, instance="1" * 16), server(stack, instance="2" * 16)
    source = PeerSource(near, [empty.url, full.url], own_name)
    source.discover(PLACES)
    assert hosts(source, LARGE_FILE) == [empty.host, full.host]
    assert hosts(source, SMALL_FILE) == [full.host]
    assert (empty.questions, full.questions) == (1, 1)


def test_a_peer_that_is_not_ready_yet_is_asked_for_the_small_files_too(
    near: Client, stack: ExitStack
) -> None:
    """It hashes the file, or fetches the model; what is small it may have already."""
    peer = server(stack, SMALL)
    peer.fetching[LARGE_FILE.sha256] = 0, len(LARGE)
    source = PeerSource(near, [peer.url], own_name)
    source.discover(PLACES)
    assert hosts(source, LARGE_FILE) == hosts(source, SMALL_FILE) == [peer.host]


def test_a_hundred_small_files_cost_a_peer_with_none_one_question(near: Client, stack: ExitStack) -> None:
    empty = server(stack)
    many = model("many", {f"{number}.json": body(100 + number, number) for number in range(100)})
    source = PeerSource(near, [empty.url], own_name)
    source.discover([(many, file) for file in many.files])
    assert not any(hosts(source, file, many) for file in many.files)
    assert len(empty.asked) == 1


def test_a_peer_that_is_not_there_is_left_out_with_a_notice(near: Client, stack: ExitStack) -> None:
    there = server(stack, LARGE)
    notices: list[str] = []
    source = PeerSource(near, ["http://127.0.0.1:1", there.url], own_name, notice=notices.append)
    source.discover(PLACES)
    assert hosts(source, LARGE_FILE) == [there.host]
    assert notices == ["peer 127.0.0.1:1 is left out: connection refused"]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "access refused (401); does it run `modelfetch serve --share`?"),
        (421, "it does not know itself by this name (421); its option --allow-host adds one"),
    ],
)
def test_a_peer_that_refuses_every_request_is_left_out_with_a_notice(
    status: int, reason: str, near: Client, stack: ExitStack
) -> None:
    peer = server(stack, LARGE, SMALL)
    peer.statuses = [status]
    notices: list[str] = []
    source = PeerSource(near, [peer.url], own_name, notice=notices.append)
    source.discover(PLACES)
    assert not hosts(source, LARGE_FILE)
    assert notices == [f"peer {peer.host} is left out: {reason}"]


def test_a_silent_peer_is_waited_for_once(near: Client, stack: ExitStack) -> None:
    silent, there = server(stack, LARGE, instance="1" * 16), server(stack, LARGE, instance="2" * 16)
    silent.may_answer.clear()
    notices: list[str] = []
    clock = FakeClock()
    source = PeerSource(near, [silent.url, there.url], own_name, notice=notices.append, clock=clock)
    source.discover(PLACES)
    until(lambda: source._peers[1].has_answered)
    clock.now += peer_search.SEARCH_SECONDS
    assert [hosts(source, LARGE_FILE) for _ in range(5)] == [[there.host]] * 5
    assert notices == [f"peer {silent.host} has not answered in time; the run goes on without it"]


def test_a_cancelled_run_does_not_wait_for_peers(near: Client, stack: ExitStack) -> None:
    silent, cancel = server(stack, LARGE), Cancellation()
    silent.may_answer.clear()
    source = PeerSource(near, [silent.url], own_name, cancel=cancel)
    source.discover(PLACES)
    cancel.cancel()
    with pytest.raises(Cancelled):
        hosts(source, LARGE_FILE)


def test_a_search_that_fails_is_a_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    from modelfetch.net import mdns

    def fail() -> Sequence[FoundPeer]:
        raise RuntimeError("no such interface")

    monkeypatch.setattr(mdns, "browse", fail)
    notices: list[str] = []
    assert not peer_search.found_peers(notices.append)
    assert notices == ["the local network cannot be asked for peers: no such interface"]


def test_small_files_are_those_of_batches() -> None:
    assert peer_search.SMALL == LARGEST


def test_one_that_claims_the_name_of_a_machine_and_is_out_does_not_hide_it(
    near: Client, stack: ExitStack
) -> None:
    honest = server(stack, LARGE, instance="1" * 16)

    def find() -> Sequence[Peer]:
        return [Peer("http://127.0.0.1:1", "1" * 16), Peer(honest.url, "1" * 16)]

    source = PeerSource(near, [], own_name, find)
    source.discover(PLACES)
    assert hosts(source, LARGE_FILE) == [honest.host]


def test_one_that_claims_the_name_of_a_machine_and_answers_does_not_hide_it(
    near: Client, stack: ExitStack
) -> None:
    honest, named = (server(stack, LARGE, instance=digit * 16) for digit in "12")
    liars = [server(stack, instance=digit * 16) for digit in "12"]

    def find() -> Sequence[Peer]:
        return [Peer(each.url, each.instance) for each in (*liars, honest)]

    source = PeerSource(near, [named.url], own_name, find)
    source.discover(PLACES)
    assert hosts(source, LARGE_FILE) == [named.host, liars[0].host, honest.host]


def test_found_peers_come_behind_the_named_ones_and_each_machine_once(near: Client, stack: ExitStack) -> None:
    named, found = server(stack, LARGE, instance="1" * 16), server(stack, LARGE, instance="2" * 16)
    own = server(stack, LARGE, instance=OWN)

    def find() -> Sequence[Peer]:
        by_name = named.url.replace("127.0.0.1", "localhost")
        return [Peer(own.url, OWN), Peer(by_name, "1" * 16), Peer(found.url, "2" * 16), Peer(named.url)]

    source = PeerSource(near, [named.url], own_name, find)
    source.discover(PLACES)
    assert hosts(source, LARGE_FILE) == [named.host, found.host]
    assert not own.asked


def test_the_server_of_the_own_cache_is_not_used(near: Client, stack: ExitStack) -> None:
    own = server(stack, LARGE, instance=OWN)
    source = PeerSource(near, [own.url], own_name)
    source.discover(PLACES)
    assert hosts(source, LARGE_FILE) == []
    assert len(own.asked) == 1


def test_a_cache_that_was_made_after_the_start_has_the_name_that_others_see(
    near: Client, stack: ExitStack
) -> None:
    names = ["c" * 16]
    own = server(stack, LARGE, instance=OWN)
    source = PeerSource(near, [own.url], lambda: names[-1])
    names.append(OWN)
    source.discover(PLACES)
    assert hosts(source, LARGE_FILE) == []


def test_of_two_servers_with_one_announced_name_the_one_that_answers_is_used(
    near: Client, stack: ExitStack
) -> None:
    """The name was announced at the start; the cache may be served from elsewhere by now."""
    there = server(stack, LARGE, instance="1" * 16)
    for found in ([there.url, "http://127.0.0.1:1"], ["http://127.0.0.1:1", there.url]):
        peers = [Peer(url, "1" * 16) for url in found]
        source = PeerSource(near, [], own_name, lambda peers=peers: peers)  # type: ignore[misc]
        source.discover(PLACES)
        assert hosts(source, LARGE_FILE) == [there.host]


def test_no_more_peers_are_used_than_are_worth_it(near: Client, stack: ExitStack) -> None:
    peer = server(stack, LARGE)
    found = [Peer(f"http://127.0.0.1:{port}", f"{port:016x}") for port in range(1, 100)]
    found.insert(50, Peer(peer.url, "f" * 16))
    source = PeerSource(near, [], own_name, lambda: found)
    source.discover(PLACES)
    assert hosts(source, LARGE_FILE) == []


def test_without_the_package_the_notice_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from modelfetch.net import mdns

    def missing() -> Sequence[FoundPeer]:
        raise mdns.MdnsMissing

    monkeypatch.setattr(mdns, "browse", missing)
    notices: list[str] = []
    assert not peer_search.found_peers(notices.append)
    assert notices == [
        "lan.enabled is set, but the package zeroconf is missing: pip install 'modelfetch[lan]'"
    ]


@pytest.mark.parametrize(
    ("url", "fault", "message", "expected"),
    [
        ("http://nas:8765", Fault.CUT, "the connection was cut before an answer", "write https://"),
        ("http://nas:8765", Fault.CONNECT, "connection refused", ""),
        ("https://nas", Fault.CONNECT, "connection refused", "443"),
        ("https://nas:8765", Fault.CONNECT, "connection refused", ""),
        ("https://nas:8765", Fault.TLS, "the TLS handshake failed", "write http://"),
        ("https://nas:8765", Fault.TLS, "certificate refused: expired", ""),
    ],
)
def test_a_notice_says_what_may_be_wrong_with_an_address(
    url: str, fault: Fault, message: str, expected: str
) -> None:
    found = peer_search.advice(url, SourceError(fault, message))
    assert expected in found
    assert bool(found) == bool(expected)


def test_a_peer_without_tls_that_is_named_with_https_is_told_apart(near: Client, stack: ExitStack) -> None:
    peer = server(stack, LARGE)
    notices: list[str] = []
    source = PeerSource(near, [peer.url.replace("http://", "https://")], own_name, None, notices.append)
    source.discover(PLACES)
    assert hosts(source, LARGE_FILE) == []
    [notice] = notices
    assert notice.endswith("; if it does not use TLS, write http://")

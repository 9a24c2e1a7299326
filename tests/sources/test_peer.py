"""A peer: what it is asked, what its answers mean, and what it never gets or decides."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.errors import Fault, SourceError
from modelfetch.model.manifest import FileSpec
from modelfetch.net.client import Client
from modelfetch.net.time_limits import Limits
from modelfetch.sources.peer import LEAST_SPEED, MOST_SLOW, Peer, PeerAnswer, PeerOffer, key_of_model, leads
from tests.engine.fakes import TickingClock
from tests.origin import Origin
from tests.patience import HELD, IN_TIME
from tests.peer_server import PeerServer
from tests.sources.samples import DATA, SHA256, manifest, read, spec

OWN, OTHER = "a" * 16, "b" * 16


def own_name() -> str:
    return OWN


FILE = spec()
MODEL = manifest(FILE)


@pytest.fixture
def server() -> Iterator[PeerServer]:
    with PeerServer(instance=OTHER) as server:
        yield server


def offer(near: Client, server: PeerServer, own: str = OWN) -> PeerOffer:
    return PeerOffer(Peer(server.url), MODEL, FILE, near, lambda: own)


def test_a_peer_that_has_a_file_sends_any_part_of_it(near: Client, server: PeerServer) -> None:
    server.add(DATA)
    peer = offer(near, server)
    assert (peer.kind, peer.host) == ("peer", server.host)
    assert peer.ask() == PeerAnswer("has")
    assert read(peer, 0) == DATA
    assert read(peer, 100) == DATA[100:]
    path, fields = server.asked[0]
    assert path == f"/blobs/sha256/{SHA256}"
    assert (fields["range"], fields["prefer"]) == ("bytes=0-0", "respond-async, wait=0")
    assert "prefer" not in server.asked[1][1]


def test_a_question_keeps_the_connection(near: Client, server: PeerServer) -> None:
    server.add(DATA)
    peer = offer(near, server)
    for _ in range(3):
        peer.ask()
        assert server._server.connections
    assert len(server._server.connections) == 1


def test_a_peer_without_the_file_lacks_it(near: Client, server: PeerServer) -> None:
    peer = offer(near, server)
    assert peer.ask() == PeerAnswer("lacks")
    with pytest.raises(SourceError) as raised:
        read(peer, 0)
    assert raised.value.fault is Fault.NOT_FOUND


def test_a_peer_that_fetches_the_file_says_how_far_it_is(near: Client, server: PeerServer) -> None:
    server.fetching[SHA256] = 5, len(DATA)
    assert offer(near, server).ask(2) == PeerAnswer("fetching", 5, 1.5, leads(SHA256, OWN, OTHER))
    assert server.asked[0][1]["prefer"] == "respond-async, wait=2"
    server.fetching[SHA256] = 0, 0
    assert offer(near, server).ask().received == 0


@pytest.mark.quick(every=4)
@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b'{"received": 1}',
        b'{"received": -1, "size": 0}',
        b'{"received": true, "size": 0}',
        b'{"received": 1.5, "size": 0}',
        b'{"received": "1", "size": 0}',
        b'{"received": 1, "size": 7}',
        b'{"received": 99999999999999999999, "size": 0}',
        b'{"received": NaN, "size": 0}',
        b'{"received": 1, "size": 0, "begun": -1}',
        b'{"received": 1, "size": 0, "begun": NaN}',
        b'{"received": 1, "size": 0, "begun": 1e300}',
        b'{"received": 1, "size": 0, "begun": true}',
        b'{"received": 1, "size": 0, "begun": "1"}',
        b"[" * 3000,
        b'{"received": 1, "size": 0, "x": "' + b"x" * 5000 + b'"}',
        b"\xff\xfe",
    ],
)
def test_a_document_that_cannot_be_true_is_no_progress(
    document: bytes, near: Client, server: PeerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(document, server, monkeypatch)
    assert offer(near, server).ask() == PeerAnswer("lacks")


def answer_with(document: bytes, server: PeerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a peer answer every question with 202 and a document."""
    reply = server._reply
    monkeypatch.setattr(
        server, "_reply", lambda handler, status, body, extra=None: reply(handler, status, document, extra)
    )
    server.statuses = [202]


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("available", "ranges"),
    [
        ("[]", ()),
        ("[[0, 5]]", ((0, 5),)),
        (f"[[0, 5], [5, 6], [8, {len(DATA)}]]", ((0, 5), (5, 6), (8, len(DATA)))),
        ("null", ()),
        ("7", ()),
        ('{"0": 5}', ()),
        ("[0, 5]", ()),
        ("[[0, 5, 6]]", ()),
        ("[[0]]", ()),
        ("[[-1, 5]]", ()),
        ("[[5, 5]]", ()),
        ("[[5, 4]]", ()),
        (f"[[0, {len(DATA) + 1}]]", ()),
        ("[[0, 5], [4, 8]]", ()),
        ("[[0, 5.0]]", ()),
        ("[[false, true]]", ()),
        ('[["0", "5"]]', ()),
        ("[[0, 1e300]]", ()),
        ("[[0, 99999999999999999999999]]", ()),
        (f"[{', '.join(f'[{n}, {n + 1}]' for n in range(65))}]", ()),
    ],
)
def test_the_ranges_that_a_peer_sends_already(
    available: str,
    ranges: tuple[tuple[int, int], ...],
    near: Client,
    server: PeerServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    document = f'{{"received": 1, "size": {len(DATA)}, "begun": 0, "available": {available}}}'
    answer_with(document.encode(), server, monkeypatch)
    found = offer(near, server).ask()
    assert (found.state, found.available) == ("fetching", ranges)


@pytest.mark.parametrize("status", [403, 429, 503])
def test_a_refusal_is_met_again_by_the_request_that_reports_it(
    status: int, near: Client, server: PeerServer
) -> None:
    server.statuses = [status]
    assert offer(near, server).ask() == PeerAnswer("has")


@pytest.mark.parametrize("status", [204, 400, 405, 410, 416, 451, 500, 502])
def test_any_other_status_is_a_peer_without_the_file(status: int, near: Client, server: PeerServer) -> None:
    server.statuses = [status]
    assert offer(near, server).ask() == PeerAnswer("lacks")


def test_a_file_of_another_size_is_not_the_file(near: Client, server: PeerServer) -> None:
    server.files[SHA256] = DATA + b"x"
    assert offer(near, server).ask() == PeerAnswer("lacks")


def test_the_own_server_is_not_asked_again(near: Client, server: PeerServer) -> None:
    server.add(DATA)
    peer = Peer(server.url)
    assert PeerOffer(peer, MODEL, FILE, near, lambda: OTHER).ask() == PeerAnswer("lacks")
    assert peer.is_out


def test_a_machine_that_is_not_there_is_out(near: Client) -> None:
    peer = Peer("http://127.0.0.1:1")
    with pytest.raises(SourceError):
        PeerOffer(peer, MODEL, FILE, near, own_name).ask()
    assert peer.is_out


def test_a_silent_machine_costs_little_and_is_out(
    near: Client, server: PeerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelfetch.sources.peer.ANSWER_SECONDS", 0.1)
    server.may_answer.clear()
    peer = Peer(server.url)
    with pytest.raises(SourceError) as raised:
        PeerOffer(peer, MODEL, FILE, near, own_name).ask()
    assert raised.value.fault is Fault.TIMEOUT
    assert peer.is_out


def test_a_peer_that_answers_late_again_and_again_is_out(
    near: Client, server: PeerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelfetch.sources.peer.SLOW_SECONDS", -1.0)
    peer = Peer(server.url)
    late = PeerOffer(peer, MODEL, FILE, near, own_name)
    for _ in range(MOST_SLOW):
        assert not peer.is_out
        late.ask()
    assert peer.is_out


def test_a_late_answer_to_a_question_that_may_be_held_back_keeps_nobody_waiting(
    near: Client, server: PeerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that a class waits for is busy: if it were given up, all of them would read the origin."""
    monkeypatch.setattr("modelfetch.sources.peer.SLOW_SECONDS", -1.5)
    server.fetching[FILE.sha256] = (5, FILE.size)
    peer = Peer(server.url)
    for _ in range(MOST_SLOW):
        assert PeerOffer(peer, MODEL, FILE, near, own_name).ask(1.0).state == "fetching"
    assert not peer.is_out


@pytest.mark.parametrize("status", [200, 202, 206, 404])
def test_a_document_that_drips_costs_little_and_its_peer_is_out(
    status: int, near: Client, server: PeerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte is progress for the limits of a client, so that a document could take minutes."""
    monkeypatch.setattr("modelfetch.sources.peer.ANSWER_SECONDS", 0.2)
    server.statuses, server.chunk, server.pause = [status], 1, 0.1
    server.headers = {"Content-Range": f"bytes 0-0/{len(DATA)}"}
    server.document = b" " * 4000
    peer = Peer(server.url)
    with pytest.raises(SourceError) as raised:
        PeerOffer(peer, MODEL, FILE, near, own_name).ask()
    assert raised.value.fault is Fault.TIMEOUT
    assert peer.is_out


def test_a_peer_names_no_other_host(near: Client, server: PeerServer, origin: Origin) -> None:
    """Else any machine of the network could make this one send requests anywhere."""
    server.statuses = [302]
    server.headers = {"Location": f"http://127.0.0.1:{origin.port}/blobs/sha256/{SHA256}"}
    for request in (offer(near, server).ask, lambda: read(offer(near, server), 0)):
        with pytest.raises(SourceError, match="redirects to another host") as raised:
            request()
        assert raised.value.fault is Fault.REDIRECT
    assert not origin.requests


def test_credentials_go_to_their_peer_only(near: Client, server: PeerServer) -> None:
    server.add(DATA)
    named = PeerOffer(Peer(f"http://user:secret@{server.host}"), MODEL, FILE, near, own_name)
    assert named.ask() == PeerAnswer("has")
    assert named.address == f"{server.url}/blobs/sha256/{SHA256}"
    assert server.asked[0][1]["authorization"].startswith("Basic ")
    offer(near, server).ask()
    assert "authorization" not in server.asked[1][1]


def test_a_proxy_is_not_used(client: Client, server: PeerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    server.add(DATA)
    near = client.nearby(IN_TIME)
    assert offer(near, server).ask() == PeerAnswer("has")
    near.close()


def read_slowly(server: PeerServer, limits: Limits, size: int) -> bytes:
    """Read a file that comes ten bytes at a time, each of which takes two seconds of a fake clock."""
    content = bytes(size)
    file = FileSpec("a.bin", size, server.add(content))
    server.chunk, server.pause = 10, 0.002
    with closing(Client(limits, Cancellation(), TickingClock(1.0))) as client:
        near = client.nearby(HELD, min_speed=LEAST_SPEED)
        return read(PeerOffer(Peer(server.url), manifest(file), file, near, own_name))


def test_a_peer_that_drips_has_failed(server: PeerServer) -> None:
    """It sends more than a source in the internet has to, and could hold a file for hours."""
    with pytest.raises(SourceError, match="too slow") as raised:
        read_slowly(server, Limits(HELD, HELD), 100_000)
    assert raised.value.fault is Fault.STALL


def test_where_no_speed_is_demanded_peers_may_be_slow_too(server: PeerServer) -> None:
    assert len(read_slowly(server, Limits(HELD, HELD, min_speed=0.0), 1000)) == 1000


def test_a_failed_request_says_that_the_peer_may_lack_the_model(near: Client, server: PeerServer) -> None:
    peer = Peer(server.url)
    peer.may_have(key_of_model(MODEL))
    with pytest.raises(SourceError):
        read(PeerOffer(peer, MODEL, FILE, near, own_name), 0)
    assert not peer.models
    assert not peer.is_out


def test_a_peer_that_was_waited_for_in_vain_is_not_waited_for_again(near: Client, server: PeerServer) -> None:
    server.fetching[SHA256] = 5, len(DATA)
    peer = Peer(server.url)
    first = PeerOffer(peer, MODEL, FILE, near, own_name)
    assert first.ask().state == "fetching"
    first.stop_waiting()
    assert PeerOffer(peer, MODEL, FILE, near, own_name).ask() == PeerAnswer("lacks")
    server.add(DATA)
    assert first.ask() == PeerAnswer("has")


# Who reads the origin


def test_of_two_machines_exactly_one_leads() -> None:
    for number in range(200):
        sha256 = f"{number:064x}"
        assert leads(sha256, OWN, OTHER) != leads(sha256, OTHER, OWN)
    assert not leads(SHA256, OWN, OWN)


def test_another_file_has_another_leader() -> None:
    names = [f"{number:016x}" for number in range(8)]
    leaders = {
        next(name for name in names if not any(leads(f"{file:064x}", name, other) for other in names))
        for file in range(100)
    }
    assert leaders == set(names)


@pytest.mark.parametrize("other", ["", "x", "é" * 16, "\n"])
def test_a_machine_without_a_name_never_leads(other: str) -> None:
    assert not leads(SHA256, OWN, other)


class _Interrupted(str):
    """A name that lets another thread run where a set of it is made."""

    other: threading.Thread | None = None

    def __hash__(self) -> int:
        if self.other is not None:
            other, self.other = self.other, None
            other.start()
            other.join(0.2)  # it may wait for this thread
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)


def test_what_two_threads_note_of_a_peer_is_kept() -> None:
    peer = Peer("http://peer.example:8765")
    name = _Interrupted("a")
    name.other = other = threading.Thread(target=peer.may_have, args=(("b", "2"),))
    peer.may_have((name, "1"))
    other.join()
    assert {model for model, _ in peer.models} == {"a", "b"}

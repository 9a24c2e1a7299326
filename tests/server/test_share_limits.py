"""Slots, the rate, and the counters of what is sent."""

from __future__ import annotations

import itertools
import os
import select
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from modelfetch.server import share_limits, socket_transfer
from modelfetch.server.error_responses import Refusal
from modelfetch.server.share_counters import MOST_CLIENTS, ShareCounters
from modelfetch.server.share_limits import LARGEST_PIECE, SMALLEST_PIECE, ShareLimits
from modelfetch.server.socket_transfer import SocketTransfer
from tests.patience import IN_TIME
from tests.server.running import until
from tests.server.sharing import MIB, content, open_descriptors, sharing_server


def test_one_address_gets_half_of_the_slots() -> None:
    limits = ShareLimits(transfers=4)
    with ExitStack() as held:
        for client in ("a", "a", "b", "b"):
            held.enter_context(limits.slots.hold(client))
        for client in ("a", "c"):
            with pytest.raises(Refusal, match="too many transfers"), limits.slots.hold(client):
                pass
    with limits.slots.hold("a"):
        pass
    assert not limits.slots.count


def test_requests_are_limited_in_all_and_for_each_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share_limits, "REQUESTS", 3)
    monkeypatch.setattr(share_limits, "REQUESTS_OF_ONE", 2)
    limits = ShareLimits()
    with ExitStack() as held:
        for client in ("a", "a", "b"):
            held.enter_context(limits.requests.hold(client))
        for client in ("a", "b", "c"):
            with pytest.raises(Refusal), limits.requests.hold(client):
                pass
        with limits.slots.hold("a"):
            pass
    assert not limits.requests.count


def test_requests_of_clients_that_left_do_not_keep_the_owner_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is answered to its end, while its client has long sent the next one over another connection."""
    monkeypatch.setattr(share_limits, "REQUESTS_OF_ONE", 3)
    go = threading.Event()
    with sharing_server(tmp_path) as sharing:
        monkeypatch.setattr(
            sharing.share_state.cache, "find_known", lambda _: (None, None if go.wait(IN_TIME) else 1)
        )
        for number in range(3):
            with sharing.connect() as client:
                client.sendall(sharing.head("/blobs/sha256/" + "0" * 64))
                until(lambda wanted=number + 1: sharing.share_state.limits.requests.count == wanted)  # type: ignore[misc]
        refused = sharing.get_blob("0" * 64)
        assert (refused.status, refused.code) == (503, "too_many_transfers")
        assert sharing.served.ask("GET", "/v1/jobs").status == 200
        go.set()
        until(lambda: not sharing.share_state.limits.requests.count, "the end of all")
        assert sharing.get_blob("0" * 64).status == 404


def test_a_slot_is_given_back_after_an_error() -> None:
    limits = ShareLimits(transfers=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), limits.slots.hold("a"):
            raise ZeroDivisionError


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.7", "192.0.2.8", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1", "fe80::2", False),
        ("fe80::1%eth0", "fe80::2%eth0", False),
        ("::ffff:192.0.2.7", "192.0.2.7", True),
        ("", "192.0.2.7", False),
    ],
)
def test_addresses_of_one_ipv6_network_count_as_one_client(one: str, other: str, is_same: bool) -> None:
    limits = ShareLimits(transfers=2)
    with limits.slots.hold(one):
        if is_same:
            with pytest.raises(Refusal), limits.slots.hold(other):
                pass
        else:
            with limits.slots.hold(other):
                pass


def test_bookings_wait_for_their_turn() -> None:
    limits = ShareLimits(rate=1000, clock=lambda: 100.0)
    waits = [limits.book(500) for _ in range(4)]
    assert waits == [0.25, 0.75, 1.25, 1.75]
    assert ShareLimits().book(10**12) == 0.0


@pytest.mark.parametrize(
    ("rate", "piece"), [(None, LARGEST_PIECE), (10**12, LARGEST_PIECE), (4 * MIB, MIB), (1, SMALLEST_PIECE)]
)
def test_pieces_are_those_of_a_quarter_of_a_second(rate: int | None, piece: int) -> None:
    assert ShareLimits(rate=rate).piece == piece


def test_counts_by_endpoint_and_client() -> None:
    now = [0.0]
    counters = ShareCounters(clock=lambda: now[0])
    first, second = counters.begin("blobs", "a"), counters.begin("hub", "b")
    first.sent(10)
    second.sent(20)
    second.sent(30)
    second.end()
    counters.refuse()
    now[0] = 1.5
    assert counters.snapshot() == {
        "requests": 2,
        "bytes": 60,
        "active": 1,
        "refused": 1,
        "endpoints": {"blobs": {"requests": 1, "bytes": 10}, "hub": {"requests": 1, "bytes": 50}},
        "clients": [
            {"client": "b", "requests": 1, "bytes": 50, "active": 0, "idle": 1.5},
            {"client": "a", "requests": 1, "bytes": 10, "active": 1, "idle": 1.5},
        ],
    }


def test_the_table_of_clients_is_bounded_and_keeps_active_ones() -> None:
    counters = ShareCounters()
    active = counters.begin("blobs", "active")
    for n in range(10_000):
        counters.begin("blobs", f"client {n}").end()
    active.sent(7)
    clients = counters.snapshot()["clients"]
    assert len(clients) == MOST_CLIENTS
    assert clients[0]["client"] == "active"
    assert clients[0]["bytes"] == 7
    assert counters.snapshot()["requests"] == 10_001


def test_many_short_ranges_are_not_sent_faster_than_the_rate(tmp_path: Path) -> None:
    with sharing_server(tmp_path, ShareLimits(rate=100_000)) as sharing:
        booked: list[int] = []
        real = sharing.share_state.limits.book

        def book(count: int) -> float:
            booked.append(count)
            return min(0.0, real(count))

        sharing.share_state.limits.book = book  # type: ignore[method-assign]
        digest = sharing.put(content(60_000))
        for _ in range(3):
            assert sharing.get_blob(digest, Range="bytes=0-999").status == 206
    assert booked == [1000] * 3


def test_without_more_threads_the_answer_is_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sharing_server(tmp_path) as sharing:
        digest = sharing.put(content(MIB))
        assert sharing.get_blob(digest, Range="bytes=0-9").status == 206
        real = ThreadPoolExecutor.submit

        def refuse(pool: ThreadPoolExecutor, *arguments: object, **named: object) -> object:
            if pool is sharing.share_state._sending:
                raise RuntimeError("can't start new thread")
            return real(pool, *arguments, **named)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(ThreadPoolExecutor, "submit", refuse)
            answer = sharing.get_blob(digest)
            assert (answer.status, answer.code) == (503, "too_many_transfers")
        assert sharing.get_blob(digest).status == 200


# A transfer by itself


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection; the first one does not block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), IN_TIME)
        server, _ = listener.accept()
    server.setblocking(False)
    return server, client


def transfer(
    path: Path, server: socket.socket, start: int, length: int, seconds: float = 10
) -> SocketTransfer:
    return SocketTransfer(
        server.fileno(), os.open(path, os.O_RDONLY), start, length, ShareLimits(), lambda _: None, seconds
    )


def test_a_transfer_sends_exactly_its_bytes_and_leaves_the_socket_open(tmp_path: Path) -> None:
    path, data = tmp_path / "file", content(MIB)
    path.write_bytes(data)
    server, client = pair()
    before = open_descriptors(str(path))
    with server, client:
        assert transfer(path, server, 10, 1000).run()
        assert client.recv(5000) == data[10:1010]
        server.send(b"more")  # full packets only were sent until then; that is over
        assert client.recv(10) == b"more"
    assert open_descriptors(str(path)) == before


@pytest.mark.slow
def test_a_cancelled_transfer_ends_at_once_and_closes_its_descriptors(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(64 * MIB))
    server, client = pair()
    with server, client:
        sending = transfer(path, server, 0, 64 * MIB, seconds=1000)
        results: list[bool] = []
        thread = threading.Thread(target=lambda: results.append(sending.run()))
        thread.start()
        client.recv(1)
        sending.cancel()
        thread.join(IN_TIME)
        sending.cancel()  # without effect
    assert results == [False]
    assert open_descriptors(str(path)) == 0


def test_a_client_that_reads_is_not_blamed_for_a_thread_that_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, size, now = tmp_path / "file", 32 * MIB, [0.0]
    path.write_bytes(bytes(size))
    server, client = pair()
    client.setblocking(False)
    numbers = itertools.count()

    class LatePoll:
        """Every second wait of the transfer takes long, and the client reads meanwhile."""

        def register(self, *_: int) -> None:
            pass

        def poll(self, _: int) -> None:
            if next(numbers) % 2:
                now[0] += 100
                with suppress(BlockingIOError):
                    while client.recv(MIB):
                        pass

    late = SimpleNamespace(poll=LatePoll, POLLOUT=select.POLLOUT)
    monkeypatch.setattr(socket_transfer, "select", late)
    monkeypatch.setattr(socket_transfer, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with server, client:
        assert transfer(path, server, 0, size, seconds=10).run()
    assert now[0] > 100


def test_a_transfer_of_a_file_that_is_too_short_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"short")
    server, client = pair()
    with server, client:
        assert not transfer(path, server, 0, 1000).run()


@pytest.mark.slow
def test_a_transfer_to_a_client_that_is_gone_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(64 * MIB))
    server, client = pair()
    client.close()
    with server:
        assert not transfer(path, server, 0, 64 * MIB).run()


def test_a_transfer_to_what_is_no_socket_leaves_no_descriptor(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "no socket").touch()
    before = open_descriptors(str(tmp_path))
    with (tmp_path / "file").open("rb") as file, (tmp_path / "no socket").open("rb") as to:
        with pytest.raises(OSError, match="socket"):
            SocketTransfer(to.fileno(), file.fileno(), 0, 1, ShareLimits(), lambda _: None, 10)
        assert open_descriptors(str(tmp_path)) == before + 2

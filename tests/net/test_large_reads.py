"""Large bodies read from a socket: with few reads, and without keeping bytes back."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from modelfetch.net import large_reads
from modelfetch.net.large_reads import WAKE_BYTES, gathered
from modelfetch.net.time_limits import Limits, StallTimer
from tests.engine.fakes import FakeClock

LENGTH = 900_000


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as ours,
        listener.accept()[0] as theirs,
    ):
        yield ours, theirs


def low_water(sock: socket.socket) -> int:
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems may not let a read wait for many bytes")
def test_a_read_waits_for_many_bytes_until_the_body_ends(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pair
    seen: list[int] = []

    class Reader(large_reads._Reader):
        def wake_at(self, count: int) -> None:
            super().wake_at(count)
            seen.append(low_water(ours))

    monkeypatch.setattr(large_reads, "_Reader", Reader)
    threading.Thread(target=theirs.sendall, args=[b"a" * LENGTH]).start()
    assert sum(map(len, gathered(ours, LENGTH, StallTimer(Limits())))) == LENGTH
    assert (seen[0], seen[-1]) == (WAKE_BYTES, 1), "the next response may be small"


def test_bytes_are_not_kept_back_until_enough_are_there(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    pieces = gathered(ours, LENGTH, StallTimer(Limits()))
    for count in (1, 70_000, 2):
        theirs.sendall(b"x" * count)
        received = 0
        while received < count:
            received += len(next(pieces))
        assert received == count


def test_the_end_of_the_connection_is_noticed_at_once(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(b"x" * 5000)
    theirs.close()
    assert [len(piece) for piece in gathered(ours, LENGTH, StallTimer(Limits()))] == [5000]


def test_a_silent_connection_ends_with_the_time_limit(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(b"x" * 10)
    clock = FakeClock()
    pieces = gathered(ours, LENGTH, StallTimer(Limits(), clock))
    assert bytes(next(pieces)) == b"x" * 10
    clock.now += Limits().stall_timeout
    with pytest.raises(TimeoutError):
        next(pieces)

"""Large pieces are collected in the kernel or by us, with the same results."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from modelfetch.net import large_reads
from modelfetch.net.large_reads import HOLD_SECONDS, LARGE_BYTES, gathered
from modelfetch.net.time_limits import Limits, StallTimer

CONTENT = bytes(range(256)) * (LARGE_BYTES * 5 // 2 // 256)
PATIENT = Limits(stall_timeout=20.0)


@pytest.fixture(params=[True, False], ids=["in the kernel", "by us"], autouse=True)
def collects_in_kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_reads, "COLLECTS_IN_KERNEL", request.param and large_reads.COLLECTS_IN_KERNEL)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of a TCP connection: the client's and the server's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        with client, closing(server.accept()[0]) as accepted:
            yield client, accepted


def test_pieces_fill_the_buffer_and_stop_at_the_length(ends: tuple[socket.socket, socket.socket]) -> None:
    client, server = ends
    sender = threading.Thread(target=server.sendall, args=(CONTENT + b"of another body",))
    sender.start()
    pieces = [bytes(piece) for piece in gathered(client, len(CONTENT), StallTimer(PATIENT))]
    sender.join()
    assert b"".join(pieces) == CONTENT
    assert client.recv(100) == b"of another body"


def test_bytes_are_handed_on_although_no_more_arrive(ends: tuple[socket.socket, socket.socket]) -> None:
    client, server = ends
    pieces = gathered(client, len(CONTENT), StallTimer(PATIENT))
    for sent in (b"some", b"more"):
        server.sendall(sent)
        began = time.monotonic()
        assert bytes(next(pieces)) == sent
        assert time.monotonic() - began < HOLD_SECONDS + 5.0
    server.close()
    assert list(pieces) == []


def test_a_silent_source_is_given_up(ends: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(TimeoutError, match="in time"):
        next(gathered(ends[0], 100, StallTimer(Limits(stall_timeout=0.05))))


def test_bytes_before_a_reset_are_handed_on(ends: tuple[socket.socket, socket.socket]) -> None:
    client, server = ends
    pieces = gathered(client, len(CONTENT), StallTimer(PATIENT))
    server.sendall(b"some")
    assert bytes(next(pieces)) == b"some"
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.close()
    with pytest.raises(ConnectionResetError):
        next(pieces)


def test_a_connection_can_be_read_with_a_timeout_afterward(ends: tuple[socket.socket, socket.socket]) -> None:
    client, server = ends
    server.sendall(b"body")
    assert [bytes(piece) for piece in gathered(client, 4, StallTimer(PATIENT))] == [b"body"]
    client.settimeout(20.0)
    threading.Timer(HOLD_SECONDS * 4, server.sendall, (b"next",)).start()
    assert client.recv(100) == b"next"

"""Connections whose TLS handshake is not complete: bounded, and the client with the most of them pays."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from modelfetch.server import serve
from modelfetch.server.handshakes import Handshakes
from modelfetch.server.serve_options import Options
from tests.origin.certificates import Authority
from tests.patience import HELD, IN_TIME
from tests.server.running import Served, until

Connect = Callable[[], tuple[socket.socket, socket.socket]]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes connections: the end that was accepted, and that of the client."""
    with ExitStack() as stack:

        def connect() -> tuple[socket.socket, socket.socket]:
            ends = socket.socketpair()
            for end in ends:
                stack.enter_context(end)
                end.settimeout(IN_TIME)
            return ends

        yield connect


def is_open(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return bool(client.recv(1))
    except BlockingIOError:
        return True


def test_the_oldest_of_the_client_with_the_most_is_closed(connect: Connect) -> None:
    handshakes, clients = Handshakes(3), []
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.3"):
        accepted, client = connect()
        handshakes.add(accepted, address)
        clients.append(client)
    assert [is_open(client) for client in clients] == [True, False, True, True]
    assert len(handshakes) == 3


def test_those_that_are_complete_or_closed_do_not_count(connect: Connect) -> None:
    handshakes, clients = Handshakes(2), []
    for number in range(6):
        accepted, client = connect()
        handshakes.add(accepted, "192.0.2.1")
        clients.append(client)
        if number % 2:
            handshakes.end(accepted.fileno())
        else:
            accepted.close()
    accepted, client = connect()
    handshakes.add(accepted, "192.0.2.1")
    assert len(handshakes) == 1
    assert all(is_open(client) for client in clients[1::2])


@pytest.mark.skipif(sys.platform == "win32", reason="asyncio accepts connections in another way there")
def test_a_server_with_tls_closes_silent_connections_when_there_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "HEAD_SECONDS", HELD)
    authority = Authority()
    cert, key = authority.issue(tmp_path)
    context = authority.client()
    server = Served(tmp_path, options=Options(cert=cert, key=key))
    server._server._handshakes._most = 2
    with server, ExitStack() as stack:

        def connect() -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", server.port), IN_TIME))

        silent = [connect() for _ in range(3)]
        assert silent[0].recv(1) == b""
        complete = [
            stack.enter_context(context.wrap_socket(connect(), server_hostname="127.0.0.1")) for _ in range(3)
        ]
        until(lambda: len(server._server._handshakes) <= 1, "the end of the handshakes")
        for each in complete:  # they are no handshakes any more, so further ones end none of them
            each.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % server.port)
            assert each.recv(12) == b"HTTP/1.1 200"

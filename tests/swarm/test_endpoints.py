"""Addresses of machines, and a port that is free on all addresses of this one."""

from __future__ import annotations

import socket

import pytest

from modelfetch.swarm.endpoints import endpoints, free_port
from tests.swarm.nodes import address


def test_addresses_are_read() -> None:
    found = endpoints(["10.0.0.7:6881", "[fe80::1]:1", "127.0.0.1:65535"])
    assert found == [("10.0.0.7", 6881), ("fe80::1", 1), ("127.0.0.1", 65535)]


@pytest.mark.parametrize(
    "text",
    ["", "10.0.0.7", "10.0.0.7:", "10.0.0.7:0", "10.0.0.7:65536", "10.0.0.7:\u0661", "a.example:1", ":1"],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        endpoints([text])


def test_a_port_is_free_on_all_addresses() -> None:
    first, second = address(), address()
    with socket.create_server((second, 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port([first], port) == port
        other = free_port([first, second], port)
        assert other not in (0, port)
        assert free_port([first, second], other) == other


def test_an_address_of_another_machine_does_not_count() -> None:
    assert free_port(["192.0.2.1", address()], 0)
    assert free_port(["192.0.2.1"], 0) == 0


def test_a_port_with_connections_that_ended_a_moment_ago_is_free() -> None:
    host = address()
    with socket.create_server((host, 0), reuse_port=False) as server:
        port = server.getsockname()[1]
        client = socket.create_connection((host, port))
        accepted, _ = server.accept()
        accepted.close()  # the side that closes first stays in TIME_WAIT
        client.close()
        assert free_port([host], port) != port  # somebody listens
    assert free_port([host], port) == port

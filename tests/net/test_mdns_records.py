"""Announcements of the local network: any machine may announce anything, so few of them are used."""

from __future__ import annotations

import ipaddress
import random
from typing import Any

import pytest

from modelfetch.net.mdns_records import (
    FoundPeer,
    distinct,
    is_near,
    is_usable_port,
    peer_of,
    usable_networks,
)

NETWORKS = usable_networks(
    [
        ("127.0.0.1", 8),
        ("192.168.1.20", 24),
        ("10.8.0.2", 32),
        ("fd00::20", 64),
        ("fe80::1%eth0", 64),
        ("172.17.0.1", 0),
    ]
)
FACTS = {b"v": b"1", b"id": b"3f9a0c11d2e4b7a6"}


def test_a_server_in_a_network_of_this_machine_is_used() -> None:
    found = peer_of(8765, FACTS, ["fd00::7", "192.168.1.7"], NETWORKS)
    assert found == FoundPeer("http://192.168.1.7:8765", "3f9a0c11d2e4b7a6")
    found = peer_of(8765, FACTS, ["fd00::7"], NETWORKS)
    assert found == FoundPeer("http://[fd00::7]:8765", "3f9a0c11d2e4b7a6")


@pytest.mark.quick(every=4)
@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:192.168.1.7",
        "169.254.169.254",
        "fe80::2",
        "224.0.0.251",
        "255.255.255.255",
        "192.168.1.0",
        "192.168.1.255",
        "192.168.2.7",
        "172.17.0.9",
        "8.8.8.8",
        "2001:db8::1",
        "localhost",
        "192.168.1.7@evil.example",
        "",
    ],
)
def test_no_other_address_is_used(address: str) -> None:
    assert peer_of(8765, FACTS, [address], NETWORKS) is None


@pytest.mark.parametrize("address", ["192.168.1.20", "10.8.0.2", "fd00::20"])
def test_this_machine_itself_is_not_used(address: str) -> None:
    """Its services may be open to itself only, behind a firewall that a stranger cannot pass."""
    assert not is_near(ipaddress.ip_address(address), NETWORKS)
    assert peer_of(8765, FACTS, [address, "192.168.1.7"], NETWORKS) == peer_of(
        8765, FACTS, ["192.168.1.7"], NETWORKS
    )


@pytest.mark.parametrize("port", [22, 25, 6000, 6667, 9100, 0, -1, 65536, None, "8765", 8765.0])
def test_no_port_of_another_service_is_used(port: Any) -> None:
    assert peer_of(port, FACTS, ["192.168.1.7"], NETWORKS) is None


@pytest.mark.parametrize("port", [80, 443, 1024, 8765, 65535])
def test_other_ports_are_used(port: int) -> None:
    assert is_usable_port(port)


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {b"v": b"2", b"id": FACTS[b"id"]},
        {b"v": None, b"id": FACTS[b"id"]},
        {b"v": b"1", b"id": None},
        {b"v": b"1", b"id": b"3F9A0C11D2E4B7A6"},
        {b"v": b"1", b"id": b"3f9a0c11d2e4b7a"},
        {b"v": b"1", b"id": b"\xff" * 16},
        {b"v": b"1", b"id": b"3f9a0c11d2e4b7\x1b["},
        {"v": "1", "id": "3f9a0c11d2e4b7a6"},
    ],
)
def test_other_announcements_are_ignored(facts: dict[Any, Any]) -> None:
    assert peer_of(8765, facts, ["192.168.1.7"], NETWORKS) is None


def test_of_thousands_of_addresses_few_are_looked_at() -> None:
    addresses = [f"10.9.{number // 256}.{number % 256}" for number in range(5000)]
    assert peer_of(8765, FACTS, [*addresses, "192.168.1.7"], NETWORKS) is None


def test_a_server_that_is_announced_under_many_names_is_asked_once() -> None:
    """Two addresses with the name of one cache may be two machines: a cache may move, and anyone may lie."""
    ids = [random.Random(number).randbytes(8).hex() for number in range(30)]
    assert len(distinct([FoundPeer("http://192.168.1.7:8765", each) for each in ids])) == 1
    assert len(distinct([FoundPeer(f"http://192.168.1.{number}:8765", ids[0]) for number in range(30)])) == 30
    assert len(distinct([FoundPeer(f"http://192.168.1.{at}:8765", ids[at]) for at in range(30)])) == 30

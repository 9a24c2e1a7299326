"""Strangers at the port of the engine: whatever they send, the engine goes on, and nothing wrong is kept."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from modelfetch.swarm.engine import PieceFinished, Restarted
from tests.patience import IN_TIME
from tests.swarm.liar import Liar
from tests.swarm.nodes import Node, address, metainfo_of, some_files, written

pytest.importorskip("libtorrent")
pytestmark = pytest.mark.slow

FILES = some_files(1 << 20)
METAINFO = metainfo_of(FILES)
HANDSHAKE = (
    b"\x13BitTorrent protocol"
    + bytes([0, 0, 0, 0, 0, 0x10, 0, 0x14])
    + bytes.fromhex(METAINFO.infohash)[:20]
    + b"-XX0001-abcdefghijkl"
)
NODE = tuple[Node, Node]


def message(kind: int, payload: bytes = b"") -> bytes:
    return struct.pack(">IB", len(payload) + 1, kind) + payload


ATTACKS = {
    "nothing": b"",
    "noise": os.urandom(5000),
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "half a handshake": HANDSHAKE[:30],
    "another torrent": HANDSHAKE[:28] + bytes(20) + HANDSHAKE[48:],
    "an endless message": HANDSHAKE + b"\xff\xff\xff\xff",
    "a message of nothing known": HANDSHAKE + message(99, b"x" * 100),
    "a bit field of another size": HANDSHAKE + message(5, b"\xff" * 1000),
    "a piece that nobody wants": HANDSHAKE + message(7, struct.pack(">II", 0, 0) + bytes(16384)),
    "a piece beyond the end": HANDSHAKE + message(7, struct.pack(">II", 2**31 - 1, 2**31 - 1) + bytes(100)),
    "a piece of nothing": HANDSHAKE + message(7, b""),
    "a request beyond the end": HANDSHAKE + message(6, struct.pack(">III", 2**31 - 1, 0, 2**31 - 1)),
    "a request of all at once": HANDSHAKE + message(6, struct.pack(">III", 0, 0, 2**31 - 1)),
    "many requests": HANDSHAKE + message(6, struct.pack(">III", 0, 0, 16384)) * 5000,
    "a have of no piece": HANDSHAKE + message(4, struct.pack(">I", 2**32 - 1)),
    "a hash request beyond the end": HANDSHAKE + message(21, bytes(32) + b"\x80\0\0\0" * 4),
    "hashes that nobody asked for": HANDSHAKE
    + message(22, os.urandom(32) + struct.pack(">IIII", 0, 0, 512, 0) + bytes(16384)),
    "metadata of another size": HANDSHAKE
    + message(20, b"\x00d1:md11:ut_metadatai3ee13:metadata_sizei99999999999ee"),
    "bencode without end": HANDSHAKE + message(20, b"\x00" + b"d1:a" * 5000),
    "peers by the thousand": HANDSHAKE + message(20, b"\x01d5:added60000:" + os.urandom(60000) + b"e"),
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NODE]:
    """A node that has nothing yet, and one that has everything."""
    directory = tmp_path_factory.mktemp("nodes")
    seed, leech = Node(directory), Node(directory)
    seed.seed(METAINFO, written(directory, FILES))
    leech.leech(METAINFO)
    yield leech, seed
    for each in (leech, seed):
        each.engine.close()


def attack(target: Node, data: bytes) -> None:
    host, _, port = target.endpoint.rpartition(":")
    with socket.create_connection((host, int(port)), IN_TIME, (address(), 0)) as peer, suppress(OSError):
        peer.settimeout(0.3)
        peer.sendall(data)
        while peer.recv(65536):
            continue


@pytest.mark.parametrize("name", ATTACKS)
def test_a_stranger_is_disconnected_and_the_engine_goes_on(node: NODE, name: str) -> None:
    for each in node:
        before = each.engine.pid
        attack(each, ATTACKS[name])
        events = [*each.engine.events(0.1)]
        assert not [event for event in events if isinstance(event, PieceFinished | Restarted)]
        assert each.engine.pid == before


def test_after_all_of_it_and_among_silent_and_lying_peers_a_file_arrives(node: NODE) -> None:
    leech, seed = node
    host, _, port = leech.endpoint.rpartition(":")
    with ExitStack() as stack:
        for _ in range(30):
            silent = socket.create_connection((host, int(port)), IN_TIME, (address(), 0))
            stack.enter_context(silent)
            silent.sendall(HANDSHAKE)
        stack.enter_context(Liar(METAINFO, leech.endpoint, address()))
        leech.engine.peers(METAINFO.infohash, [seed.endpoint])
        leech.until_complete(METAINFO)
    assert leech.content(METAINFO) == FILES
    assert not any(isinstance(event, Restarted) for event in (*leech.events, *seed.events))


def test_an_address_that_is_given_again_and_again_is_connected_to(tmp_path: Path) -> None:
    seed, leech = Node(tmp_path), Node(tmp_path)
    try:
        seed.seed(METAINFO, written(tmp_path, FILES))
        leech.leech(METAINFO)
        deadline = time.monotonic() + IN_TIME
        while len(leech.pieces.get(METAINFO.infohash, ())) < METAINFO.pieces and time.monotonic() < deadline:
            leech.engine.peers(METAINFO.infohash, [seed.endpoint])
            with suppress(AssertionError):
                leech.until(lambda event: isinstance(event, PieceFinished), 0.1)
        assert leech.content(METAINFO) == FILES
    finally:
        for each in (seed, leech):
            each.engine.close()

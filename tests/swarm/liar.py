"""A peer that says that it has everything, and sends wrong bytes: BitTorrent by hand (BEP 3, BEP 52)."""

from __future__ import annotations

import socket
import struct
import threading
from typing import Final, Self

from modelfetch.swarm.metainfo import Metainfo

_BITFIELD, _UNCHOKE, _REQUEST, _PIECE = 5, 1, 6, 7
_RESERVED: Final = bytes([0, 0, 0, 0, 0, 0, 0, 0x10])
"""The bit of version 2; no extensions."""


class Liar:
    """Connects to a node, and answers each request with zeros. Use it as a context manager.

    Args:
        metainfo: The torrent.
        endpoint: ``HOST:PORT`` of the node.
        address: Where it connects from.
    """

    def __init__(self, metainfo: Metainfo, endpoint: str, address: str) -> None:
        self._metainfo = metainfo
        host, _, port = endpoint.rpartition(":")
        self._target = (host, int(port))
        self._address = address
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.blocks = 0
        """Number of blocks that were sent."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed = True
        self._thread.join()

    def _run(self) -> None:
        while not self._is_closed:
            try:
                with socket.create_connection(self._target, 2, (self._address, 0)) as peer:
                    self._talk(peer)
            except OSError:  # banned, or the node is not there yet
                threading.Event().wait(0.2)

    def _talk(self, peer: socket.socket) -> None:
        peer.settimeout(0.5)
        infohash = bytes.fromhex(self._metainfo.infohash)[:20]
        peer.sendall(b"\x13BitTorrent protocol" + _RESERVED + infohash + b"-XX0001-" + b"liar" * 3)
        self._read(peer, 68)
        bits = bytearray(-(-self._metainfo.pieces // 8))
        for piece in range(self._metainfo.pieces):
            bits[piece // 8] |= 0x80 >> piece % 8
        self._send(peer, _BITFIELD, bytes(bits))
        self._send(peer, _UNCHOKE)
        while not self._is_closed:
            [size] = struct.unpack(">I", self._read(peer, 4))
            message = self._read(peer, size)
            if message[:1] == bytes([_REQUEST]):
                index, begin, length = struct.unpack(">III", message[1:])
                self._send(peer, _PIECE, struct.pack(">II", index, begin) + bytes(length))
                self.blocks += 1

    def _send(self, peer: socket.socket, kind: int, payload: bytes = b"") -> None:
        peer.sendall(struct.pack(">IB", len(payload) + 1, kind) + payload)

    def _read(self, peer: socket.socket, size: int) -> bytes:
        data = b""
        while len(data) < size and not self._is_closed:
            try:
                part = peer.recv(size - len(data))
            except TimeoutError:
                continue
            if not part:
                raise OSError("closed")
            data += part
        if len(data) < size:
            raise OSError("closed here")
        return data

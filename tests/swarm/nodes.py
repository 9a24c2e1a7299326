"""Nodes of a swarm on this host, each with an address of its own, and the data that they exchange."""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from modelfetch.swarm.client import EngineClient
from modelfetch.swarm.engine import (
    EngineOptions,
    Event,
    Listening,
    Mode,
    PieceFinished,
    Ready,
    Restarted,
    TorrentSpec,
)
from modelfetch.swarm.merkle import hash_pieces
from modelfetch.swarm.metainfo import Metainfo, build
from tests.patience import IN_TIME

PIECE: Final = 256 * 1024
_NUMBERS = itertools.count(os.getpid() % 200 * 250 + 1)


def address() -> str:
    """A loopback address that no other node of this run has."""
    number = next(_NUMBERS)
    return f"127.77.{number // 250 % 250}.{number % 250 + 1}"


def some_files(size: int = 4 << 20, seed: int = 1) -> dict[str, bytes]:
    """Files of every kind: several pieces, one piece, less than a block, none; in directories."""
    data = random.Random(seed).randbytes(size)
    return {
        "onnx/encoder.onnx": data,
        "onnx/decoder.onnx": data[: PIECE * 2][::-1],
        "config.json": b'{"a": 1}',
        "empty.txt": b"",
        "tokenizer/vocab.txt": data[:50_000],
    }


def metainfo_of(files: Mapping[str, bytes], name: str = "model-1", length: int = PIECE) -> Metainfo:
    """The torrent of files."""
    hashes = {
        path: hash_pieces([data[at : at + length] for at in range(0, len(data), length)], length)
        for path, data in files.items()
    }
    return build(name, hashes, length)


def written(directory: Path, files: Mapping[str, bytes]) -> dict[str, Path]:
    """Write files below a directory, read-only, and return where they are."""
    paths = {}
    for path, data in files.items():
        paths[path] = directory / "models" / path
        paths[path].parent.mkdir(parents=True, exist_ok=True)
        paths[path].write_bytes(data)
        paths[path].chmod(0o444)
    return paths


def until(condition: Callable[[], object], seconds: float = IN_TIME) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.02)


class Node:
    """A node with an engine in a process of its own.

    Args:
        directory: Its staging directory is made there.
        engine: The engine, not started.
        options: Options that differ.
    """

    def __init__(self, directory: Path, engine: EngineClient | None = None, **options: Any) -> None:
        self.staging = directory / f"staging-{next(_NUMBERS)}"
        self.staging.mkdir(parents=True)
        self.engine = engine or EngineClient(first_delay=0.05)
        self.address = address()
        self.peer_id = b"-MF0100-" + os.urandom(6).hex().encode()
        self.events: list[Event] = []
        self.pieces: dict[str, set[int]] = {}
        """Those that were reported, by infohash; since the last restart, which reports all again."""
        chosen = {"peer_id": self.peer_id, "listen": (self.address,), "discovers_lan": False, **options}
        self.engine.start(EngineOptions(self.staging, **chosen))
        listening = self.until(lambda event: isinstance(event, Listening))
        assert isinstance(listening, Listening)
        self.endpoint = listening.addresses[0]

    def paths(self, metainfo: Metainfo) -> dict[str, Path]:
        """Staging files for all files of a torrent."""
        return {file.path: self.staging / f"{number}.data" for number, file in enumerate(metainfo.files)}

    def leech(self, metainfo: Metainfo, *peers: str, paths: Mapping[str, Path] | None = None) -> None:
        """Fetch a torrent."""
        chosen = self.paths(metainfo) if paths is None else paths
        self.engine.add(TorrentSpec(metainfo.infohash, metainfo.encode(), chosen, Mode.LEECH, peers=peers))

    def seed(self, metainfo: Metainfo, paths: Mapping[str, Path], *peers: str) -> None:
        """Upload a torrent."""
        self.engine.add(TorrentSpec(metainfo.infohash, metainfo.encode(), paths, Mode.SEED, peers=peers))
        self.until(lambda event: isinstance(event, Ready))

    def until(self, wanted: Callable[[Event], bool], seconds: float = IN_TIME) -> Event:
        """Wait for an event, and return it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = None
            for event in self.engine.events(0.1):
                self.events.append(event)
                if isinstance(event, Restarted):
                    self.pieces.clear()
                if isinstance(event, PieceFinished):
                    self.pieces.setdefault(event.infohash, set()).add(event.piece)
                found = event if found is None and wanted(event) else found
            if found is not None:
                return found
        raise AssertionError(f"no such event; the last ones are {self.events[-10:]}")

    def until_complete(self, metainfo: Metainfo, seconds: float = IN_TIME) -> None:
        """Wait for all pieces of a torrent."""
        every = set(range(metainfo.pieces))
        if self.pieces.get(metainfo.infohash) != every:
            self.until(lambda _: self.pieces.get(metainfo.infohash) == every, seconds)

    def content(self, metainfo: Metainfo) -> dict[str, bytes]:
        """What lies in the staging files."""
        return {
            path: place.read_bytes() if place.exists() else b""
            for path, place in self.paths(metainfo).items()
        }

"""Inputs to begin with, made from the CAR files of other implementations and from examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Final

from modelfetch.ipfs import dag_pb
from modelfetch.ipfs.car import CarReader
from modelfetch.ipfs.cid import DAG_PB, Cid
from modelfetch.ipfs.errors import MalformedError
from tests.campaign.fuzzing.graphs import SEPARATOR, template_of

_DIRECTORIES: Final = (
    Path(__file__).parents[2] / "data/ipfs",
    Path(__file__).parents[4] / "shared/fixtures/ipfs",  # beside the checkout, where it is there
)
_CIDS: Final = (
    "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH",
    "bafkqaaa",
    "bafyaabakaieac",
    "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e",
    "BAFKREIFZJUT3TE2NHYEKKLSS27NH3K72YSCO7Y32KOAO5EEI66WOF36N5E",
    "f015512209f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "F01551200",
    "zb2rhe5P4gXftAwvA4eXQ5HJwsER2owDyS9sKaQRRVQPn93bA",
    "k2k4r8kxxx5ul3p4vsx2a39uo5ecfpkx9x8rn4sqq8ltmyx4l3hqxqol",
)
_STEPS: Final = (
    bytes((0, 3, 1, 2, 3, 0, 2, 2, 0, 0, 0, 0)),
    bytes((0, 3, 1, 2, 3, 0, 1, 2, 7, 7, 2, 0, 2, 0x8A, 0, 0, 0, 2, 0x90, 0, 0, 0)),
    bytes((0, 1, 9, 0, 4, 2, 0, 0, 0, 1, 0, 4, 1, 0, 2, 0)),
    bytes((0, 1, 9, 0, 5, 8, 2, 0, 0, 1, 2, 1, 0, 0, 5, 0, 1, 0, 0, 0, 6, 0, 0)),
)
"""Programs of :func:`~tests.campaign.fuzzing.graphs.graph_of_steps`: files, directories and shards."""
_QUERIES: Final = (
    b"?format=raw",
    b"?format=car",
    b"/a/b?format=car&dag-scope=block",
    b"?format=car&entity-bytes=0:100&car-dups=y",
    b"?format=car&entity-bytes=-10:*",
    b"?format=car&dag-scope=entity&entity-bytes=5:-1&car-dups=n",
)


def seeds_of(target: str) -> Iterator[bytes]:
    """Yield the inputs that a target begins with."""
    yield from _MAKERS[target]()


def _cars() -> Iterator[bytes]:
    for directory in _DIRECTORIES:
        for path in sorted(directory.rglob("*.car")):
            if path.stat().st_size <= 1 << 17:
                yield path.read_bytes()


def _blocks() -> Iterator[list[tuple[Cid, bytes]]]:
    for data in _cars():
        found: list[tuple[Cid, bytes]] = []
        with suppress(MalformedError):  # the blocks before an error are used
            found += CarReader().feed(data)
        yield found


def _nodes() -> Iterator[bytes]:
    kept = {b for blocks in _blocks() for cid, b in blocks[:40] if cid.codec == DAG_PB and len(b) <= 4096}
    yield from sorted(kept, key=len)[:150]


def _messages() -> Iterator[bytes]:
    for block in _nodes():
        with suppress(MalformedError):
            yield dag_pb.decode(block).data or b""


def _graphs() -> Iterator[bytes]:
    yield from (b"S" + steps for steps in _STEPS)
    for blocks in _blocks():
        by_hash = {cid.multihash: block for cid, block in blocks}
        linked = set()
        for cid, block in blocks:
            if cid.codec == DAG_PB:
                linked |= {link.cid.multihash for link in dag_pb.decode(block).links}
        for cid, _ in blocks:
            if cid.multihash not in linked:
                template = template_of(cid, lambda each, known=by_hash: known.get(each.multihash))  # type: ignore[misc]
                if template is not None:
                    yield template


def _flagged(flags: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: (bytes((flag,)) + graph for flag, graph in product(flags, _graphs()))


def _requests() -> Iterator[bytes]:
    for cid, query in product(_CIDS[:4], _QUERIES):
        yield b"/ipfs/" + cid.encode() + query
    for accept in (
        b"application/vnd.ipld.raw",
        b"application/vnd.ipld.car; version=1; order=dfs; dups=y",
        b'text/html;q=0.9, application/vnd.ipld.car;q=0.5;dups="n", */*;q=0',
    ):
        yield b"/ipfs/" + _CIDS[3].encode() + b"/%C3%A4/b/\n" + accept


_MAKERS: Final[dict[str, Callable[[], Iterator[bytes]]]] = {
    "cid_text": lambda: (text.encode() for text in _CIDS),
    "cid_binary": lambda: (Cid.parse(text).binary for text in _CIDS[:4]),
    "dag_pb_node": _nodes,
    "unixfs_message": _messages,
    "leaf_table": _flagged(b"\0\1\4\x09"),
    "car_file": lambda: (b"\0" + data for data in _cars() if len(data) <= 1 << 14),
    "directory_walk": _flagged(b"\0\1\4"),
    "path_lookup": lambda: (b"\2\1a\1b" + graph for graph in _graphs()),
    "request": _requests,
    "checked_bytes": lambda: (
        bytes((7, flags, 3, 60, *range(0, 40, 5), 9)) + bytes(range(70)) for flags in range(8)
    ),
    "answer": lambda: (query + SEPARATOR + graph for query, graph in product(_QUERIES, _graphs())),
}

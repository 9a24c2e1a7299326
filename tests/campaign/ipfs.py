"""The vectors of IPIP-499 with their true sizes, and the largest leaf tables.

``python -m tests.campaign ipfs [--largest BYTES]`` prints a line per case and ends with 1 when one failed.
The bytes of a vector are a ChaCha20 keystream, which openssl makes; without it the vectors are skipped.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

from modelfetch.ipfs.cid import DAG_PB, Cid
from modelfetch.ipfs.file_tree import Built, FileTree, leaf_digest
from modelfetch.ipfs.leaf_table import LeafTable
from modelfetch.ipfs.leaf_table_reader import LeafTableReader, read_table
from modelfetch.ipfs.profiles import PROFILES, Profile
from modelfetch.ipfs.unixfs import Kind
from tests.ipfs.dag import Dag, Part, feed

OPENSSL = shutil.which("openssl")
GIB = 1 << 30


class Vector(NamedTuple):
    """A row of the table of IPIP-499."""

    profile: Profile
    seed: str
    size: int
    expected: tuple[str, ...]
    """The other columns."""

    @classmethod
    def parse(cls, line: str) -> Vector:
        name, seed, size, *expected = line.split()
        return cls(PROFILES[name], seed, int(size), tuple(expected))


VECTORS = """
unixfs-v0-2015 chunk-v0-seed 262144 QmWmRj3dFDZdb6ABvbmKhEL6TmPbAfBZ1t5BxsEyJrcZhE 262158 1 0 0
unixfs-v0-2015 chunk-v0-seed 262145 QmYyLxtzZyW22zpoVAtKANLRHpDjZtNeDjQdJrcQNWoRkJ 262267 2 1 100
unixfs-v0-2015 v0-seed 45613056 QmUbBALi174SnogsUzLpYbD4xPiBSFANF4iztWCsHbMKh2 45623854 174 1 8362
unixfs-v0-2015 v0-seed 45613057 QmV81WL765sC8DXsRhE5fJv2rwhS4icHRaf3J9Zk5FdRnW 45624016 175 3 8515
unixfs-v1-2025 chunk-v1-seed 1048576 bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta 1048576 1 0 0
unixfs-v1-2025 chunk-v1-seed 1048577 bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64 1048681 2 1 104
unixfs-v1-2025 v1-2025-seed 1073741824 bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm 1073793035 1024 1 51211
unixfs-v1-2025 v1-2025-seed 1073741825 bafybeibdsi225ugbkmpbdohnxioyab6jsqrmkts3twhpvfnzp77xtzpyhe 1073793198 1025 3 51373
"""  # noqa: E501
"""Profile, seed, bytes, CID, bytes of all blocks, leaves, inner nodes and their bytes."""
TRICKLE = "QmbqR6g7YCpndLcCZZXkGyj13uMcSrwDYUvZ47vJqBVjUH"


def keystream(seed: str, size: int, piece: int) -> Iterator[bytes]:
    """Make the bytes of a vector in pieces."""
    assert OPENSSL is not None
    key = sha256(seed.encode()).hexdigest()
    command = [OPENSSL, "enc", "-chacha20", "-K", key, "-iv", "0" * 32]
    with (
        open("/dev/zero", "rb") as zeros,
        subprocess.Popen(command, stdin=zeros, stdout=subprocess.PIPE) as made,
    ):
        assert made.stdout is not None
        while size:
            data = made.stdout.read(min(piece, size))
            size -= len(data)
            yield data
        made.kill()


def build(vector: Vector) -> tuple[Built, list[bytes]]:
    tree, digests = FileTree(vector.profile), []
    for chunk in keystream(vector.seed, vector.size, vector.profile.chunk_size):
        digests.append(leaf_digest(chunk, vector.profile))
        tree.add_leaf(digests[-1], len(chunk))
    return tree.finish(), digests


def passes(vector: Vector) -> bool:
    """The root is the known one, and its table has the leaves that were added."""
    start = time.process_time()
    built, digests = build(vector)
    nodes = {cid.multihash: block for cid, block in built.nodes}
    length = sum(map(len, nodes.values()))
    found = (built.root.text, built.tsize, len(digests), len(built.nodes), length)
    is_right = tuple(map(str, found)) == vector.expected
    if nodes:
        table = read_table(built.root, vector.size, lambda cid: nodes.get(cid.multihash))
        is_right &= table is not None and [row.digest for row in table.rows] == digests
    seconds = time.process_time() - start
    print(f"{vector.profile.name} {vector.size:,} bytes: {built.root.text}, {seconds:.2f} s, {is_right}")
    return is_right


def trickle() -> bool:
    """180 leaves of type Raw in the trickle layout: 174 under the root, and 6 under a node beside them."""
    dag = Dag()

    def wrapped(chunk: bytes) -> Part:
        part = dag.wrapped(chunk, Kind.RAW)
        return part._replace(cid=Cid(0, DAG_PB, part.cid.hash_code, part.cid.digest))

    def inner(*parts: Part) -> Part:
        part = dag.inner(*parts)
        return part._replace(cid=Cid(0, DAG_PB, part.cid.hash_code, part.cid.digest))

    chunks = list(keystream("trickle-test", 47_185_920, 262_144))
    leaves = [wrapped(chunk) for chunk in chunks]
    root = inner(*leaves[:174], inner(*leaves[174:])).cid
    reader = LeafTableReader(root, 47_185_920)
    wanted = feed(reader, dag)
    table = reader.table
    is_right = table is not None and root.text == TRICKLE and wanted == 2
    is_right &= table is not None and all(map(table.check, table.rows, chunks))
    print(f"trickle: {root.text}, {wanted} inner nodes, {is_right}")
    return is_right


def table_of_size(profile: Profile, gibibytes: int) -> bool:
    """Read the table of a large file, whose leaves are made up."""
    tree = FileTree(profile)
    count = gibibytes * GIB // profile.chunk_size
    for number in range(count):
        tree.add_leaf(sha256(number.to_bytes(8, "big")).digest(), profile.chunk_size)
    built = tree.finish()
    nodes = {cid.multihash: block for cid, block in built.nodes}
    start, before = time.process_time(), _resident()
    table: LeafTable | None = read_table(built.root, built.size, lambda cid: nodes.get(cid.multihash))
    seconds, grown = time.process_time() - start, _resident() - before
    is_right = table is not None and len(table.rows) == count
    figures = f"{seconds:.2f} s, {grown / 1e6:.1f} MB"
    print(f"{profile.name} {gibibytes} GiB: {count:,} rows of {len(nodes)} nodes, {figures}, {is_right}")
    return is_right


def _resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign ipfs")
    parser.add_argument("--largest", type=int, default=2 * GIB, help="leave out vectors of more bytes")
    largest: int = parser.parse_args().largest
    results = [table_of_size(profile, gibibytes) for gibibytes in (10, 70) for profile in PROFILES.values()]
    if OPENSSL is None:
        print("openssl is absent: vectors are skipped")
    else:
        vectors = map(Vector.parse, VECTORS.split("\n")[1:-1])
        results += [passes(vector) for vector in vectors if vector.size <= largest]
        results.append(trickle())
    sys.exit(not all(results))


if __name__ == "__main__":
    main()

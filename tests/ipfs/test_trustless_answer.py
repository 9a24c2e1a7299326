"""Answers of the gateway protocol: scopes, ranges, order, duplicates, and files on this disk.

What the fixtures must give is what the conformance tests of gateways demand (gateway-conformance 0.14).
"""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Callable
from hashlib import sha256

import pytest

from modelfetch.ipfs import dag_pb, unixfs
from modelfetch.ipfs.car import CarReader
from modelfetch.ipfs.cid import DAG_PB, IDENTITY, RAW, Cid, cid_of
from modelfetch.ipfs.dag_pb import Link, Node
from modelfetch.ipfs.directory_builder import build_directory, build_tree
from modelfetch.ipfs.file_tree import FileTree
from modelfetch.ipfs.leaf_table import LeafTable
from modelfetch.ipfs.leaf_table_reader import LeafTableReader
from modelfetch.ipfs.mapped_file import MappedFile
from modelfetch.ipfs.profiles import UNIXFS_V0_2015, UNIXFS_V1_2025, Profile
from modelfetch.ipfs.row_array import LeafKind, RowArray
from modelfetch.ipfs.trustless_answer import Answer, MissingBlockError, answer
from modelfetch.ipfs.trustless_request import RequestError, parse_request
from modelfetch.ipfs.unixfs import Kind, Message
from modelfetch.lazy_dataclass import replace
from tests.ipfs import generated
from tests.ipfs.car_fixtures import Blocks, blocks_of, needs_fixtures
from tests.ipfs.dag import Dag

Find = Callable[[Cid], bytes | None]

TWO_FILES = "subdir-with-two-single-block-files"
MIXED_FILES = "subdir-with-mixed-block-files"
FOLDER = "gateway-conformance/trustless_gateway_car/"
ASCII = "bafkreifkam6ns4aoolg3wedr4uzrs3kvq66p4pecirz6y2vlrngla62mxm"
HELLO = "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4"
MULTI = "bafybeigcisqd7m5nf3qmuvjdbakl5bdnh4ocrmacaqkpuh77qjvggmt2sa"
PARTS = (
    "bafkreie5noke3mb7hqxukzcy73nl23k6lxszxi5w3dtmuwz62wnvkpsscm",
    "bafkreih4ephajybraj6wnxsbwjwa77fukurtpl7oj7t7pfq545duhot7cq",
    "bafkreigu7buvm3cfunb35766dn7tmqyh2um62zcio63en2btvxuybgcpue",
    "bafkreicll3huefkc3qnrzeony7zcfo7cr3nbx64hnxrqzsixpceg332fhe",
    "bafkreifst3pqztuvj57lycamoi7z34b4emf7gawxs74nwrc2c7jncmpaqm",
)
"""The 1,026 bytes of multiblock.txt: four times 256, and 2."""
TWO = "bafybeietjm63oynimmv5yyqay33nui4y4wx6u3peezwetxgiwvfmelutzu"
TWO_SUB = "bafybeiggghzz6dlue3m6nb2dttnbrygxh3lrjl5764f2m4gq7dgzdt55o4"
MIXED = "bafybeidh6k2vzukelqtrjsmd4p52cpmltd2ufqrdtdg6yigi73in672fwu"
MIXED_SUB = "bafybeicnmple4ehlz3ostv2sbojz3zhh5q7tz5r2qkfdpqfilgggeen7xm"
SAME = "bafybeihchr7vmgjaasntayyatmp5sv6xza57iy2h4xj7g46bpjij6yhrmy"
HAMT = "bafybeidbclfqleg2uojchspzd4bob56dqetqjsj27gy2cq3klkkgxtpn4i"
MISSING = "QmYhmPjhFjYFyaoiuNzYv8WGavpSRDwdHWe5B4M5du5Rtk"


def get(target: str, find: Find, accept: str = "") -> Answer:
    return answer(parse_request(f"/ipfs/{target}", accept), find)


def sent(target: str, find: Find, accept: str = "") -> list[str]:
    """The CIDs of the blocks in a CAR file; each is verified while it is read."""
    joiner = "&" if "?" in target else "?"
    found = get(f"{target}{joiner}format=car", find, accept)
    return [cid.text for cid, _ in blocks_of(b"".join(found.body))]


@needs_fixtures
@pytest.mark.parametrize(
    ("name", "target", "expected"),
    [
        (TWO_FILES, f"{TWO}/subdir/ascii.txt", [TWO, TWO_SUB, ASCII]),
        (TWO_FILES, f"{TWO}/subdir?dag-scope=block", [TWO, TWO_SUB]),
        (TWO_FILES, f"{TWO}/subdir/?dag-scope=entity", [TWO, TWO_SUB]),
        (TWO_FILES, f"{TWO}/subdir/ascii.txt?dag-scope=block", [TWO, TWO_SUB, ASCII]),
        (TWO_FILES, f"{TWO}?dag-scope=entity", [TWO]),
        (TWO_FILES, TWO, [TWO, TWO_SUB, ASCII, HELLO]),
        (MIXED_FILES, f"{MIXED}/subdir/ascii.txt?dag-scope=entity", [MIXED, MIXED_SUB, ASCII]),
        (
            MIXED_FILES,
            f"{MIXED}/subdir/multiblock.txt?dag-scope=entity",
            [MIXED, MIXED_SUB, MULTI, *PARTS],
        ),
        (MIXED_FILES, f"{MIXED}/subdir/multiblock.txt", [MIXED, MIXED_SUB, MULTI, *PARTS]),
        (MIXED_FILES, f"{MIXED}/subdir", [MIXED, MIXED_SUB, ASCII, HELLO, MULTI, *PARTS]),
        (
            MIXED_FILES,
            f"{MIXED}/subdir/multiblock.txt?entity-bytes=0:*",
            [MIXED, MIXED_SUB, MULTI, *PARTS],
        ),
        (MIXED_FILES, f"{MULTI}?entity-bytes=512:*", [MULTI, *PARTS[2:]]),
        (MIXED_FILES, f"{MULTI}?entity-bytes=512:1023", [MULTI, *PARTS[2:4]]),
        (MIXED_FILES, f"{MULTI}?entity-bytes=512:-256", [MULTI, *PARTS[2:4]]),
        (MIXED_FILES, f"{MULTI}?entity-bytes=-5:*", [MULTI, *PARTS[3:]]),
        (MIXED_FILES, f"{MULTI}?entity-bytes=-9999:*", [MULTI, *PARTS]),
        (MIXED_FILES, f"{MULTI}?entity-bytes=-9999:-3", [MULTI, *PARTS[:4]]),
        (MIXED_FILES, f"{MULTI}?entity-bytes=0:0", [MULTI, PARTS[0]]),
        (MIXED_FILES, f"{MULTI}?entity-bytes=255:256", [MULTI, *PARTS[:2]]),
        (MIXED_FILES, f"{MULTI}?entity-bytes=1024:5000", [MULTI, PARTS[4]]),
        (MIXED_FILES, f"{MULTI}?entity-bytes=600:-900", [MULTI]),
        (MIXED_FILES, f"{ASCII}?entity-bytes=5:6", [ASCII]),
        (MIXED_FILES, f"{MIXED_SUB}?entity-bytes=0:5", [MIXED_SUB]),
        # A block that is missing matters only if it is asked for.
        (
            "file-3k-and-3-blocks-missing-block",
            f"{MISSING}?entity-bytes=0:1000",
            [MISSING, "QmPKt7ptM2ZYSGPUc8PmPT2VBkLDK3iqpG9TBJY7PCE9rF"],
        ),
        (
            "file-3k-and-3-blocks-missing-block",
            f"{MISSING}?entity-bytes=2200:*",
            [MISSING, "QmWXY482zQdwecnfBsj78poUUuPXvyw2JAFAEMw4tzTavV"],
        ),
        ("file-3k-and-3-blocks-missing-block", f"{MISSING}?dag-scope=block", [MISSING]),
    ],
)
def test_blocks_of_scopes_and_ranges(name: str, target: str, expected: list[str]) -> None:
    assert sent(target, Blocks.read(f"{FOLDER}{name}.car").find) == expected


@needs_fixtures
@pytest.mark.parametrize("entry", ["685.txt", "1.txt", "470.txt"])
def test_a_path_through_shards_sends_those_on_the_way(entry: str) -> None:
    find = Blocks.read(f"{FOLDER}single-layer-hamt-with-multi-block-files.car").find
    shards = sent(f"{HAMT}?dag-scope=entity", find)
    assert len(shards) == 237
    assert shards == sent(f"{HAMT}?entity-bytes=0:*", find)
    root, shard, *rest = sent(f"{HAMT}/{entry}", find)
    assert root == HAMT
    assert shard in shards
    assert rest == [MULTI, *PARTS]
    assert sent(f"{HAMT}/{entry}?dag-scope=block", find) == [HAMT, shard, MULTI]


@needs_fixtures
def test_duplicates() -> None:
    find = Blocks.read(f"{FOLDER}dir-with-duplicate-files.car").find
    accept = "application/vnd.ipld.car; version=1; order=dfs; dups="
    once = [SAME, ASCII, HELLO, MULTI, *PARTS]
    assert sent(SAME, find) == once
    assert sent(SAME, find, accept + "n") == once
    assert sent(SAME, find, accept + "y") == [SAME, ASCII, *once[1:]]
    assert sent(f"{SAME}?car-dups=y", find, accept + "n") == [SAME, ASCII, *once[1:]]
    for letter in "yn":
        headers = get(SAME, find, accept + letter).headers
        assert headers["content-type"] == f"application/vnd.ipld.car; version=1; order=dfs; dups={letter}"


@needs_fixtures
@pytest.mark.parametrize(
    ("name", "target", "status", "message"),
    [
        (FOLDER + TWO_FILES, f"{TWO}/subdir/nothing", 404, "'subdir' has no entry"),
        (FOLDER + TWO_FILES, f"{TWO}/subdir/ascii.txt/x", 404, "is a file"),
        (FOLDER + TWO_FILES, f"{TWO}/../subdir", 400, "name '..' is not"),
        (FOLDER + TWO_FILES, f"{TWO}//subdir", 400, "name '' is not"),
        (FOLDER + TWO_FILES, MULTI, 404, f"block {MULTI} is not here"),
        (f"{FOLDER}dir-with-dag-cbor-with-links", SAME + "/document", 404, "is not here"),
        (FOLDER + MIXED_FILES, f"{MULTI}?entity-bytes=1026:*", 400, "outside of the file"),
        (FOLDER + MIXED_FILES, f"{ASCII}?entity-bytes=31:*", 400, "outside of the file"),
        (
            f"{FOLDER}dir-with-dag-cbor-with-links",
            *("bafybeia264q44a3kmfc2otctzu4egp2k235o3t7mslz2yjraymp4nv6asi/document", 404),
            "codec dag-cbor does not describe files",
        ),
        (
            "gateway-conformance/path_gateway_unixfs/symlink",
            *(
                "QmWvY6FaqFMS89YAQ9NAPjVP4WZKA1qbHbicc9HeSKQTgt/bar/x",
                400,
                "symbolic links are not supported",
            ),
        ),
        (
            "kubo/partial-dag-scope-entity",
            "QmPDC11yLAbVw3dX5jMeEuSdk4BiVjSd9X87zaYRdVjzW3/assets/x",
            404,
            "not here",
        ),
    ],
)
def test_refused_answers(name: str, target: str, status: int, message: str) -> None:
    with pytest.raises(RequestError, match=message) as error:
        sent(target, Blocks.read(f"{name}.car").find)
    assert error.value.status == status


@needs_fixtures
def test_a_link_to_a_symbolic_link_is_answered() -> None:
    """The client refuses it; its block is the whole entity."""
    root = "QmWvY6FaqFMS89YAQ9NAPjVP4WZKA1qbHbicc9HeSKQTgt"
    find = Blocks.read("gateway-conformance/path_gateway_unixfs/symlink.car").find
    assert len(sent(f"{root}/bar", find)) == 2
    assert sent(f"{root}/bar?dag-scope=entity", find) == sent(f"{root}/bar?entity-bytes=0:*", find)


@needs_fixtures
def test_every_fixture_is_sent_completely() -> None:
    """All blocks below the root of a file or directory, as the file of the fixture has them."""
    for name, root in [
        (
            "boxo/directory-with-multilayer-hamt-and-multiblock-files.car",
            "bafybeid3fd2xxdcd3dbj7trb433h2aqssn6xovjbwnkargjv7fuog4xjdi",
        ),
        (f"{FOLDER}single-layer-hamt-with-multi-block-files.car", HAMT),
        ("generated/v1-2025_dir-hamt.car", "bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu"),
        (
            "gateway-conformance/redirects_file/redirects.car",
            "QmQyqMY5vUBSbSxyitJqthgwZunCQjDVtNd8ggVCxzuPQ4",
        ),
        (
            "boxo/unixfs-dir-with-mode-mtime.car",
            "bafybeifup24mfbx6iv4xo7k664gzlezzurdnyb36pogxulrb7ed23cxtym",
        ),
    ]:
        blocks = Blocks.read(name)
        found = sent(root, blocks.find)
        assert len(found) == len(set(found))
        assert {Cid.parse(text).multihash for text in found} == blocks.keys()


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "case",
    [
        generated.BALANCED_RAW,
        generated.BALANCED_WRAPPED,
        generated.TRICKLE_RAW,
        generated.TRICKLE_WRAPPED,
        generated.WITH_TIME,
    ],
)
def test_ranges_of_all_kinds_of_trees_prove_their_bytes(case: tuple[str, str]) -> None:
    """A table is read from the answer alone, and its rows cover the range; no other leaves are sent."""
    blocks = Blocks(generated.blocks_of(case[0]))
    table, _ = table_of(Cid.parse(case[1]), 20_000, blocks.find)
    leaves = {row.digest for row in table.rows}
    chance = random.Random(case[0])
    for _ in range(25):
        first = chance.randrange(20_000)
        last = chance.randrange(first, 20_000)
        found = get(f"{case[1]}?format=car&entity-bytes={first}:{last}", blocks.find)
        have = Blocks.of(blocks_of(b"".join(found.body)))
        rows = list(table.rows_in(first, last + 1))
        assert {multihash[2:] for multihash in have} & leaves == {row.digest for row in rows}
        joined = b"".join(table.chunk_in(row, have[b"\x12\x20" + row.digest]) or b"" for row in rows)
        start = first - rows[0].offset
        assert joined[start : start + last - first + 1] == generated.BYTES[first : last + 1]


def table_of(root: Cid, size: int, find: Find) -> tuple[LeafTable, dict[bytes, bytes]]:
    """The leaf table of a file, and its inner nodes by multihash."""
    reader = LeafTableReader(root, size)
    while reader.wanted:
        block = find(reader.wanted[0])
        assert block is not None
        assert reader.add(block)
    assert reader.table is not None
    return reader.table, {cid.multihash: block for cid, block in reader.nodes}


class Served:
    """A file on this disk with its map, and what was read of it."""

    def __init__(self, data: bytes, profile: Profile) -> None:
        self.data = bytearray(data)
        tree = FileTree(profile)
        for start in range(0, len(data), profile.chunk_size):
            tree.add_chunk(data[start : start + profile.chunk_size])
        built = tree.finish()
        self.root = built.root
        nodes = Blocks.of(built.nodes)
        wrapped = {} if profile.raw_leaves else {built.root.multihash: wrap(data)}
        self.table, self.nodes = table_of(
            built.root, len(data), lambda cid: nodes.find(cid) or wrapped.get(cid.multihash)
        )
        self.reads: list[int] = []
        self.find = MappedFile(self.table, nodes, self._read).find

    def _read(self, offset: int, size: int) -> bytes:
        self.reads.append(offset)
        return bytes(self.data[offset : offset + size])


def wrap(data: bytes) -> bytes:
    before, after = unixfs.leaf_envelope(len(data))
    return before + data + after


V1 = replace(UNIXFS_V1_2025, chunk_size=256, width=3)
V0 = replace(UNIXFS_V0_2015, chunk_size=256, width=3)
SIZES = [0, 1, 255, 256, 257, 768, 769, 2304, 2305, 9999]


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("profile", [V1, V0], ids=["v1", "v0"])
@pytest.mark.parametrize("size", SIZES)
def test_a_mapped_file_is_served_completely(profile: Profile, size: int) -> None:
    """Read from the answer alone, the file has the same bytes; every block is also served by itself."""
    served = Served(random.Random(size).randbytes(size), profile)
    blocks = blocks_of(b"".join(get(f"{served.root.text}?format=car", served.find).body))
    assert blocks[0][0] == served.root
    have = Blocks.of(blocks)
    table, _ = table_of(served.root, size, have.find)
    joined = b"".join(table.chunk_in(row, have[b"\x12\x20" + row.digest]) or b"" for row in table.rows)
    assert joined == served.data
    for cid, block in blocks:
        assert b"".join(get(f"{cid.text}?format=raw", served.find).body) == block


@pytest.mark.parametrize("profile", [V1, V0], ids=["v1", "v0"])
def test_only_leaves_in_the_range_are_read(profile: Profile) -> None:
    served = Served(random.Random(1).randbytes(9999), profile)
    assert sent(f"{served.root.text}?dag-scope=block", served.find) == [served.root.text]
    assert served.reads == []
    found = sent(f"{served.root.text}?entity-bytes=512:1000", served.find)
    assert set(served.reads) == {512, 768}
    assert len(found) == 3 + 2 + 2  # the first node of three levels, two of the lowest, and leaves


def test_leaves_are_read_while_the_answer_is_sent() -> None:
    served = Served(random.Random(2).randbytes(9999), V1)
    body = get(f"{served.root.text}?format=car", served.find).body
    assert served.reads == []
    total = 0
    for piece in body:
        total += len(piece)
        assert len(piece) <= 256
        assert sum(min(256, 9999 - offset) for offset in served.reads) <= total + 256
    assert served.reads == sorted(served.reads)


@pytest.mark.slow
def test_memory_is_flat() -> None:
    """A file of 48 MiB, whose bytes are made when they are read."""
    size, chunk = 48 << 20, 1 << 20

    def read(offset: int, count: int) -> bytes:
        return bytes([offset // chunk]) * count

    tree = FileTree(UNIXFS_V1_2025)
    for offset in range(0, size, chunk):
        tree.add_leaf(sha256(read(offset, chunk)).digest(), chunk)
    built = tree.finish()
    nodes = Blocks.of(built.nodes)
    table, _ = table_of(built.root, size, nodes.find)
    reader = CarReader()
    tracemalloc.start()
    try:
        body = get(f"{built.root.text}?format=car&car-dups=y", MappedFile(table, nodes, read).find).body
        count = sum(1 for piece in body for _ in reader.feed(piece))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    reader.finish()
    assert count == 1 + 48
    assert peak < 6 * chunk


@pytest.mark.parametrize("profile", [V1, V0], ids=["v1", "v0"])
def test_a_damaged_leaf_breaks_the_answer_and_is_never_sent(profile: Profile) -> None:
    served = Served(random.Random(3).randbytes(9999), profile)
    whole = b"".join(get(f"{served.root.text}?format=car", served.find).body)
    served.data[5000] ^= 1
    pieces: list[bytes] = []
    with pytest.raises(MissingBlockError, match="is not here"):
        pieces.extend(get(f"{served.root.text}?format=car", served.find).body)
    assert whole.startswith(b"".join(pieces))
    damaged = served.table.row_at(5000)
    cid = Cid(profile.cid_version, RAW if profile.raw_leaves else DAG_PB, 0x12, damaged.digest)
    with pytest.raises(RequestError, match="is not here"):
        get(f"{cid.text}?format=raw", served.find)
    del served.data[5100:]
    with pytest.raises(MissingBlockError):
        list(get(f"{served.root.text}?format=car", served.find).body)
    assert len(sent(f"{served.root.text}?entity-bytes=0:4000", served.find)) > 16


@pytest.mark.parametrize("profile", [V1, V0], ids=["v1", "v0"])
def test_an_undamaged_copy_of_a_repeated_leaf_is_sent(profile: Profile) -> None:
    served = Served(b"a" * 256 + b"b" * 256 + b"a" * 256 * 2, profile)
    expected = sent(served.root.text, served.find)
    for offset in (0, 600):
        served.data[offset] ^= 1
        assert sent(served.root.text, served.find) == expected
    served.data[900] ^= 1
    with pytest.raises(MissingBlockError):
        sent(served.root.text, served.find)


def test_few_copies_of_a_damaged_leaf_are_tried() -> None:
    served = Served(b"a" * 256 * 1000, V1)
    served.data[:] = b"b" * len(served.data)
    with pytest.raises(RequestError, match="is not here"):
        get(f"{cid_of(b'a' * 256, RAW).text}?format=raw", served.find)
    assert len(served.reads) == 8


@pytest.mark.parametrize(
    "case", [generated.TRICKLE_RAW, generated.TRICKLE_WRAPPED, generated.BALANCED_WRAPPED]
)
def test_trees_of_other_tools_are_served_from_the_file(case: tuple[str, str]) -> None:
    """Also leaves of type Raw, and leaves between inner nodes."""
    blocks = Blocks(generated.blocks_of(case[0]))
    table, nodes = table_of(Cid.parse(case[1]), 20_000, blocks.find)
    assert len(nodes) < len(table.rows)

    def read(offset: int, size: int) -> bytes:
        return generated.BYTES[offset : offset + size]

    found = sent(case[1], MappedFile(table, nodes, read).find)
    assert {Cid.parse(text).multihash for text in found} == blocks.keys()


def test_files_in_a_directory_are_served_by_path() -> None:
    one, other = (Served(random.Random(seed).randbytes(2000), V1) for seed in (5, 6))
    built = build_tree([("onnx/one.onnx", one.root, 2100), ("other", other.root, 2100)], UNIXFS_V1_2025)
    directories = Blocks.of(built.nodes)

    def find(cid: Cid) -> bytes | None:
        return directories.find(cid) or one.find(cid) or other.find(cid)

    whole = sent(built.root.text, find)
    assert len(whole) == 2 + len(sent(one.root.text, one.find)) + len(sent(other.root.text, other.find))
    found = sent(f"{built.root.text}/onnx/one.onnx?entity-bytes=1999:*", find)
    assert found[:3] == [built.root.text, built.nodes[0][0].text, one.root.text]
    assert len(found) == 3 + 2
    assert sent(f"{built.root.text}/onnx?dag-scope=entity", find) == found[:2]


def test_shared_parts_at_several_offsets_are_complete() -> None:
    """Root of twice the same node: the range has the second leaf of the first and the first of the second."""
    served = Served((b"a" * 256 + b"b" * 256) * 2, replace(V1, width=2))
    a, b = (cid_of(letter * 256, RAW).text for letter in (b"a", b"b"))
    target = f"{served.root.text}?entity-bytes=256:600"
    node = sent(f"{served.root.text}", served.find)[1]
    assert sent(target, served.find) == [served.root.text, node, b, a]
    assert sent(f"{target}&car-dups=y", served.find) == [served.root.text, node, b, node, a]
    assert sent(served.root.text, served.find) == [served.root.text, node, a, b]
    assert sent(f"{served.root.text}?car-dups=y", served.find) == [served.root.text, node, a, b, node, a, b]


@pytest.mark.parametrize("query", ["", "?entity-bytes=0:*", "?entity-bytes=1:-2", "?entity-bytes=5:1000"])
def test_a_tree_of_repeated_nodes_takes_little_time(query: str) -> None:
    """Two to the fortieth leaves in forty blocks, each of which has the one below it twice."""
    dag = Dag()
    part = dag.raw(b"a")
    for _ in range(40):
        part = dag.inner(part, part)._replace(tsize=1)
    find = Blocks(dag).find
    start = time.process_time()
    assert len(sent(f"{part.cid.text}{query}", find)) == 41
    assert time.process_time() - start < 1


def test_a_block_that_is_linked_as_bytes_and_as_a_node() -> None:
    dag = Dag()
    leaf = dag.raw(b"a")
    node = dag.inner(leaf)
    as_bytes = dag.raw(dag[node.cid.multihash])
    root = dag.inner(as_bytes, node).cid
    assert sent(root.text, Blocks(dag).find) == [root.text, as_bytes.cid.text, leaf.cid.text]


def test_bytes_of_an_inner_node_precede_those_of_its_parts() -> None:
    leaf = cid_of(b"y" * 10, RAW)
    message = Message(Kind.FILE, data=b"x" * 10, filesize=20, blocksizes=(10,))
    block = dag_pb.encode(Node((Link(leaf, b"", 10),), unixfs.encode(message)))
    root = cid_of(block, DAG_PB)
    find = Blocks({root.multihash: block, leaf.multihash: b"y" * 10}).find
    assert sent(f"{root.text}?entity-bytes=0:9", find) == [root.text]
    assert sent(f"{root.text}?entity-bytes=0:10", find) == [root.text, leaf.text]
    assert sent(f"{root.text}?entity-bytes=-1:*", find) == [root.text, leaf.text]


@pytest.mark.parametrize(
    "text", ["bafkqaaa", "bafkqaf3imvwgy3zaneqgc3janfxgy2lomvscay3jmqfa", "bafyaabakaieac"]
)
def test_identity_blocks_are_served_alone_but_not_in_car_files(text: str) -> None:
    """The first one is how clients probe a gateway."""
    cid = Cid.parse(text)

    def find(_: Cid) -> bytes | None:
        raise AssertionError("needs no block")

    raw = get(f"{text}?format=raw", find)
    assert b"".join(raw.body) == cid.digest
    assert raw.headers["content-length"] == str(len(cid.digest))
    for query in ("?car-dups=y", "?dag-scope=entity", "?dag-scope=block", "?entity-bytes=0:*"):
        assert sent(text + query, find) == []
    assert cid.binary in b"".join(get(f"{text}?format=car", find).body)


def test_identity_nodes_are_followed() -> None:
    leaf = cid_of(b"x", RAW)
    inner = Cid(1, DAG_PB, IDENTITY, build_directory([Link(leaf, b"a", 1)], UNIXFS_V1_2025).nodes[0][1])
    built = build_directory([Link(inner, b"d", 1)], UNIXFS_V1_2025)
    find = Blocks.of([*built.nodes, (leaf, b"x")]).find
    assert sent(built.root.text, find) == [built.root.text, leaf.text]
    assert sent(f"{built.root.text}/d/a", find) == [built.root.text, leaf.text]
    assert sent(f"{inner.text}/a", find) == [leaf.text]


def test_headers() -> None:
    leaf = cid_of(b"hello", RAW)
    find = Blocks({leaf.multihash: b"hello"}).find
    raw = get(f"{leaf.text}?format=raw", find).headers
    assert raw == {
        "content-type": "application/vnd.ipld.raw",
        "content-length": "5",
        "content-disposition": f'attachment; filename="{leaf.text}.bin"',
        "etag": f'"{leaf.text}.raw"',
        "cache-control": "public, max-age=29030400, immutable",
        "x-content-type-options": "nosniff",
    }
    car = get(f"{leaf.text}?format=car", find).headers
    assert car["content-disposition"] == f'attachment; filename="{leaf.text}.car"'
    assert car["accept-ranges"] == "none"
    assert "content-length" not in car


def test_answers_that_differ_have_different_etags() -> None:
    leaf = cid_of(b"hello", RAW)
    built = build_tree([("a/b", leaf, 5), ("c", leaf, 5)], UNIXFS_V1_2025)
    find = Blocks.of([*built.nodes, (leaf, b"hello")]).find
    root = built.root.text
    targets = [
        *(f"{root}?format=car", f"{root}?format=car&dag-scope=entity", f"{root}?format=car&dag-scope=block"),
        *(f"{root}?format=car&car-dups=y", f"{root}/a?format=car", f"{root}/a/b?format=car"),
        *(f"{root}/c?format=car", f"{leaf.text}?format=car", f"{leaf.text}?format=raw"),
        *(f"{leaf.text}?format=car&entity-bytes={span}" for span in ("0:*", "0:1", "-1:*", "0:-1")),
    ]
    assert len({get(target, find).headers["etag"] for target in targets}) == len(targets)
    assert (
        get(f"{root}?format=car&dag-scope=all", find).headers["etag"] == get(targets[0], find).headers["etag"]
    )
    assert get(targets[1], find).headers["etag"].startswith('W/"entity.')


def test_a_block_that_is_not_what_it_should_be_is_not_sent() -> None:
    leaf = cid_of(b"hello", RAW)
    for target in (f"{leaf.text}?format=raw", f"{leaf.text}?format=car"):
        with pytest.raises(RequestError, match="is not here") as error:
            get(target, lambda _: b"other")
        assert error.value.status == 404
    sha2_512 = Cid(1, RAW, 0x13, bytes(64)).text
    with pytest.raises(RequestError, match="sha2-512 is not supported"):
        get(f"{sha2_512}?format=raw", lambda _: b"other")


@pytest.mark.parametrize("block", [b"", b"\n\x00", b"\n\x03\x01\x02\x03", b"\xff", b"\x12\x0b\n\tx"])
def test_blocks_that_are_not_unixfs_are_sent_alone(block: bytes) -> None:
    """The client has to refuse them, and nothing is known to be below them."""
    cid = cid_of(block, DAG_PB)
    find = Blocks({cid.multihash: block}).find
    for query in ("", "?dag-scope=entity", "?dag-scope=block", "?entity-bytes=3:5"):
        assert sent(cid.text + query, find) == [cid.text]
    with pytest.raises(RequestError) as error:
        sent(f"{cid.text}/x", find)
    assert error.value.status == 400


def test_links_of_other_messages_are_sent_with_scope_all_alone() -> None:
    leaf = cid_of(b"x", RAW)
    for message in (Message(Kind.METADATA), Message(Kind.SYMLINK, data=b"x"), Message(Kind.FILE)):
        block = dag_pb.encode(Node((Link(leaf, b"a", 1),), unixfs.encode(message)))
        cid = cid_of(block, DAG_PB)
        find = Blocks({cid.multihash: block, leaf.multihash: b"x"}).find
        assert sent(cid.text, find) == [cid.text, leaf.text]
        assert sent(f"{cid.text}?dag-scope=entity", find) == [cid.text]


def test_leaves_above_the_limit_are_not_served() -> None:
    data = random.Random(7).randbytes((2 << 20) + 1)
    profile = replace(UNIXFS_V1_2025, chunk_size=len(data))
    tree = FileTree(profile)
    tree.add_chunk(data)
    root = tree.finish().root
    rows = RowArray()
    rows.append(0, len(data), root.digest, LeafKind.RAW, 0)
    mapped = MappedFile(
        LeafTable(root, len(data), rows, {}), {}, lambda offset, size: data[offset : offset + size]
    )
    assert mapped.find(root) is None


@pytest.mark.slow
def test_random_trees_and_ranges_agree_with_a_simple_reading() -> None:
    """Trees of uneven depth with inline bytes, and every answer against a list of all leaves."""
    chance = random.Random(8)
    for _ in range(60):
        blocks = Blocks()
        leaves: list[tuple[int, int, str]] = []
        root, size = grow(chance, blocks, leaves, 0, depth=chance.randint(1, 4))
        for _ in range(6):
            first = chance.randrange(size)
            last = chance.randrange(first, size)
            found = set(sent(f"{root.text}?entity-bytes={first}:{last}", blocks.find))
            wanted = {cid for start, end, cid in leaves if start <= last and end > first}
            assert wanted <= found
            others = {cid for _, _, cid in leaves} - wanted
            assert not found & others


def grow(
    chance: random.Random, blocks: Blocks, leaves: list[tuple[int, int, str]], start: int, depth: int
) -> tuple[Cid, int]:
    """Make a random tree; returns its root and number of bytes."""
    if depth == 0 or (depth < 3 and chance.random() < 0.3):
        data = chance.randbytes(chance.randint(1, 40))
        raw = chance.random() < 0.5
        cid = cid_of(data if raw else wrap(data), RAW if raw else DAG_PB)
        blocks[cid.multihash] = data if raw else wrap(data)
        leaves.append((start, start + len(data), cid.text))
        return cid, len(data)
    own = chance.randbytes(chance.choice((0, 0, 5)))
    links, sizes, position = [], [], start + len(own)
    for _ in range(chance.randint(1, 4)):
        cid, size = grow(chance, blocks, leaves, position, depth - 1)
        links.append(Link(cid, b"", 1))
        sizes.append(size)
        position += size
    message = Message(Kind.FILE, data=own or None, filesize=position - start, blocksizes=tuple(sizes))
    block = dag_pb.encode(Node(tuple(links), unixfs.encode(message)))
    cid = cid_of(block, DAG_PB)
    blocks[cid.multihash] = block
    return cid, position - start

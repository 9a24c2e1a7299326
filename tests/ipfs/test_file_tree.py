"""The builder: vectors of IPIP-499, trees of the JavaScript importer, and shapes of every size.

The larger vectors take seconds: ``python -m tests.campaign ipfs``.
"""

from __future__ import annotations

import random
from hashlib import sha256

import pytest

from modelfetch.ipfs import dag_pb, unixfs
from modelfetch.ipfs.cid import DAG_PB, RAW, SHA2_256, Cid, cid_of
from modelfetch.ipfs.file_tree import Built, FileTree
from modelfetch.ipfs.profiles import PROFILES, UNIXFS_V0_2015, UNIXFS_V1_2025, Profile
from modelfetch.lazy_dataclass import replace
from tests.ipfs import generated

SMALL_V1 = replace(UNIXFS_V1_2025, chunk_size=256, width=3)
SMALL_V0 = replace(UNIXFS_V0_2015, chunk_size=256, width=3)


def built(data: bytes, profile: Profile) -> Built:
    tree = FileTree(profile)
    for start in range(0, len(data), profile.chunk_size):
        tree.add_chunk(data[start : start + profile.chunk_size])
    return tree.finish()


@pytest.mark.parametrize(
    ("profile", "seed", "size", "cid", "tsize", "inner"),
    [
        (
            UNIXFS_V0_2015,
            "chunk-v0-seed",
            262_144,
            "QmWmRj3dFDZdb6ABvbmKhEL6TmPbAfBZ1t5BxsEyJrcZhE",
            262_158,
            [],
        ),
        (
            UNIXFS_V0_2015,
            "chunk-v0-seed",
            262_145,
            "QmYyLxtzZyW22zpoVAtKANLRHpDjZtNeDjQdJrcQNWoRkJ",
            262_267,
            [100],
        ),
        (
            UNIXFS_V1_2025,
            "chunk-v1-seed",
            1_048_576,
            "bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta",
            1_048_576,
            [],
        ),
        (
            UNIXFS_V1_2025,
            "chunk-v1-seed",
            1_048_577,
            "bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64",
            1_048_681,
            [104],
        ),
    ],
)
def test_vectors_of_ipip_499(
    profile: Profile, seed: str, size: int, cid: str, tsize: int, inner: list[int]
) -> None:
    tree = built(generated.keystream(seed, size), profile)
    assert (tree.root.text, tree.size, tree.tsize) == (cid, size, tsize)
    assert [len(block) for _, block in tree.nodes] == inner


@pytest.mark.parametrize(
    ("data", "profile", "cid"),
    [
        (b"", UNIXFS_V0_2015, "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"),
        (b"", UNIXFS_V1_2025, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
        (b"hello world", UNIXFS_V0_2015, "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD"),
        (b"hello world", UNIXFS_V1_2025, "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"),
    ],
)
def test_a_file_of_one_leaf_is_the_leaf(data: bytes, profile: Profile, cid: str) -> None:
    tree = built(data, profile)
    assert (tree.root.text, tree.size, tree.nodes) == (cid, len(data), ())


@pytest.mark.parametrize(
    ("profile", "fixture"), [(SMALL_V1, generated.BALANCED_RAW), (SMALL_V0, generated.BALANCED_WRAPPED)]
)
def test_inner_nodes_are_those_of_another_builder(profile: Profile, fixture: tuple[str, str]) -> None:
    name, root = fixture
    tree = built(generated.BYTES, profile)
    blocks = generated.blocks_of(name)
    assert tree.root == Cid.parse(root)
    assert tree.nodes[-1][0] == tree.root
    assert all(blocks[cid.multihash] == block for cid, block in tree.nodes)
    assert len(blocks) == len(tree.nodes) + 79
    assert tree.tsize == sum(map(len, blocks.values()))


def test_a_chunk_may_occur_many_times() -> None:
    name, root = generated.REPEATED
    (leaf,) = [block for block in generated.blocks_of(name).values() if len(block) == 256]
    assert built(leaf * 16, replace(UNIXFS_V1_2025, chunk_size=256)).root == Cid.parse(root)


def level_by_level(leaves: list[tuple[Cid, int, int]], width: int) -> tuple[list[bytes], Cid, int]:
    """The rule as the specification states it, with all nodes of a level at hand."""
    blocks, level = [], leaves
    while len(level) > 1:
        above = []
        for start in range(0, len(level), width):
            group = level[start : start + width]
            links = tuple(dag_pb.Link(cid, b"", tsize) for cid, _, tsize in group)
            sizes = tuple(size for _, size, _ in group)
            message = unixfs.Message(unixfs.Kind.FILE, filesize=sum(sizes), blocksizes=sizes)
            block = dag_pb.encode(dag_pb.Node(links, unixfs.encode(message)))
            blocks.append(block)
            tsize = len(block) + sum(tsize for _, _, tsize in group)
            above.append((cid_of(block, DAG_PB), sum(sizes), tsize))
        level = above
    return blocks, level[0][0], level[0][2]


@pytest.mark.quick(every=5)
@pytest.mark.parametrize("width", [2, 3, 5])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 8, 9, 10, 24, 25, 26, 27, 28, 81, 82, 125, 126])
def test_every_shape(width: int, count: int) -> None:
    chunks = [sha256(bytes((count, index))).digest() for index in range(count)]
    leaves = [(Cid(1, RAW, SHA2_256, sha256(chunk).digest()), 32, 32) for chunk in chunks]
    tree = built(b"".join(chunks), replace(UNIXFS_V1_2025, chunk_size=32, width=width))
    blocks, root, tsize = level_by_level(leaves, width)
    assert (tree.root, tree.tsize, tree.size) == (root, tsize, 32 * count)
    assert sorted(block for _, block in tree.nodes) == sorted(blocks)


@pytest.mark.parametrize(("profile", "figures"), [(UNIXFS_V1_2025, (1, 9960)), (UNIXFS_V0_2015, (6, 38_517))])
def test_the_inner_nodes_of_208_mb_have_the_known_size(profile: Profile, figures: tuple[int, int]) -> None:
    tree = FileTree(profile)
    whole, rest = divmod(208_521_528, profile.chunk_size)
    for index in range(whole):
        tree.add_leaf(sha256(str(index).encode()).digest(), profile.chunk_size)
    tree.add_leaf(bytes(32), rest)
    nodes = tree.finish().nodes
    assert (len(nodes), sum(len(block) for _, block in nodes)) == figures


def test_leaves_hashed_elsewhere_give_the_same_tree() -> None:
    data = random.Random(1).randbytes(2000)
    tree = FileTree(SMALL_V1)
    for start in range(0, len(data), 256):
        chunk = data[start : start + 256]
        tree.add_leaf(sha256(chunk).digest(), len(chunk))
    assert tree.finish() == built(data, SMALL_V1)


def test_chunks_that_cannot_be_are_refused() -> None:
    tree = FileTree(SMALL_V1)
    for size in (0, 257):
        with pytest.raises(ValueError, match=f"a chunk of {size} bytes"):
            tree.add_chunk(bytes(size))
    tree.add_chunk(bytes(256))
    tree.add_chunk(bytes(255))
    with pytest.raises(ValueError, match="a chunk of 256 bytes"):
        tree.add_chunk(bytes(256))


def test_profiles_are_known_by_name() -> None:
    assert PROFILES == {"unixfs-v1-2025": UNIXFS_V1_2025, "unixfs-v0-2015": UNIXFS_V0_2015}

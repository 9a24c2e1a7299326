"""Built directories: roots of IPIP-499, both thresholds to the byte, trees of paths, and refused paths."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from modelfetch.ipfs import dag_pb
from modelfetch.ipfs.cid import DAG_PB, IDENTITY, RAW, Cid, cid_of
from modelfetch.ipfs.dag_pb import Link
from modelfetch.ipfs.directory_builder import BuiltDirectory, build_directory, build_tree
from modelfetch.ipfs.errors import MalformedError
from modelfetch.ipfs.file_tree import FileTree
from modelfetch.ipfs.profiles import UNIXFS_V0_2015, UNIXFS_V1_2025, Profile
from tests.ipfs.car_fixtures import FIXTURES, Blocks, blocks_of, needs_fixtures
from tests.ipfs.generated import keystream

ALPHABET = b"abcdefghijklmnopqrstuvwxyz01234567890-_"
"""Of 39 characters, as ``0`` stands twice."""
PROFILES = [UNIXFS_V1_2025, UNIXFS_V0_2015]
LEAF = cid_of(b"x", RAW)


def names(seed: str, count: int, length: int, last: int) -> list[bytes]:
    """The names of a vector of IPIP-499: all of one length but the last."""
    text = bytes(ALPHABET[byte % 39] for byte in keystream(seed, (count - 1) * length + last))
    return [text[start : start + length] for start in range(0, (count - 1) * length, length)] + [text[-last:]]


def leaf(profile: Profile) -> tuple[Cid, int]:
    """The file ``x``."""
    tree = FileTree(profile)
    tree.add_chunk(b"x")
    built = tree.finish()
    return built.root, built.tsize


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("profile", "seed", "count", "length", "last", "root", "shards", "fixture"),
    [
        (
            *(UNIXFS_V0_2015, "hamt-unixfs-v0-2015", 4096, 30, 30),
            *("QmX5GtRk3TSSEHtdrykgqm4eqMEn3n2XhfkFAis5fjyZmN", 1, ""),
        ),
        (
            *(UNIXFS_V0_2015, "hamt-unixfs-v0-2015", 4033, 31, 31),
            *("QmeMiJzmhpJAUgynAcxTQYek5PPKgdv3qEvFsdV3XpVnvP", 388, "v0-2015_dir-hamt.car"),
        ),
        (
            *(UNIXFS_V1_2025, "hamt-unixfs-v1-2025", 4766, 11, 21),
            "bafybeic3h7rwruealwxkacabdy45jivq2crwz6bufb5ljwupn36gicplx4",
            *(1, "v1-2025_dir-at-threshold.car"),
        ),
        (
            *(UNIXFS_V1_2025, "hamt-unixfs-v1-2025", 4766, 11, 22),
            *("bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu", 439, "v1-2025_dir-hamt.car"),
        ),
    ],
)  # fmt: skip
def test_roots_of_the_profiles(
    profile: Profile, seed: str, count: int, length: int, last: int, root: str, shards: int, fixture: str
) -> None:
    cid, size = leaf(profile)
    links = [Link(cid, name, size) for name in names(seed, count, length, last)]
    random.Random(4).shuffle(links)
    built = build_directory(links, profile)
    assert built.root.text == root
    assert len(built.nodes) == shards
    assert built.nodes[-1][0] == built.root
    assert built.tsize == sum(len(block) for _, block in built.nodes) + count * size
    if fixture and FIXTURES.is_dir():
        theirs = Blocks.of(blocks_of((FIXTURES / "generated" / fixture).read_bytes()))
        assert Blocks.of(built.nodes).items() <= theirs.items()
        assert len(theirs) == shards + 1  # and the file


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (UNIXFS_V1_2025, "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"),
        (UNIXFS_V0_2015, "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"),
    ],
)
def test_an_empty_directory(profile: Profile, expected: str) -> None:
    for built in (build_directory([], profile), build_tree([], profile)):
        assert built == BuiltDirectory(Cid.parse(expected), 4, ((Cid.parse(expected), b"\n\x02\x08\x01"),))


def test_a_directory_has_the_bytes_of_the_specification() -> None:
    """Links sorted by the bytes of their names, then the data."""
    empty = build_directory([], UNIXFS_V1_2025)
    links = [
        Link(empty.root, b"b", 4),
        Link(LEAF, "ä".encode(), 1),
        Link(LEAF, b"a", 1),
        Link(LEAF, b"B", 300),
    ]
    built = build_directory(links, UNIXFS_V1_2025)
    leaf = LEAF.binary.hex()
    assert built.nodes[0][1].hex() == (
        f"122c0a24{leaf}12014218ac02"
        f"122b0a24{leaf}1201611801"
        f"122b0a24{empty.root.binary.hex()}1201621804"
        f"122c0a24{leaf}1202c3a41801"
        "0a020801"
    )
    assert built.tsize == len(built.nodes[0][1]) + 306


@pytest.mark.quick(1)
@pytest.mark.parametrize(("profile", "count"), [(UNIXFS_V1_2025, 2500), (UNIXFS_V0_2015, 2700)])
def test_one_byte_above_the_threshold_makes_shards(profile: Profile, count: int) -> None:
    """Of the block, or of names and CIDs; sizes in the links make the former larger alone."""
    cid, size = leaf(profile)
    links = [Link(cid, b"%060d" % number, size) for number in range(count)]
    block = len(build_directory(links, profile).nodes[-1][1])
    spare = profile.shard_above - (block if profile.raw_leaves else count * (60 + 34))
    grown = [
        link._replace(name=(link.name or b"") + b"x" * min(20, max(0, spare - 20 * index)))
        for index, link in enumerate(links)
    ]
    at = build_directory(grown, profile)
    assert len(at.nodes) == 1
    last = grown[-1]
    above = build_directory([*grown[:-1], last._replace(name=(last.name or b"") + b"x")], profile)
    assert len(above.nodes) > 1
    large = build_directory([*grown[:-1], last._replace(tsize=1 << 50)], profile)
    assert len(large.nodes) == 1 or profile is UNIXFS_V1_2025


@pytest.mark.parametrize("profile", PROFILES)
def test_trees_have_the_roots_of_their_directories(profile: Profile) -> None:
    inner = build_directory([Link(LEAF, b"model.onnx", 7)], profile)
    outer = build_directory([Link(inner.root, b"fp16", inner.tsize), Link(LEAF, b"model.onnx", 1)], profile)
    root = build_directory([Link(outer.root, b"onnx", outer.tsize), Link(LEAF, b"a", 1)], profile)
    files = [("onnx/fp16/model.onnx", LEAF, 7), ("a", LEAF, 1), ("onnx/model.onnx", LEAF, 1)]
    built = build_tree(files, profile)
    assert built == BuiltDirectory(root.root, root.tsize, (*inner.nodes, *outer.nodes, *root.nodes))
    assert build_tree(reversed(files), profile) == built
    assert all(cid.version == profile.cid_version for cid, _ in built.nodes)


def test_equal_directories_are_listed_once() -> None:
    built = build_tree([(f"{name}/same", LEAF, 1) for name in "abc"], UNIXFS_V1_2025)
    assert len(built.nodes) == 2
    below, root = (len(block) for _, block in built.nodes)
    assert built.tsize == root + 3 * (below + 1)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["a", "a"], "path 'a' occurs twice"),
        (["a/b", "a"], "path 'a' occurs twice"),
        (["a", "a/b"], "path 'a/b' continues behind a file"),
        (["a/b/c", "a/b/c"], "path 'a/b/c' occurs twice"),
        (["../x"], "name '..' is not one part of a path"),
        (["/x"], "name '' is not one part of a path"),
        (["x/"], "name '' is not one part of a path"),
        ([""], "name '' is not one part of a path"),
        (["a/./b"], r"name '\.' is not one part of a path"),
        (["a\0"], "name 'a.x00' is not one part of a path"),
        (["a/\udce9"], r"name 'a?/?.udce9' is not UTF-8"),
        (["n" * 256], "is longer than 255 bytes"),
        (["/".join("d" * 5000)], "is more than 32 names deep"),
    ],
)
def test_invalid_paths_are_refused(paths: list[str], message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        build_tree([(path, LEAF, 1) for path in paths], UNIXFS_V1_2025)


def test_a_name_twice_in_one_directory_is_refused() -> None:
    with pytest.raises(MalformedError, match="name 'a' occurs twice in a directory"):
        build_directory([Link(LEAF, b"a", 1), Link(LEAF, b"b", 1), Link(LEAF, b"a", 2)], UNIXFS_V1_2025)


def test_identity_cids_and_absent_sizes_are_kept() -> None:
    inline = Cid(1, RAW, IDENTITY, b"hello")
    built = build_directory([Link(inline, b"a", None)], UNIXFS_V1_2025)
    assert dag_pb.decode(built.nodes[0][1]).links == (Link(inline, b"a", None),)
    assert built.tsize == len(built.nodes[0][1])


def files_below(blocks: Blocks, root: Cid, prefix: str = "") -> Iterator[tuple[str, Cid, int]]:
    """Every link of plain directories that does not lead to another one."""
    for link in dag_pb.decode(blocks[root.multihash]).links:
        path = prefix + (link.name or b"").decode()
        block = blocks.find(link.cid)
        if block is not None and block.endswith(b"\n\x02\x08\x01") and link.cid.codec == DAG_PB:
            yield from files_below(blocks, link.cid, f"{path}/")
        else:
            yield path, link.cid, link.tsize or 0


@needs_fixtures
@pytest.mark.parametrize(
    ("name", "profile", "root"),
    [
        (
            "boxo/dir-special-chars.car",
            *(UNIXFS_V1_2025, "bafybeiebgctytpwjp7suihumuyckgbx2wuofmjjncavkamhjen3jpd7vda"),
        ),
        (
            "gateway-conformance/dir_listing/fixtures.car",
            *(UNIXFS_V1_2025, "bafybeig6ka5mlwkl4subqhaiatalkcleo4jgnr3hqwvpmsqfca27cijp3i"),
        ),
        (
            "gateway-conformance/dag.car",
            *(UNIXFS_V1_2025, "bafybeidlbwbu73tbjr3atntjz4lq5ego5w2uyof35vvwcnheaftzi3rndu"),
        ),
        (
            "gateway-conformance/trustless_gateway_car/subdir-with-mixed-block-files.car",
            *(UNIXFS_V1_2025, "bafybeidh6k2vzukelqtrjsmd4p52cpmltd2ufqrdtdg6yigi73in672fwu"),
        ),
        (
            "gateway-conformance/issue-54.car",
            *(UNIXFS_V0_2015, "QmT5W42oo38Bi4mL2aktaMyqu7tqj7xWCuZhmoTfo7XtiU"),
        ),
        (
            "gateway-conformance/redirects_file/redirects.car",
            *(UNIXFS_V0_2015, "QmQyqMY5vUBSbSxyitJqthgwZunCQjDVtNd8ggVCxzuPQ4"),
        ),
    ],
)
def test_trees_of_other_implementations_have_the_same_blocks(name: str, profile: Profile, root: str) -> None:
    blocks = Blocks.read(name)
    files = list(files_below(blocks, Cid.parse(root)))
    random.Random(6).shuffle(files)
    built = build_tree(files, profile)
    assert built.root.text == root
    assert Blocks.of(built.nodes).items() <= blocks.items()

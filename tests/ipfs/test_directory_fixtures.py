"""What a walk finds in each CAR file of other implementations: files with sizes, or why it stops."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from modelfetch.ipfs.cid import RAW, Cid
from modelfetch.ipfs.directory import DirectoryWalk, NotFoundError, PathLookup
from modelfetch.ipfs.errors import MalformedError
from tests.ipfs.car_fixtures import Blocks, needs_fixtures

pytestmark = needs_fixtures

G = "gateway-conformance/"
SPECIAL: Mapping[str, int | None] = {"file.txt": 1, "foo? #<'/bar/file.txt": 1, "foo? #<'/file.txt": 1}
LISTING: Mapping[str, int | None] = {
    "api/file.txt": 38,
    "ipfs/file.txt": 39,
    "ipns/file.txt": 39,
    "ą/ę/file-źł.txt": 34,
}
DUPLICATES: Mapping[str, int | None] = {
    "ascii-copy.txt": 31,
    "ascii.txt": 31,
    "hello.txt": 12,
    "multiblock.txt": 1026,
}

FILES: list[tuple[str, str, Mapping[str, int | None]]] = [
    ("boxo/dir-special-chars.car", "bafybeiebgctytpwjp7suihumuyckgbx2wuofmjjncavkamhjen3jpd7vda", SPECIAL),
    (
        "boxo/directory-with-multilayer-hamt-and-multiblock-files.car",
        "bafybeid3fd2xxdcd3dbj7trb433h2aqssn6xovjbwnkargjv7fuog4xjdi",
        {
            "basicDir/exampleA": 1026,
            "basicDir/exampleB": 887,
            "hamtDir/exampleA": 1026,
            "hamtDir/exampleB": 887,
            "hamtDir/exampleC-hamt-collide-exampleA-seed-52": 962,
            "hamtDir/exampleD-hamt-collide-exampleB-seed-364": 1283,
        },
    ),
    (
        "boxo/redirects-query-params.car",
        "bafybeiee3ltldvmfgsxiqazbatrkbvkl34eanbourajwnavhupb64nnbxa",
        {"_redirects": 451, "target-file": 12},
    ),
    (
        G + "dag.car",
        "bafybeidlbwbu73tbjr3atntjz4lq5ego5w2uyof35vvwcnheaftzi3rndu",
        {"a-file.txt": 726, "b-file.txt": 29998, "subdir/leaf.txt": 30999},
    ),
    (G + "dir_listing/fixtures.car", "bafybeig6ka5mlwkl4subqhaiatalkcleo4jgnr3hqwvpmsqfca27cijp3i", LISTING),
    (
        G + "gateway-cache/fixtures.car",
        "bafybeib3ffl2teiqdncv3mkz4r23b5ctrwkzrrhctdbne6iboayxuxk5ui",
        {"root2/root3/root4/index.html": 6},
    ),
    (
        G + "gateway-raw-block.car",
        "bafybeie72edlprgtlwwctzljf6gkn2wnlrddqjbkxo3jomh4n7omwblxly",
        {"dir/ascii.txt": 31},
    ),
    (G + "hello_ipfs.car", "bafkreidfdrlkeq4m4xnxuyx6iae76fdm4wgl5d4xzsb77ixhyqwumhz244", {"": None}),
    (
        G + "issue-54.car",
        "QmT5W42oo38Bi4mL2aktaMyqu7tqj7xWCuZhmoTfo7XtiU",
        {"sub1/hello.txt": 7, "sub2/hello.txt": 7},
    ),
    (
        G + "path_gateway_dag/dag-pb.car",
        "bafybeiegxwlgmoh2cny7qlolykdf7aq7g6dlommarldrbm7c4hbckhfcke",
        {"foo.txt": 13, "foo/bar.txt": 14},
    ),
    (
        G + "path_gateway_dag/gateway-json-cbor.car",
        "bafybeiafyvqlazbbbtjnn6how5d6h6l6rxbqc4qgpbmteaiskjrffmyy4a",
        {
            "api/file.txt": 38,
            "ipfs/file.txt": 39,
            "ipns/file.txt": 39,
            "ą/ę/file-źł.txt": 34,
            "ą/ę/t.json": 37,
        },
    ),
    (
        G + "path_gateway_tar/fixtures.car",
        "bafybeig6ka5mlwkl4subqhaiatalkcleo4jgnr3hqwvpmsqfca27cijp3i",
        LISTING,
    ),
    (
        G + "path_gateway_unixfs/dir-with-files.car",
        "bafybeihchr7vmgjaasntayyatmp5sv6xza57iy2h4xj7g46bpjij6yhrmy",
        DUPLICATES,
    ),
    (
        G + "path_gateway_unixfs/dir-with-percent-encoded-filename.car",
        "bafybeig675grnxcmshiuzdaz2xalm6ef4thxxds6o6ypakpghm5kghpc34",
        {"Portugal%2C+España=Peninsula Ibérica.txt": 38},
    ),
    (
        G + "redirects_file/redirects-spa.car",
        "bafybeib5lboymwd6p2eo4qb2lkueaine577flvsjjeuevmp2nlio72xv5q",
        {"_redirects": 65, "index.html": 12},
    ),
    (
        G + "trustless_gateway_car/dir-with-duplicate-files.car",
        "bafybeihchr7vmgjaasntayyatmp5sv6xza57iy2h4xj7g46bpjij6yhrmy",
        DUPLICATES,
    ),
    (
        G + "trustless_gateway_car/file-3k-and-3-blocks-missing-block.car",
        "QmYhmPjhFjYFyaoiuNzYv8WGavpSRDwdHWe5B4M5du5Rtk",
        {"": 3072},
    ),
    (
        G + "trustless_gateway_car/subdir-with-mixed-block-files.car",
        "bafybeidh6k2vzukelqtrjsmd4p52cpmltd2ufqrdtdg6yigi73in672fwu",
        {"subdir/ascii.txt": 31, "subdir/hello.txt": 12, "subdir/multiblock.txt": 1026},
    ),
    (
        G + "trustless_gateway_car/subdir-with-two-single-block-files.car",
        "bafybeietjm63oynimmv5yyqay33nui4y4wx6u3peezwetxgiwvfmelutzu",
        {"subdir/ascii.txt": 31, "subdir/hello.txt": 12},
    ),
    (
        "generated/file-20000_balanced-w3-256_dagpb-v0.car",
        "QmTFj9c9Gr1AUDCvR4k4VkGUweekc3LwKmSycsGJ5MUZhP",
        {"": 20000},
    ),
    (
        "generated/file-20000_balanced-w3-256_raw.car",
        "bafybeibkkhoswcl4ktzngprpwyxbzihkqcoxk6yykmhy6mgxf4dw3pgv74",
        {"": 20000},
    ),
    (
        "generated/file-20000_mtime-mode_1024_raw.car",
        "bafybeidrtc6ekwk4byswyjr5wvsg6aozf3wemipceupvkgm7ji5njf37zy",
        {"": 20000},
    ),
    (
        "generated/file-20000_trickle-256_dagpb-rawtype.car",
        "QmaUhfvrx25WEqvZVFa4b8x4ixzsrHWsbktyLStqqHhHbS",
        {"": 20000},
    ),
    (
        "generated/file-20000_trickle-256_raw.car",
        "bafybeib6jrmxhvmokrnlidm4wo64fpkza6vdysxhq6zowwc3wekxhgte44",
        {"": 20000},
    ),
    (
        "generated/file-4096_repeated-chunk_256_raw.car",
        "bafybeiapmzjoqmmmvu36ik3vqnjenco476tyf62ejwt3egu7eyfqorq4gm",
        {"": 4096},
    ),
]

LARGE = [
    (G + "redirects_file/redirects.car", "QmQyqMY5vUBSbSxyitJqthgwZunCQjDVtNd8ggVCxzuPQ4", 19),
    (
        G + "trustless_gateway_car/single-layer-hamt-with-multi-block-files.car",
        "bafybeidbclfqleg2uojchspzd4bob56dqetqjsj27gy2cq3klkkgxtpn4i",
        1000,
    ),
    ("generated/v0-2015_dir-hamt.car", "QmeMiJzmhpJAUgynAcxTQYek5PPKgdv3qEvFsdV3XpVnvP", 4033),
    (
        "generated/v1-2025_dir-at-threshold.car",
        "bafybeic3h7rwruealwxkacabdy45jivq2crwz6bufb5ljwupn36gicplx4",
        4766,
    ),
    ("generated/v1-2025_dir-hamt.car", "bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu", 4766),
    ("kubo/TestGatewayHAMTDirectory.car", "bafybeig3yoibxe56aolixqa4zk55gp5sug3qgaztkakpndzk2b2ynobd4i", 963),
]
"""Directories with many entries, and their number."""

REFUSED = [
    (
        "boxo/headers-test.car",
        "bafybeidbcy4u6y55gsemlubd64zk53xoxs73ifd6rieejxcr7xy46mjvky",
        "'subdir/dag-cbor-document': codec dag-cbor does not describe files",
    ),
    (
        "boxo/unixfs-dir-with-mode-mtime.car",
        "bafybeifup24mfbx6iv4xo7k664gzlezzurdnyb36pogxulrb7ed23cxtym",
        "'dir2/sub1/link1': symbolic links are not supported",
    ),
    (
        G + "path_gateway_dag/dag-cbor-traversal.car",
        "bafyreibs4utpgbn7uqegmd2goqz4bkyflre2ek2iwv743fhvylwi4zeeim",
        "codec dag-cbor does not describe files",
    ),
    (
        G + "path_gateway_dag/dag-json-traversal.car",
        "baguqeeram5ujjqrwheyaty3w5gdsmoz6vittchvhk723jjqxk7hakxkd47xq",
        "codec dag-json does not describe files",
    ),
    (
        G + "path_gateway_dag/plain-cbor-that-can-be-dag-cbor.car",
        "bafireidluuxmsc4uzpqkcq547wavvod7rrq2v7yixuvdy2qu3eqkbvycsu",
        "codec cbor does not describe files",
    ),
    (
        G + "path_gateway_dag/plain-cbor-that-can-be-dag-json.car",
        "bagaaieraonzu3mlwidrcjnpqd2ibmjiiycnfucdzotvjq5ajubwnkmlzomrq",
        "codec json does not describe files",
    ),
    (
        G + "path_gateway_dag/plain-cbor.car",
        "bafireif3aymeikgfbofx533yf5vlx4kimzq6zmzmpra2mnzfsfnmv4hchm",
        "codec cbor does not describe files",
    ),
    (
        G + "path_gateway_dag/plain-json.car",
        "bagaaierajjsnhsxqlgfrvknlt7z2heoljcgfv37cn45tu7mhmr23x3ekiboq",
        "codec json does not describe files",
    ),
    (
        G + "path_gateway_tar/inside-root.car",
        "bafybeibfevfxlvxp5vxobr5oapczpf7resxnleb7tkqmdorc4gl5cdva3y",
        "'foobar/directory': name '../file' is not one part of a path",
    ),
    (
        G + "path_gateway_tar/outside-root.car",
        "bafybeicaj7kvxpcv4neaqzwhrqqmdstu4dhrwfpknrgebq6nzcecfucvyu",
        "the directory: name '../foo' is not one part of a path",
    ),
    (
        G + "path_gateway_unixfs/symlink.car",
        "QmWvY6FaqFMS89YAQ9NAPjVP4WZKA1qbHbicc9HeSKQTgt",
        "'bar': symbolic links are not supported",
    ),
    (
        G + "subdomain_gateway/fixtures.car",
        "QmYiPNLU7Hc739sqcBH5DgVmk5mKTQVzKSqvJJeNGWTgrE",
        "'hello-CIDv1_TOO_LONG': hash sha2-512 is not supported",
    ),
    (
        G + "trustless_gateway_car/dir-with-dag-cbor-with-links.car",
        "bafybeia264q44a3kmfc2otctzu4egp2k235o3t7mslz2yjraymp4nv6asi",
        "'document': codec dag-cbor does not describe files",
    ),
    (
        "ipld/carv1-basic.car",
        "bafyreihyrpefhacm6kkp4ql6j6udakdit7g3dmkzfriqfykhjw6cad5lrm",
        "codec dag-cbor does not describe files",
    ),
    (
        "kubo/TestDagStat.car",
        "bafyreifrm6uf5o4dsaacuszf35zhibyojlqclabzrms7iak67pf62jygaq",
        "codec dag-cbor does not describe files",
    ),
]


@pytest.mark.parametrize(("name", "root", "files"), FILES)
def test_files(name: str, root: str, files: Mapping[str, int | None]) -> None:
    blocks = Blocks.read(name)
    walk = DirectoryWalk(Cid.parse(root))
    blocks.feed(walk)
    assert walk.entries is not None
    assert {entry.path: entry.size for entry in walk.entries} == files
    for entry in walk.entries:
        lookup = PathLookup(Cid.parse(root), [part.encode() for part in entry.path.split("/") if part])
        blocks.feed(lookup)
        assert lookup.target == entry.cid
        if entry.cid.codec == RAW and entry.path:
            assert len(blocks[entry.cid.multihash]) == entry.size


@pytest.mark.quick(1)
@pytest.mark.parametrize(("name", "root", "count"), LARGE)
def test_large_directories(name: str, root: str, count: int) -> None:
    walk = DirectoryWalk(Cid.parse(root))
    Blocks.read(name).feed(walk)
    assert walk.entries is not None
    assert len(walk.entries) == count


@pytest.mark.parametrize(("name", "root", "message"), REFUSED)
def test_refused_directories(name: str, root: str, message: str) -> None:
    blocks = Blocks.read(name)
    with pytest.raises(MalformedError, match=f"^{re.escape(message)}$"):
        walk_all(blocks, root)


def walk_all(blocks: Blocks, root: str) -> None:
    blocks.feed(DirectoryWalk(Cid.parse(root)))


def test_a_file_without_all_blocks_stays_incomplete() -> None:
    """A CAR file with the root alone ends cleanly; what is missing shows here."""
    walk = DirectoryWalk(Cid.parse("QmPDC11yLAbVw3dX5jMeEuSdk4BiVjSd9X87zaYRdVjzW3"))
    assert Blocks.read("kubo/partial-dag-scope-entity.car").feed(walk) == 1
    assert walk.entries is None
    assert len(walk.wanted) == 29


@pytest.mark.parametrize(
    ("name", "root", "path", "target"),
    [
        (
            "path_gateway_tar/inside-root.car",
            "bafybeibfevfxlvxp5vxobr5oapczpf7resxnleb7tkqmdorc4gl5cdva3y",
            "foobar/directory",
            "bafybeihoznov5g7tqwxtrrt2uuaqfodjakahdas6ujtfgdurcz4hnrprty",
        ),
        (
            "path_gateway_unixfs/symlink.car",
            "QmWvY6FaqFMS89YAQ9NAPjVP4WZKA1qbHbicc9HeSKQTgt",
            "foo",
            "Qme2y5HA5kvo2jAx13UsnV5bQJVijiAJCPvaW3JGQWhvJZ",
        ),
        (
            "subdomain_gateway/fixtures.car",
            "QmYiPNLU7Hc739sqcBH5DgVmk5mKTQVzKSqvJJeNGWTgrE",
            "hello-CIDv1",
            "bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am",
        ),
        (
            "trustless_gateway_car/dir-with-dag-cbor-with-links.car",
            "bafybeia264q44a3kmfc2otctzu4egp2k235o3t7mslz2yjraymp4nv6asi",
            "document",
            "bafyreidy4q6mmetut5jzc54ambsfnatbyoujmwbfzyyolqw24majazwgha",
        ),
    ],
)
def test_files_beside_refused_entries_are_found(name: str, root: str, path: str, target: str) -> None:
    """Bad names, symbolic links, other codecs and other hashes only affect what leads through them."""
    lookup = PathLookup(Cid.parse(root), [part.encode() for part in path.split("/")])
    Blocks.read(G + name).feed(lookup)
    assert lookup.target is not None
    assert lookup.target.text == target


def test_no_path_leads_outside() -> None:
    blocks = Blocks.read(G + "path_gateway_tar/outside-root.car")
    root = Cid.parse("bafybeicaj7kvxpcv4neaqzwhrqqmdstu4dhrwfpknrgebq6nzcecfucvyu")
    with pytest.raises(MalformedError, match=r"name '../foo' is not one part of a path"):
        PathLookup(root, [b"../foo"])
    with pytest.raises(MalformedError, match=r"name '\.\.' is not one part of a path"):
        PathLookup(root, [b"..", b"foo"])
    with pytest.raises(NotFoundError):
        blocks.feed(PathLookup(root, [b"foo"]))

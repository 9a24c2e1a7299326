"""CAR files: framing and its limits, pieces of any size, every fixture, and writing."""

from __future__ import annotations

import random
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.ipfs import varint
from modelfetch.ipfs.car import (
    BLOCK_LIMIT,
    HEADER_LIMIT,
    SECTION_LIMIT,
    CarReader,
    header,
    read_blocks,
    root_of,
    section,
)
from modelfetch.ipfs.cid import DAG_PB, IDENTITY, RAW, SHA2_256, Cid, cid_of
from modelfetch.ipfs.errors import MalformedError
from tests.ipfs.car_fixtures import FIXTURES, blocks_of, needs_fixtures, pieces

LEAVES = [b"hello ipfs\n", b"", b"x" * 300, bytes(range(256))]
ROOT = cid_of(b"\n\x02\x08\x01", DAG_PB)
SMALL = header(ROOT) + b"".join(section(cid_of(leaf, RAW), leaf) for leaf in LEAVES)
SHA2_512_CID = bytes.fromhex("01551340") + b"\x07" * 64
DAG_CBOR_CID = bytes.fromhex("01711220") + b"\x07" * 32


def framed(data: bytes) -> bytes:
    return varint.encode(len(data)) + data


def test_a_file_is_read_as_it_was_written() -> None:
    assert blocks_of(SMALL) == [(cid_of(leaf, RAW), leaf) for leaf in LEAVES]


def test_the_header_is_that_of_the_specification() -> None:
    """With a root of version 1, of version 0, and with a short and a long identity CID."""
    one = bytes.fromhex("3aa265726f6f747381d82a582500") + ROOT.binary + bytes.fromhex("6776657273696f6e01")
    zero = bytes.fromhex("38a265726f6f747381d82a582300") + ROOT.multihash
    assert header(ROOT) == one
    assert header(Cid(0, DAG_PB, SHA2_256, ROOT.digest)).startswith(zero)
    empty = Cid.parse("bafkqaaa")
    assert header(empty) == bytes.fromhex("19a265726f6f747381d82a4500") + empty.binary + one[-9:]
    longest = Cid(1, RAW, IDENTITY, b"i" * 128)
    assert b"\xd8\x2a\x58\x86\x00" + longest.binary in header(longest)
    for root in (ROOT, empty, longest):
        assert blocks_of(header(root)) == []


def test_the_root_of_our_own_files_is_read() -> None:
    for root in (ROOT, Cid(0, DAG_PB, SHA2_256, ROOT.digest), cid_of(b"", RAW)):
        assert root_of(header(root)) == root
    for other in (b"", b"\0" * 100, header(ROOT)[:-1], header(ROOT)[:-1] + b"\2", SMALL[1:]):
        assert root_of(other) is None


def test_a_complete_file_is_read_at_once() -> None:
    assert read_blocks(SMALL) == {cid_of(leaf, RAW).multihash: leaf for leaf in LEAVES}
    with pytest.raises(MalformedError, match="ends inside"):
        read_blocks(SMALL[:-1])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 58, 59, 60, 64, 1000])
def test_pieces_of_any_size_give_the_same_blocks(size: int) -> None:
    reader = CarReader()
    found = [block for piece in pieces(SMALL, size) for block in reader.feed(piece)]
    reader.finish()
    assert found == blocks_of(SMALL)


def test_blocks_that_were_not_taken_are_returned_later() -> None:
    reader = CarReader()
    reader.feed(SMALL[:200])
    assert list(reader.feed(SMALL[200:])) == blocks_of(SMALL)


def test_a_file_that_ends_early_is_detected_at_every_byte() -> None:
    """But between two sections, where nothing shows that blocks are missing."""
    complete = {len(header(ROOT))}
    for leaf in LEAVES:
        complete.add(max(complete) + len(section(cid_of(leaf, RAW), leaf)))
    for length in range(len(SMALL) + 1):
        reader = CarReader()
        found = list(reader.feed(SMALL[:length]))
        assert found == blocks_of(SMALL)[: len(found)]
        if length in complete:
            reader.finish()
            continue
        with pytest.raises(
            MalformedError, match=r"CAR file ends inside (its header|the section at byte \d+)"
        ):
            reader.finish()


def test_a_flipped_bit_is_detected_at_every_byte_of_a_section() -> None:
    start = len(header(ROOT))
    data = header(ROOT) + section(cid_of(LEAVES[0], RAW), LEAVES[0])
    for index in range(start, len(data)):
        for bit in (1, 0x80):
            damaged = bytearray(data)
            damaged[index] ^= bit
            reader = CarReader()
            try:
                found = list(reader.feed(bytes(damaged)))
                reader.finish()
            except MalformedError:
                continue
            # A changed codec is skipped, or identifies the same block.
            assert reader.skipped or found[0][0].multihash == cid_of(LEAVES[0], RAW).multihash
            assert index in {start + 2, start + 3}


def read(reader: CarReader, data: bytes, size: int) -> None:
    for piece in pieces(data, size):
        list(reader.feed(piece))


CARV2 = bytes.fromhex("0aa16776657273696f6e02")


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (CARV2, "CAR file of version 2; only version 1 is supported"),
        (CARV2 + bytes(40) + SMALL, "CAR file of version 2; only version 1 is supported"),
        (CARV2[:-1] + b"\x03", "CAR file of version 3; only version 1 is supported"),
        (b"<!DOCTYPE html><html><body>not found</body></html>" * 3, "not a CAR file"),
        (b"\x02\xa1\x67", "not a CAR file"),
        (b"\x00", "header of the CAR file has 0 bytes; allowed are 1 to 65536"),
        (framed(bytes(HEADER_LIMIT + 1)), "header of the CAR file has 65537 bytes; allowed are 1 to 65536"),
        (b"\xff" * 9, "length of the header of the CAR file: varint is too long"),
        (b"\xba\x00", "length of the header of the CAR file: varint is not in its shortest form"),
        (SMALL + b"\x00", rf"section at byte {len(SMALL)} of the CAR file has 0 bytes"),
        (SMALL + b"\xff" * 10, rf"section at byte {len(SMALL)} of the CAR file: varint is too long"),
        (SMALL + b"\xa8\x81\x80\x00", "varint is not in its shortest form"),
        (SMALL + varint.encode(SECTION_LIMIT + 1), "has 2097353 bytes; allowed are 1 to 2097352"),
        (SMALL + varint.encode(2**63 - 1), "of the CAR file has 9223372036854775807 bytes"),
        (SMALL + framed(b"\x01"), "ends inside a varint"),
        (SMALL + framed(bytes.fromhex("015512") + b"\x20" + bytes(31)), "31 bytes instead of the stated 32"),
        (SMALL + framed(bytes.fromhex("1220") + bytes(31)), "31 bytes instead of the stated 32"),
        (SMALL + framed(bytes.fromhex("0155121f") + bytes(64)), "sha2-256 digest must have 32 bytes"),
        (SMALL + framed(bytes.fromhex("01550081017a") + bytes(128)), "identity digest must have at most 128"),
        (SMALL + framed(bytes.fromhex("0255122000") + bytes(64)), "version 0 or 1"),
        (SMALL + framed(ROOT.binary + b"x"), rf"does not match {ROOT.text}"),
        (SMALL + framed(ROOT.multihash + b"x"), "does not match Qm"),
        (SMALL + framed(Cid(1, RAW, IDENTITY, b"abc").binary + b"abd"), "does not match bafkqa"),
    ],
)  # fmt: skip
def test_invalid_files_are_rejected(data: bytes, message: str) -> None:
    for size in (len(data), 1):
        reader = CarReader()
        with pytest.raises(MalformedError, match=message):
            read(reader, data, size)
        with pytest.raises(MalformedError):  # and it does not recover
            list(reader.feed(b"\0"))


@pytest.mark.parametrize("cid", [SHA2_512_CID, DAG_CBOR_CID, bytes.fromhex("0171a0e40220") + bytes(32)])
def test_sections_that_are_not_supported_are_skipped(cid: bytes) -> None:
    """Their hash is not computed: nothing here is a block of theirs."""
    reader = CarReader()
    found = list(reader.feed(header(ROOT) + framed(cid + b"not of that hash") + SMALL[len(header(ROOT)) :]))
    reader.finish()
    assert (found, reader.skipped) == (blocks_of(SMALL), 1)


def test_identity_blocks_and_duplicates_are_returned() -> None:
    inline = Cid(1, RAW, IDENTITY, b"inline")
    data = header(inline) + section(inline, b"inline") * 2 + section(ROOT, b"\n\x02\x08\x01")
    assert blocks_of(data) == [(inline, b"inline")] * 2 + [(ROOT, b"\n\x02\x08\x01")]


def test_the_largest_block_is_read_and_a_larger_one_is_not_collected() -> None:
    block = random.Random(7).randbytes(BLOCK_LIMIT)
    data = header(ROOT) + section(cid_of(block, RAW), block)
    assert [found for _, found in blocks_of(data)] == [block]
    reader = CarReader(section_limit=1000)
    with pytest.raises(MalformedError, match="allowed are 1 to 1000"):
        list(reader.feed(data[: len(header(ROOT)) + 4]))


def test_memory_holds_one_block_and_time_is_linear() -> None:
    block = random.Random(8).randbytes(1 << 20)
    part = section(cid_of(block, RAW), block)
    reader = CarReader()
    tracemalloc.start()
    try:
        count = sum(1 for _ in reader.feed(header(ROOT)))
        for _ in range(16):
            count += sum(1 for piece in pieces(part, 1 << 16) for _ in reader.feed(piece))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 16
    assert peak < 4 << 20


@pytest.mark.slow
def test_many_tiny_sections_in_one_piece_are_read_in_linear_time() -> None:
    tiny = section(Cid(1, RAW, IDENTITY, b""), b"")
    times = []
    for count in (2_000, 20_000):
        data = header(ROOT) + tiny * count
        start = time.process_time()
        assert len(blocks_of(data)) == count
        times.append(time.process_time() - start)
    assert times[1] < 40 * times[0] + 0.1


@given(st.binary(max_size=300))
def test_nothing_but_malformed_escapes(data: bytes) -> None:
    for prefix in (b"", header(ROOT)):
        reader = CarReader()
        try:
            list(reader.feed(prefix + data))
            reader.finish()
        except MalformedError:
            pass


def test_damaged_files_never_give_a_wrong_block() -> None:
    chance = random.Random(9)
    good = {cid.multihash for cid, _ in blocks_of(SMALL)}
    for _ in range(500):
        damaged = bytearray(SMALL)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        start = chance.randrange(len(damaged))
        del damaged[start : start + chance.choice((0, 0, 1, 40))]
        try:
            found = blocks_of(bytes(damaged))
        except MalformedError:
            continue
        assert all(cid.matches(block) for cid, block in found)
        assert {cid.multihash for cid, _ in found} <= good


COUNTS = {
    "boxo/dir-special-chars.car": (6, 0),
    "boxo/directory-with-multilayer-hamt-and-multiblock-files.car": (18, 0),
    "boxo/headers-test.car": (248, 1),
    "boxo/redirects-query-params.car": (3, 0),
    "boxo/unixfs-dir-with-mode-mtime.car": (10, 0),
    "gateway-conformance/dag.car": (5, 0),
    "gateway-conformance/dir_listing/fixtures.car": (10, 0),
    "gateway-conformance/gateway-cache/fixtures.car": (5, 0),
    "gateway-conformance/gateway-raw-block.car": (3, 0),
    "gateway-conformance/hello_ipfs.car": (1, 0),
    "gateway-conformance/issue-54.car": (9, 0),
    "gateway-conformance/path_gateway_dag/dag-cbor-traversal.car": (0, 3),
    "gateway-conformance/path_gateway_dag/dag-json-traversal.car": (0, 3),
    "gateway-conformance/path_gateway_dag/dag-pb.car": (4, 0),
    "gateway-conformance/path_gateway_dag/gateway-json-cbor.car": (11, 0),
    "gateway-conformance/path_gateway_dag/plain-cbor-that-can-be-dag-cbor.car": (0, 1),
    "gateway-conformance/path_gateway_dag/plain-cbor-that-can-be-dag-json.car": (0, 1),
    "gateway-conformance/path_gateway_dag/plain-cbor.car": (0, 1),
    "gateway-conformance/path_gateway_dag/plain-json.car": (0, 1),
    "gateway-conformance/path_gateway_tar/fixtures.car": (10, 0),
    "gateway-conformance/path_gateway_tar/inside-root.car": (4, 0),
    "gateway-conformance/path_gateway_tar/outside-root.car": (2, 0),
    "gateway-conformance/path_gateway_unixfs/dir-with-files.car": (9, 0),
    "gateway-conformance/path_gateway_unixfs/dir-with-percent-encoded-filename.car": (2, 0),
    "gateway-conformance/path_gateway_unixfs/symlink.car": (3, 0),
    "gateway-conformance/redirects_file/redirects-spa.car": (3, 0),
    "gateway-conformance/redirects_file/redirects.car": (32, 0),
    "gateway-conformance/subdomain_gateway/fixtures.car": (10, 1),
    "gateway-conformance/trustless_gateway_car/dir-with-dag-cbor-with-links.car": (8, 1),
    "gateway-conformance/trustless_gateway_car/dir-with-duplicate-files.car": (9, 0),
    "gateway-conformance/trustless_gateway_car/file-3k-and-3-blocks-missing-block.car": (3, 0),
    "gateway-conformance/trustless_gateway_car/single-layer-hamt-with-multi-block-files.car": (243, 0),
    "gateway-conformance/trustless_gateway_car/subdir-with-mixed-block-files.car": (10, 0),
    "gateway-conformance/trustless_gateway_car/subdir-with-two-single-block-files.car": (4, 0),
    "generated/file-20000_balanced-w3-256_dagpb-v0.car": (119, 0),
    "generated/file-20000_balanced-w3-256_raw.car": (119, 0),
    "generated/file-20000_mtime-mode_1024_raw.car": (21, 0),
    "generated/file-20000_trickle-256_dagpb-rawtype.car": (99, 0),
    "generated/file-20000_trickle-256_raw.car": (99, 0),
    "generated/file-4096_repeated-chunk_256_raw.car": (2, 0),
    "generated/v0-2015_dir-hamt.car": (389, 0),
    "generated/v1-2025_dir-at-threshold.car": (2, 0),
    "generated/v1-2025_dir-hamt.car": (440, 0),
    "ipld/carv1-basic.car": (6, 2),
    "kubo/TestDagStat.car": (0, 4),
    "kubo/TestGatewayHAMTDirectory.car": (967, 0),
    "kubo/partial-dag-scope-entity.car": (1, 0),
}
"""Blocks that are returned, and sections that are skipped."""
REFUSED = {"ipld/carv2-basic.car", "kubo/TestDagStatCARv2.car"}


@needs_fixtures
def test_every_fixture_has_its_expectation() -> None:
    """49 files, and 2,968 blocks in those of version 1."""
    assert {str(path.relative_to(FIXTURES)) for path in FIXTURES.rglob("*.car")} == COUNTS.keys() | REFUSED
    assert sum(map(sum, COUNTS.values())) == 2968


@needs_fixtures
@pytest.mark.parametrize("name", COUNTS)
def test_fixtures(name: str) -> None:
    reader = CarReader()
    found = list(reader.feed((FIXTURES / name).read_bytes()))
    reader.finish()
    assert (len(found), reader.skipped) == COUNTS[name]


@needs_fixtures
@pytest.mark.parametrize("name", sorted(REFUSED))
def test_fixtures_of_version_2_are_refused_by_name(name: str) -> None:
    with pytest.raises(MalformedError, match="CAR file of version 2; only version 1 is supported"):
        list(CarReader().feed((FIXTURES / name).read_bytes()))


@needs_fixtures
def test_files_of_other_implementations_are_written_byte_for_byte() -> None:
    """The smallest one of Go, and one of JavaScript: framing, header and order."""
    for name in ("gateway-conformance/hello_ipfs.car", "generated/file-20000_balanced-w3-256_raw.car"):
        data = (FIXTURES / name).read_bytes()
        blocks = blocks_of(data)
        root = Cid.parse("bafybeibkkhoswcl4ktzngprpwyxbzihkqcoxk6yykmhy6mgxf4dw3pgv74")
        written = header(blocks[0][0] if len(blocks) == 1 else root)
        assert written + b"".join(section(*block) for block in blocks) == data


@needs_fixtures
def test_two_roots_and_mixed_versions_are_read() -> None:
    found = blocks_of((FIXTURES / "ipld/carv1-basic.car").read_bytes())
    assert [cid.version for cid, _ in found] == [0, 1, 0, 1, 0, 1]


@needs_fixtures
def test_blocks_of_directories_under_raw_cids_are_returned_as_they_are() -> None:
    found = blocks_of((FIXTURES / "kubo/TestGatewayHAMTDirectory.car").read_bytes())
    assert sum(cid.codec == RAW for cid, _ in found) == 965

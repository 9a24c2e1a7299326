"""Torrents of version 2: the same as libtorrent makes, and what strangers send is checked."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.swarm import bencode, metainfo
from modelfetch.swarm.merkle import BLOCK, hash_pieces, layer_root, piece_hash, small_file_root
from modelfetch.swarm.metainfo import Metainfo, build, parse, parse_info, piece_length
from tests.swarm.nodes import metainfo_of, some_files
from tests.swarm.torrent_pieces import has_piece, pieces_of

LENGTH = 64 * 1024
FILES = {
    "a.bin": os.urandom(LENGTH * 3 + 5),
    "empty": b"",
    "sub/one": os.urandom(BLOCK),
    "sub/deep/exact.bin": os.urandom(LENGTH * 4),
    "sub.a": os.urandom(20_000),
    "z": os.urandom(LENGTH),
    "ü/ß.txt": b"x",
}
TORRENT = metainfo_of(FILES, length=LENGTH)


def theirs(directory: Path, files: Mapping[str, bytes], length: int) -> dict[bytes, Any]:
    """The torrent that libtorrent makes."""
    lt = pytest.importorskip("libtorrent")
    storage = lt.file_storage()
    for path, data in files.items():
        place = directory / "model-1" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        storage.add_file(f"model-1/{path}", len(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        made = lt.create_torrent(storage, length, lt.create_torrent.v2_only)
    lt.set_piece_hashes(made, str(directory))
    torrent: dict[bytes, Any] = made.generate()
    return {key: value for key, value in torrent.items() if key in (b"info", b"piece layers")}


@pytest.mark.parametrize(
    "sizes",
    [
        {path: len(data) for path, data in FILES.items()},
        {"a.bin": 3},
        {"a": LENGTH, "b": LENGTH + 1, "c": LENGTH * 2, "d": LENGTH * 5 - 1, "e": BLOCK * 3 + 1},
        {"a/b/c/d": BLOCK - 1, "a/b-c": BLOCK, "a/b.c": BLOCK + 1, "a/b0": 0},
    ],
    ids=["every kind", "one file", "around the length of a piece", "nested"],
)
def test_it_is_the_torrent_that_libtorrent_makes(tmp_path: Path, sizes: dict[str, int]) -> None:
    files = {path: os.urandom(size) for path, size in sizes.items()}
    ours, expected = metainfo_of(files, length=LENGTH), theirs(tmp_path, files, LENGTH)
    assert ours.encode() == bencode.encode(expected)
    assert ours.infohash == hashlib.sha256(bencode.encode(expected[b"info"])).hexdigest()


def test_what_was_made_is_read() -> None:
    found = parse(TORRENT.encode(["udp://t.example:1", "https://t.example/a"]))
    assert found.files == TORRENT.files
    assert (found.infohash, found.pieces, found.size) == (TORRENT.infohash, 12, TORRENT.size)
    assert found.encode() == TORRENT.encode()
    document = bencode.decode(TORRENT.encode(["udp://t.example:1", "https://t.example/a"]))
    assert isinstance(document, dict)
    assert document[b"announce"] == b"udp://t.example:1"
    assert document[b"announce-list"] == [[b"udp://t.example:1"], [b"https://t.example/a"]]


def test_every_piece_is_a_range_of_a_file_and_is_known_by_its_bytes() -> None:
    seen = dict.fromkeys(FILES, b"")
    for number in range(TORRENT.pieces):
        place = TORRENT.piece(number)
        data = FILES[place.file.path][place.offset : place.offset + place.size]
        assert number in pieces_of(TORRENT, place.file.path)
        assert has_piece(TORRENT, number, data)
        assert not has_piece(TORRENT, number, data[:-1])
        assert not has_piece(TORRENT, number, bytes([data[0] ^ 1]) + data[1:])
        seen[place.file.path] += data
    assert seen == FILES
    assert [*pieces_of(TORRENT, "empty")] == []
    for number in (-1, TORRENT.pieces):
        with pytest.raises(IndexError):
            TORRENT.piece(number)


def test_the_info_alone_has_no_layers() -> None:
    found = parse_info(TORRENT.info)
    assert found.infohash == TORRENT.infohash
    assert not found.has_layers
    again = parse(found.encode())
    assert (again.infohash, again.has_layers) == (TORRENT.infohash, False)
    assert TORRENT.has_layers


def test_the_magnet_link_has_the_infohash_as_a_multihash() -> None:
    link = TORRENT.magnet("model 1", ["udp://t.example:1/a?b=c"])
    assert link == (
        f"magnet:?xt=urn:btmh:1220{TORRENT.infohash}&dn=model%201&tr=udp%3A%2F%2Ft.example%3A1%2Fa%3Fb%3Dc"
    )
    assert TORRENT.magnet() == f"magnet:?xt=urn:btmh:1220{TORRENT.infohash}"


GIB = 1024**3


@pytest.mark.parametrize(
    ("size", "kib"),
    [(0, 256), (GIB, 256), (GIB + 1, 512), (2 * GIB, 512), (4 * GIB, 1024), (8 * GIB, 2048), (9 * GIB, 4096)],
)
def test_the_length_of_pieces_follows_from_the_size(size: int, kib: int) -> None:
    assert piece_length(size) == kib * 1024


def manifest(files: Mapping[str, bytes]) -> Manifest:
    specs = (FileSpec(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in files.items())
    return Manifest("model", "1", tuple(specs))


def test_paths_and_sizes_are_compared_with_the_manifest() -> None:
    assert TORRENT.mismatches(manifest(FILES)) == []
    fewer = manifest({path: data for path, data in FILES.items() if path != "z"})
    assert TORRENT.mismatches(fewer) == ["it has 'z', which the manifest does not list"]
    assert TORRENT.mismatches(manifest(FILES | {"more": b""})) == ["it does not have 'more'"]
    assert TORRENT.mismatches(manifest(FILES | {"z": b"1"})) == ["'z' has 65536 bytes, not 1"]
    many = TORRENT.mismatches(manifest({f"x{number}": b"" for number in range(20)}))
    assert many[5:] == ["and 22 more differences"]


def changed(**changes: Any) -> dict[bytes, Any]:
    """The info dictionary with other entries; None drops one."""
    info: dict[bytes, Any] = dict(bencode.dictionary(bencode.decode(TORRENT.info), "info"))
    info |= {name.replace("_", " ").encode(): value for name, value in changes.items()}
    return {key: value for key, value in info.items() if value is not None}


def tree(entry: Any, name: bytes = b"a") -> dict[bytes, Any]:
    return {name: {b"": entry}}


GOOD = {b"length": 3, b"pieces root": bytes(32)}


@pytest.mark.quick(every=2)
@pytest.mark.parametrize(
    ("info", "why"),
    [
        (changed(meta_version=1), "not a torrent of version 2"),
        (changed(meta_version=None), "not a torrent of version 2"),
        (changed(name=None), "no name"),
        (changed(name=b""), "no name"),
        (changed(piece_length=LENGTH + 1), "power of two"),
        (changed(piece_length=8192), "power of two"),
        (changed(piece_length=0), "power of two"),
        (changed(piece_length=-LENGTH), "power of two"),
        (changed(piece_length=2**62), "power of two"),
        (changed(piece_length=b"1"), "power of two"),
        (changed(file_tree=None), "file tree must be"),
        (changed(file_tree=[]), "file tree must be"),
        (changed(file_tree={}), "no file"),
        (changed(file_tree={b"a": {}}), "an empty directory"),
        (changed(file_tree={b"a": 1}), "an entry of the file tree"),
        (changed(file_tree={b"a": {b"": GOOD, b"b": {b"": GOOD}}}), "a directory too"),
        (changed(file_tree={b"": GOOD}), "unsafe path"),
        (changed(file_tree=tree(1)), "a file must be"),
        (changed(file_tree=tree(GOOD, b"..")), "unsafe path"),
        (changed(file_tree=tree(GOOD, b"a/b")), "unsafe path"),
        (changed(file_tree=tree(GOOD, b"a\\b")), "unsafe path"),
        (changed(file_tree=tree(GOOD, b"a\0")), "unsafe path"),
        (changed(file_tree=tree(GOOD, b"\xff")), "not UTF-8"),
        (changed(file_tree=tree(GOOD, b"a" * 256)), "longer than"),
        (changed(file_tree=tree({b"length": -1})), "valid length"),
        (changed(file_tree=tree({b"length": 2**63 - 1, b"pieces root": b""})), "valid"),
        (changed(file_tree=tree({})), "valid length"),
        (changed(file_tree=tree({b"length": 3})), "pieces root"),
        (changed(file_tree=tree({b"length": 0, b"pieces root": bytes(32)})), "pieces root"),
        (changed(file_tree=tree(GOOD | {b"pieces root": bytes(31)})), "pieces root"),
        (changed(file_tree=tree(GOOD | {b"attr": b"l", b"symlink path": [b"x"]})), "symbolic link"),
        (changed(file_tree=tree(GOOD | {b"attr": b"p"})), "padding file"),
        (changed(ssl_cert=b"x") | {b"ssl-cert": b"x"}, "TLS"),
        ({b"a": 1}, "version 2"),
    ],
)
def test_a_stranger_s_info_is_checked(info: dict[bytes, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_info(bencode.encode(info))
    with pytest.raises(ValueError, match=why):
        parse(bencode.encode({"info": info, "piece layers": {}}))


def layers(**changes: bytes) -> bytes:
    document = bencode.dictionary(bencode.decode(TORRENT.encode()), "torrent")
    given = bencode.dictionary(document[b"piece layers"], "layers")
    [first, *_] = given
    return bencode.encode(document | {b"piece layers": given | {first: changes["first"]}})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"i1e",
        b"de",
        b"d4:infoi1ee",
        bencode.encode({"info": bencode.decode(TORRENT.info), "piece layers": {}}),
        bencode.encode({"info": bencode.decode(TORRENT.info), "piece layers": 1}),
        layers(first=bytes(4 * 32)),
        layers(first=bytes(31)),
        layers(first=b""),
    ],
    ids=range(9),
)
def test_a_stranger_s_torrent_is_checked(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(data)


def test_a_torrent_that_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metainfo, "METAINFO_LIMIT", 100)
    for read in (parse, parse_info):
        with pytest.raises(ValueError, match="larger than"):
            read(bytes(101))
    monkeypatch.undo()
    monkeypatch.setattr(metainfo, "_FILES_LIMIT", 5)
    with pytest.raises(ValueError, match="more than 5 files"):
        parse_info(TORRENT.info)


@pytest.mark.parametrize("names", [[b"d" * 100_000], [bytes([97 + at]) * 200 for at in range(6)]])
@pytest.mark.quick(1)
def test_long_names_of_directories_are_not_repeated_for_each_file(names: list[bytes]) -> None:
    """A torrent of 150 KB could otherwise take 400 MB of memory."""
    below: dict[bytes, Any] = {b"%04d" % number: {b"": {b"length": 0}} for number in range(2000)}
    for name in names:
        below = {name: below}
    info = bencode.encode(changed(file_tree=below))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="longer than"):
            parse_info(info)
        assert tracemalloc.get_traced_memory()[1] < 2_500_000  # of which the decoded document has half
    finally:
        tracemalloc.stop()


def test_a_layer_that_many_files_have_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small torrent could otherwise take hours to read."""
    hashed = []

    def count(layer: bytes, length: int) -> bytes:
        hashed.append(len(layer))
        return layer_root(layer, length)

    monkeypatch.setattr("modelfetch.swarm.metainfo.layer_root", count)
    layer = bytes(32 * 64)
    entry = {"": {"length": 64 * 16384, "pieces root": layer_root(layer, 16384)}}
    info = {
        "file tree": {f"{number:03}": entry for number in range(500)},
        "meta version": 2,
        "name": "x",
        "piece length": 16384,
    }
    found = parse(bencode.encode({"info": info, "piece layers": {entry[""]["pieces root"]: layer}}))
    assert (len(found.files), hashed) == (500, [len(layer)])


def test_a_torrent_may_say_more_than_is_used() -> None:
    """Hybrid torrents have the keys of version 1, too; web seeds and trackers are left out."""
    document = bencode.dictionary(bencode.decode(TORRENT.encode(["https://evil.example/a"])), "torrent")
    document |= {b"url-list": [b"https://evil.example/"], b"nodes": [[b"evil.example", 1]]}
    found = parse(bencode.encode(document))
    assert found.encode() == TORRENT.encode()
    hybrid = parse_info(bencode.encode(changed(pieces=bytes(20), private=1, length=5)))
    assert hybrid.mismatches(manifest(FILES)) == []


def simple_root(data: bytes) -> bytes:
    """The root of the tree of all blocks, by its definition."""
    leaves = [hashlib.sha256(data[at : at + BLOCK]).digest() for at in range(0, len(data), BLOCK)]
    while len(leaves) & (len(leaves) - 1):
        leaves.append(bytes(32))
    while len(leaves) > 1:
        leaves = [hashlib.sha256(leaves[at] + leaves[at + 1]).digest() for at in range(0, len(leaves), 2)]
    return leaves[0]


@given(st.integers(1, 40 * BLOCK), st.sampled_from([1, 2, 4, 16]))
def test_the_root_is_that_of_all_blocks_whatever_the_length_of_pieces(size: int, blocks: int) -> None:
    data = hashlib.shake_128(b"x").digest(size)
    length = blocks * BLOCK
    found = hash_pieces([data[at : at + length] for at in range(0, size, length)], length)
    assert (found.size, found.root) == (size, simple_root(data))
    if size > length:
        assert layer_root(found.layer, length) == found.root
        assert piece_hash(data[:length], length) == found.layer[:32]
    else:
        assert small_file_root(data) == found.root
        assert found.layer == b""


def test_the_order_of_files_is_that_of_their_names() -> None:
    files = some_files()
    backwards = dict(reversed(files.items()))
    assert metainfo_of(backwards).encode() == metainfo_of(files).encode()
    assert isinstance(build("n", {}, LENGTH), Metainfo)


@given(st.data())
def test_a_torrent_that_was_tampered_with_is_refused_or_means_what_it_says(data: st.DataObject) -> None:
    content = bytearray(TORRENT.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        found = parse(bytes(content))
    except ValueError:
        return
    assert parse(found.encode()).files == found.files
    assert found.pieces == sum(-(-file.size // found.piece_length) for file in found.files)
    if found.info != TORRENT.info:
        assert found.infohash != TORRENT.infohash

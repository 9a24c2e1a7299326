"""Blocks come from files and chunk maps, and an answer ends when its files cannot have more."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from modelfetch.engine.skeletons import AGAIN_SECONDS
from modelfetch.errors import StoreError
from modelfetch.ipfs import car, dag_pb, unixfs
from modelfetch.ipfs.car import CarReader
from modelfetch.ipfs.cid import DAG_PB, RAW, SHA2_256, Cid, cid_of
from modelfetch.ipfs.dag_pb import Link, Node
from modelfetch.ipfs.directory_builder import build_tree
from modelfetch.ipfs.file_tree import FileTree
from modelfetch.ipfs.profiles import UNIXFS_V0_2015, UNIXFS_V1_2025
from modelfetch.ipfs.trustless_answer import MissingBlockError, answer
from modelfetch.ipfs.trustless_request import RequestError, parse_request
from modelfetch.lazy_dataclass import replace
from modelfetch.model.manifest import Manifest
from modelfetch.share import shared_blocks
from modelfetch.share.shared_blocks import MAPS_SECONDS, AnswerLimitError, OneAnswer, SharedBlocks
from modelfetch.share.shared_cache import SharedCache
from modelfetch.store import Disk, Store
from modelfetch.store.chunk_maps import one_chunk_cid
from tests.share.home import BIG, CONTENTS, MIB, Home, built, digest, model

T = TypeVar("T")

ROOT = built(BIG).root


def directory_of(contents: dict[str, bytes]) -> Cid:
    entries = []
    for path, content in contents.items():
        tree = built(content)
        entries.append((path, tree.root, tree.tsize))
    return build_tree(entries, UNIXFS_V1_2025).root


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


Get = Callable[..., Iterator[bytes]]


@pytest.fixture
def get(home: Home) -> Iterator[Get]:
    answers: list[OneAnswer] = []

    def send(target: str) -> Iterator[bytes]:
        cache = SharedCache(home.store)
        blocks = SharedBlocks(home.models().current(), home.store.chunk_maps)
        answers.append(OneAnswer(blocks, cache.find))
        return answers[-1].limited(answer(parse_request(f"/ipfs/{target}"), answers[-1].find).body)

    yield send
    for each in answers:
        each.close()


def content_of(pieces: Iterator[bytes]) -> bytes:
    """The leaves of a CAR file, one after the other."""
    reader = CarReader()
    return b"".join(block for piece in pieces for cid, block in reader.feed(piece) if cid.codec == RAW)


def with_directory(contents: dict[str, bytes] = CONTENTS) -> Manifest:
    return replace(model(contents=contents), ipfs_cid=directory_of(contents).text)


def test_a_file_of_several_chunks_is_a_car(home: Home, get: Get) -> None:
    home.place(model())
    assert content_of(get(f"{ROOT.text}?format=car")) == BIG


def test_a_range_of_it_has_only_its_blocks(home: Home, get: Get) -> None:
    home.place(model())
    found = get(f"{ROOT.text}?format=car&entity-bytes={MIB}:{MIB}")
    assert content_of(found) == BIG[MIB : 2 * MIB]


def test_its_blocks_are_found_one_by_one(home: Home, get: Get) -> None:
    home.place(model())
    cache, blocks = SharedCache(home.store), SharedBlocks(home.models().current(), home.store.chunk_maps)

    def raw(cid: Cid) -> bytes:
        one = OneAnswer(blocks, cache.find)
        try:
            return b"".join(answer(parse_request(f"/ipfs/{cid.text}?format=raw"), one.find).body)
        finally:
            one.close()

    links = dag_pb.decode(raw(ROOT)).links
    assert b"".join(raw(link.cid) for link in links) == BIG


@pytest.mark.parametrize("content", [b'{"a": 1}', b""])
def test_a_small_file_is_a_raw_block(home: Home, get: Get, content: bytes) -> None:
    home.place(model())
    assert b"".join(get(f"{one_chunk_cid(digest(content)).text}?format=raw")) == content


def test_a_directory_is_made_when_its_manifest_names_it(home: Home, get: Get) -> None:
    pinned = home.place(with_directory())
    assert content_of(get(f"{pinned.ipfs_cid}/onnx/model.onnx?format=car")) == BIG
    assert b"small" in content_of(get(f"{pinned.ipfs_cid}?format=car"))
    with pytest.raises(RequestError, match="no entry") as caught:
        get(f"{pinned.ipfs_cid}/onnx/other?format=car")
    assert caught.value.status == 404


def test_directories_and_trees_are_kept_within_one_limit(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_blocks, "TREE_BYTES", 5000)
    roots = []
    for number in range(4):
        contents = {f"d{number}/{name}": BIG + bytes([number]) for name in ("one", "two")}
        manifest = replace(model(f"m{number}", contents), ipfs_cid=directory_of(contents).text)
        roots.append(Cid.parse(home.place(manifest, contents).ipfs_cid or ""))
    blocks = SharedBlocks(home.models().current(), home.store.chunk_maps)
    below = []
    for root in (*roots, *roots):
        below.append(dag_pb.decode(blocks.node(root) or b"").links[0].cid)
        assert blocks.node(below[-1])
        assert blocks._size() <= 5000
    assert blocks.node(below[0]) is None


def test_a_directory_is_not_made_if_the_manifest_names_another(home: Home, get: Get) -> None:
    contents = {**CONTENTS, "more": b"1"}
    home.place(replace(model(), ipfs_cid=directory_of(contents).text))
    with pytest.raises(RequestError) as caught:
        get(f"{directory_of(contents).text}?format=car")
    assert caught.value.status == 404


def test_a_directory_without_a_manifest_is_not_here(home: Home, get: Get) -> None:
    home.place(model())
    with pytest.raises(RequestError, match="is not here"):
        get(f"{directory_of(CONTENTS).text}?format=car")


def test_what_no_manifest_pins_is_not_here(home: Home, get: Get) -> None:
    home.fetch(model())
    for cid in (ROOT, one_chunk_cid(digest(b"small"))):
        with pytest.raises(RequestError, match="is not here"):
            get(f"{cid.text}?format=raw")


def test_a_changed_file_breaks_the_answer(home: Home, get: Get) -> None:
    home.place(model())
    path = home.blob(BIG)
    changed = bytearray(BIG)
    changed[2 * MIB] ^= 1
    path.chmod(0o644)
    path.write_bytes(changed)
    # Its size is the same, but it is no longer the file of the receipt; hashed again, it is not verified.
    with pytest.raises((MissingBlockError, RequestError)):
        content_of(get(f"{ROOT.text}?format=car"))


def test_a_map_of_another_file_proves_nothing(home: Home, get: Get) -> None:
    other = bytes(reversed(BIG))
    home.place(model())
    home.store.chunk_maps.write(digest(BIG), built(other))
    with pytest.raises((MissingBlockError, RequestError)):
        content_of(get(f"{built(other).root.text}?format=car"))


class Followed:
    """The blocks of a cache whose chunk maps change, and cannot be read while ``error`` is set."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.now = 0.0
        self.error = 0
        """Number of the error that opening a chunk map gives."""
        self.opened = 0
        """How often a map was opened."""
        followed = self

        class BusyDisk(Disk):
            def perform(self, operation: str, path: Path, call: Callable[[], T]) -> T:
                if operation == "open" and path.suffix == ".car":
                    followed.opened += 1
                    if followed.error:
                        raise OSError(followed.error, os.strerror(followed.error))
                return super().perform(operation, path, call)

        home.place(model())
        self.maps = Store(home.cache, disk=BusyDisk()).chunk_maps
        self.blocks = SharedBlocks(home.models().current(), self.maps, lambda: self.now)

    def has(self, *cids: Cid) -> list[bool | None]:
        """Whether blocks are found, after some time; None if that cannot be said."""
        self.now += MAPS_SECONDS
        return [self._has(cid) for cid in cids]

    def _has(self, cid: Cid) -> bool | None:
        try:
            return self.blocks.file_with(cid, None) is not None
        except StoreError:
            return None


LEAF = one_chunk_cid(digest(BIG[:MIB]))


ERRORS = [(errno.EACCES, False), (errno.EMFILE, None), (errno.ESTALE, None)]
"""Errors, and whether there is a block as long as they occur: None for those that say nothing of files."""


@pytest.mark.parametrize("cid", [ROOT, LEAF])
@pytest.mark.parametrize(("error", "found"), ERRORS)
def test_a_map_that_cannot_be_read_now_is_read_later(
    home: Home, error: int, found: bool | None, cid: Cid
) -> None:
    followed = Followed(home)
    followed.error = error
    assert followed.has(cid, cid) == [found, found]
    followed.error = 0
    assert followed.has(cid) == [True]


@pytest.mark.parametrize("cid", [ROOT, LEAF])
@pytest.mark.parametrize(("error", "found"), ERRORS)
def test_a_map_that_can_no_longer_be_read_is_read_later(
    home: Home, error: int, found: bool | None, cid: Cid
) -> None:
    followed = Followed(home)
    assert followed.has(one_chunk_cid(digest(b"none")), LEAF) == [False, True]
    followed.blocks._trees.clear()  # as if other trees took their room
    followed.error = error
    assert followed.has(ROOT) == [found]
    followed.error = 0
    assert followed.has(cid) == [True]


@pytest.mark.parametrize("wrong", [b"", b"no map", car.header(ROOT)])
def test_a_damaged_map_that_was_replaced_is_read_again(home: Home, wrong: bytes) -> None:
    followed = Followed(home)
    path = home.cache / f"chunks/sha256/{digest(BIG)[:2]}/{digest(BIG)}.car"
    path.write_bytes(wrong)
    assert followed.has(ROOT, LEAF) == [False, False]
    followed.maps.write(digest(BIG), built(BIG))
    assert followed.has(ROOT, LEAF) == [True, True]


@pytest.mark.parametrize("wrong", [b"no map", car.header(ROOT)])
def test_a_damaged_map_is_not_read_for_each_request(home: Home, wrong: bytes) -> None:
    followed = Followed(home)
    (home.cache / f"chunks/sha256/{digest(BIG)[:2]}/{digest(BIG)}.car").write_bytes(wrong)
    followed.has(ROOT, LEAF)
    opened = followed.opened
    for _ in range(3):
        followed.has(ROOT, LEAF)
        followed.blocks.proven_table(digest(BIG))
    assert followed.opened == opened


def test_the_map_of_another_file_that_was_replaced_is_forgotten(home: Home) -> None:
    followed, other = Followed(home), built(bytes(reversed(BIG)))
    followed.maps.write(digest(BIG), other)
    assert followed.has(other.root, ROOT, LEAF) == [True, False, False]
    followed.maps.write(digest(BIG), built(BIG))
    assert followed.has(other.root, ROOT, LEAF) == [False, True, True]


def hostile(fan: int, depth: int) -> tuple[dict[str, bytes], Cid]:
    """Small files that are nodes which link to the next one many times."""
    contents, below = {"0": b"end"}, cid_of(b"end", RAW)
    for level in range(1, depth + 1):
        block = dag_pb.encode(Node(tuple(Link(below, b"", 1) for _ in range(fan)), None))
        contents[str(level)] = block
        below = cid_of(block, DAG_PB)
    return contents, below


@pytest.mark.slow
def test_repeated_blocks_end_the_answer(home: Home, get: Get) -> None:
    contents, root = hostile(40, 12)
    home.place(model(contents=contents), contents)
    sent: list[int] = []
    with pytest.raises(AnswerLimitError):
        sent.extend(map(len, get(f"{root.text}?format=car&car-dups=y")))
    assert sum(sent) < 8 * MIB


def test_without_duplicates_such_a_file_is_small(home: Home, get: Get) -> None:
    contents, root = hostile(40, 12)
    home.place(model(contents=contents), contents)
    assert len(b"".join(get(f"{root.text}?format=car"))) < 64_000


def test_a_file_of_zeros_may_repeat_its_leaf(home: Home, get: Get) -> None:
    zeros = {"zeros": bytes(5 * MIB)}
    home.place(model(contents=zeros), zeros)
    assert len(content_of(get(f"{built(zeros['zeros']).root.text}?format=car&car-dups=y"))) == 5 * MIB


def test_a_manifest_alone_tells_which_file_is_meant(home: Home) -> None:
    pinned = home.pin(with_directory())
    blocks = SharedBlocks(home.models().current(), home.store.chunk_maps)
    directory = Cid.parse(pinned.ipfs_cid or "")
    found = blocks.pinned(directory, (b"onnx", b"model.onnx"))
    assert found is not None
    assert found.file.sha256 == digest(BIG)
    assert blocks.pinned(directory, (b"..", b"model.onnx")) is None
    assert blocks.pinned(directory, (b"\xff",)) is None
    small = blocks.pinned(one_chunk_cid(digest(b"small")), ())
    assert small is not None
    assert small.file.path == "onnx/q4/model.onnx"
    assert blocks.pinned(Cid(1, RAW, SHA2_256, bytes(32)), ()) is None


def test_descriptors_are_closed(home: Home) -> None:
    home.place(model())
    one = OneAnswer(
        SharedBlocks(home.models().current(), home.store.chunk_maps), SharedCache(home.store).find
    )
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert one.find(ROOT)
    one.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# Other profiles


def old_profile(home: Home, *, skeleton: bool = True) -> tuple[Manifest, dict[str, Any]]:
    """A model with CIDs as kubo makes them, and the trees of its files."""
    trees = {}
    for path, content in CONTENTS.items():
        tree = FileTree(UNIXFS_V0_2015)
        for start in range(0, len(content), UNIXFS_V0_2015.chunk_size):
            tree.add_chunk(content[start : start + UNIXFS_V0_2015.chunk_size])
        trees[path] = tree.finish()
    directory = build_tree([(path, tree.root, tree.tsize) for path, tree in trees.items()], UNIXFS_V0_2015)
    files = tuple(replace(file, cid=trees[file.path].root.text) for file in model().files)
    pinned = home.place(replace(model(), files=files, ipfs_cid=directory.root.text))
    if skeleton:
        nodes = [node for tree in trees.values() for node in tree.nodes]
        sections = [car.section(cid, block) for cid, block in (*nodes, *directory.nodes)]
        content = b"".join((car.header(directory.root), *sections))
        (home.catalog / "tiny.skeleton.car").write_bytes(content)
    return pinned, trees


def file_in(pieces: Iterator[bytes], root: Cid) -> bytes:
    """The file that a CAR file has, read by its tree."""
    reader = CarReader()
    blocks = {cid.multihash: block for piece in pieces for cid, block in reader.feed(piece)}

    def content(cid: Cid) -> bytes:
        if cid.codec == RAW:
            return blocks[cid.multihash]
        node = dag_pb.decode(blocks[cid.multihash])
        return (unixfs.file_message(node).data or b"") + b"".join(content(link.cid) for link in node.links)

    return content(root)


@pytest.mark.slow
def test_a_skeleton_gives_trees_of_another_profile(home: Home, get: Get) -> None:
    pinned, trees = old_profile(home)
    for path, content in CONTENTS.items():
        root = trees[path].root
        assert file_in(get(f"{root.text}?format=car"), root) == content
        assert file_in(get(f"{pinned.ipfs_cid}/{path}?format=car&dag-scope=entity"), root) == content
    assert b"".join(get(f"{pinned.ipfs_cid}?format=car&dag-scope=entity"))
    with pytest.raises(RequestError, match="no entry"):
        get(f"{pinned.ipfs_cid}/other?format=car")


def test_without_the_skeleton_only_files_of_one_leaf_are_found(home: Home, get: Get) -> None:
    pinned, trees = old_profile(home, skeleton=False)
    root = trees["config.json"].root
    assert file_in(get(f"{root.text}?format=car"), root) == CONTENTS["config.json"]
    for cid in (trees["onnx/model.onnx"].root.text, pinned.ipfs_cid):
        with pytest.raises(RequestError, match="is not here"):
            get(f"{cid}?format=car")


def test_a_damaged_skeleton_is_as_good_as_none(home: Home, get: Get) -> None:
    pinned, _ = old_profile(home)
    path = home.catalog / "tiny.skeleton.car"
    path.write_bytes(path.read_bytes()[:-5] + b"wrong")
    with pytest.raises(RequestError, match="is not here"):
        get(f"{pinned.ipfs_cid}?format=car")


def test_a_leaf_is_found_without_its_root(home: Home, get: Get) -> None:
    home.place(model())
    leaf = one_chunk_cid(digest(BIG[2 * MIB : 3 * MIB]))
    assert b"".join(get(f"{leaf.text}?format=raw")) == BIG[2 * MIB : 3 * MIB]


def test_a_skeleton_that_cannot_be_read_now_is_read_later(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned, _ = old_profile(home)
    cid, clock, real = Cid.parse(pinned.ipfs_cid or ""), [0.0], os.open
    blocks = SharedBlocks(home.models().current(), home.store.chunk_maps, lambda: clock[0])

    def busy(path: Any, *arguments: Any, **named: Any) -> int:
        if os.fsdecode(path).endswith(".skeleton.car"):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", busy)
        assert blocks.node(cid) is None
    clock[0] = AGAIN_SECONDS
    assert blocks.node(cid) is not None

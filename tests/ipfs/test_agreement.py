"""Other tools compute the same CIDs, read our CAR files and answers, and write some that we read.

Each tool is skipped where it is not installed: see :mod:`tests.ipfs.other_tools`. Larger files take minutes:
``python -m tests.campaign ipfs_agreement``.
"""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfetch.ipfs import car
from modelfetch.ipfs.car import CarReader
from modelfetch.ipfs.cid import Cid
from modelfetch.ipfs.dag_pb import Link
from modelfetch.ipfs.directory_builder import BuiltDirectory, build_directory, build_tree
from modelfetch.ipfs.errors import MalformedError
from modelfetch.ipfs.profiles import UNIXFS_V0_2015, UNIXFS_V1_2025, Profile
from tests.ipfs.other_tools import KUBO_V1, TOOLS, Tool, has_module, import_with_npm, ipfs_car
from tests.ipfs.random_files import (
    FULL_NODE,
    LARGE_CHUNK,
    SMALL_CHUNK,
    SMALL_SIZES,
    OnDisk,
    build,
    is_proven,
    random_sizes,
    write_files,
)

SIZES = [*SMALL_SIZES, FULL_NODE, FULL_NODE + 1, *random_sizes("agreement", 4, 10_000_000)]
CAR_SIZES = [0, SMALL_CHUNK + 1, LARGE_CHUNK, 3_000_000]
FILES = {
    "config.json": 300,
    "model.onnx": 2_500_000,
    "empty": 0,
    "tokenizer/vocab.txt": 1000,
    "tokenizer/ä/b": 1,
}
PROFILES = (UNIXFS_V1_2025, UNIXFS_V0_2015)

pytestmark = pytest.mark.slow
needs_ipfs_car = pytest.mark.skipif(not has_module("ipfs-car"), reason="ipfs-car is not installed")
needs_importer = pytest.mark.skipif(
    not has_module("ipfs-unixfs-importer"), reason="ipfs-unixfs-importer is not installed"
)


def profile_ids(profile: Profile) -> str:
    return profile.name


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return list(write_files(tmp_path_factory.mktemp("files"), SIZES))


@pytest.mark.parametrize(
    "tool",
    [
        pytest.param(
            tool,
            id=tool.name,
            # A mark, because it skips before the files are written.
            marks=pytest.mark.skipif(not tool.is_here, reason=f"{tool.name} is not installed"),
        )
        for tool in TOOLS
    ],
)
def test_cids_of_files(files: list[Path], tool: Tool) -> None:
    ours = [build(path, tool.profile).root.text for path in files]
    assert dict(zip(SIZES, tool.roots(files), strict=True)) == dict(zip(SIZES, ours, strict=True))


@pytest.fixture(params=CAR_SIZES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return next(write_files(tmp_path, [request.param]))


@needs_ipfs_car
@pytest.mark.parametrize("profile", PROFILES, ids=profile_ids)
def test_a_car_file_of_ours_is_unpacked(path: Path, profile: Profile, tmp_path: Path) -> None:
    written = tmp_path / "ours.car"
    written.write_bytes(b"".join(OnDisk(path, profile).car()))
    ipfs_car("unpack", written, "--output", tmp_path / "unpacked")
    assert (tmp_path / "unpacked").read_bytes() == path.read_bytes()


@needs_ipfs_car
@pytest.mark.parametrize(
    ("profile", "query"),
    [(UNIXFS_V1_2025, "format=car"), (UNIXFS_V0_2015, "format=car&dag-scope=entity&car-dups=y")],
    ids=["once", "with duplicates"],
)
def test_an_answer_of_ours_is_unpacked(path: Path, profile: Profile, query: str, tmp_path: Path) -> None:
    body = b"".join(OnDisk(path, profile).answer(query))
    ipfs_car("unpack", "--output", tmp_path / "unpacked", given=body)
    assert (tmp_path / "unpacked").read_bytes() == path.read_bytes()


@needs_ipfs_car
def test_a_car_file_of_theirs_is_read(path: Path, tmp_path: Path) -> None:
    written = tmp_path / "theirs.car"
    root = Cid.parse(ipfs_car("pack", "--no-wrap", path, "--output", written).split()[-1])
    reader = CarReader()
    blocks = {cid.multihash: block for cid, block in reader.feed(written.read_bytes())}
    reader.finish()
    assert is_proven(path, root, blocks)


@needs_ipfs_car
def test_a_changed_car_file_is_rejected_by_both(tmp_path: Path) -> None:
    [path] = write_files(tmp_path, [LARGE_CHUNK + 1])
    changed = bytearray(b"".join(OnDisk(path, UNIXFS_V1_2025).car()))
    changed[500_000] ^= 1
    with pytest.raises(subprocess.CalledProcessError):
        ipfs_car("unpack", "--output", tmp_path / "unpacked", given=bytes(changed))
    with pytest.raises(MalformedError, match="does not match"):
        list(CarReader().feed(bytes(changed)))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("directory") / "model"
    for name, size in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        [written] = write_files(root.parent, [size])
        written.rename(root / name)
    return root


def built_directory(root: Path, profile: Profile) -> BuiltDirectory:
    built = {name: build(root / name, profile) for name in FILES}
    return build_tree([(name, each.root, each.tsize) for name, each in built.items()], profile)


@needs_importer
@pytest.mark.parametrize("profile", PROFILES, ids=profile_ids)
def test_directories_of_the_importer(directory: Path, profile: Profile) -> None:
    [theirs] = import_with_npm(profile, [[(directory / name, name) for name in FILES]])
    assert theirs == built_directory(directory, profile).root.text


@needs_importer
@pytest.mark.parametrize(
    ("profile", "count", "length", "is_sharded"),
    [
        (UNIXFS_V1_2025, 4766, 11, False),
        (UNIXFS_V1_2025, 4790, 11, True),
        (UNIXFS_V0_2015, 4032, 31, False),
        (UNIXFS_V0_2015, 4034, 31, True),
    ],
)
def test_directories_near_the_size_of_shards(
    tmp_path: Path, profile: Profile, count: int, length: int, is_sharded: bool
) -> None:
    [path] = write_files(tmp_path, [1])
    names = [f"{index:0{length}x}" for index in range(count)]
    [theirs] = import_with_npm(profile, [[(path, name) for name in names]])
    file = build(path, profile)
    ours = build_directory([Link(file.root, name.encode(), file.tsize) for name in names], profile)
    assert (theirs, is_sharded) == (ours.root.text, len(ours.nodes) > 1)


@pytest.mark.parametrize(("version", "profile"), [(0, UNIXFS_V0_2015), (1, KUBO_V1)])
def test_directories_of_aleph_cid(directory: Path, version: int, profile: Profile) -> None:
    if not any(tool.is_here for tool in TOOLS if tool.name.startswith("aleph-cid")):
        pytest.skip("aleph-cid is not installed")
    theirs = importlib.import_module("aleph_cid").hash_folder(str(directory), cid_version=version)
    assert theirs == built_directory(directory, profile).root.text


@needs_ipfs_car
def test_directories_of_ipfs_car(directory: Path, tmp_path: Path) -> None:
    """Packed by them and read by us; of ours, unpacked by them."""
    theirs = ipfs_car("pack", directory, "--output", tmp_path / "theirs.car").split()[-1]
    ours = built_directory(directory, UNIXFS_V1_2025)
    assert theirs == ours.root.text
    written = tmp_path / "ours.car"
    written.write_bytes(b"".join(_car_of_directory(directory, ours)))
    ipfs_car("unpack", written, "--output", tmp_path / "unpacked")
    for name in FILES:
        assert (tmp_path / "unpacked" / name).read_bytes() == (directory / name).read_bytes()


def _car_of_directory(directory: Path, built: BuiltDirectory) -> Iterator[bytes]:
    yield car.header(built.root)
    for cid, block in built.nodes:
        yield car.section(cid, block)
    for name in FILES:
        _, *sections = OnDisk(directory / name, UNIXFS_V1_2025).car()
        yield from sections

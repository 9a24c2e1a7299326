"""CIDs of files and directories on a disk: what is in a directory, known vectors, and what is refused."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelfetch import threads
from modelfetch.errors import StoreError, UsageError
from modelfetch.ipfs.file_tree import FileTree
from modelfetch.ipfs.profiles import PROFILES, UNIXFS_V0_2015, UNIXFS_V1_2025, Profile
from modelfetch.publish import tree_hashing
from modelfetch.publish.disk_cids import DiskCids, PathCid
from modelfetch.publish.tree_hashing import BLOCK, HashingPool, hash_file, hash_pieces
from tests.e2e.command import InProcess, assert_fails

HELLO_V0 = "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD"
HELLO_V1 = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
EMPTY_DIRECTORY = {
    UNIXFS_V0_2015.name: "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn",
    UNIXFS_V1_2025.name: "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354",
}


def computed(path: Path, profile: Profile = UNIXFS_V1_2025) -> PathCid:
    with HashingPool() as pool:
        return DiskCids(profile, pool).compute(path)


@pytest.mark.parametrize(("profile", "cid"), [(UNIXFS_V0_2015, HELLO_V0), (UNIXFS_V1_2025, HELLO_V1)])
def test_small_files_have_the_known_cids(tmp_path: Path, profile: Profile, cid: str) -> None:
    (tmp_path / "hello").write_bytes(b"hello world")
    assert computed(tmp_path / "hello", profile).cid.text == cid


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_an_empty_directory_has_the_known_cid(tmp_path: Path, profile: Profile) -> None:
    assert computed(tmp_path, profile).cid.text == EMPTY_DIRECTORY[profile.name]


def test_a_directory_with_a_link_has_the_cid_that_kubo_gave_it(tmp_path: Path) -> None:
    """The fixture ``path_gateway_unixfs/symlink.car`` of gateway-conformance."""
    (tmp_path / "foo").write_bytes(b"content\n")
    (tmp_path / "bar").symlink_to("foo")
    found = computed(tmp_path, UNIXFS_V0_2015)
    assert found.cid.text == "QmWvY6FaqFMS89YAQ9NAPjVP4WZKA1qbHbicc9HeSKQTgt"
    assert (found.kind, found.size, found.links) == ("directory", 8, 1)


def test_hidden_entries_are_left_out_and_empty_directories_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    before = computed(tmp_path)
    (tmp_path / ".hidden").write_bytes(b"b")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_bytes(b"c")
    assert computed(tmp_path) == before
    (tmp_path / "empty").mkdir()
    assert computed(tmp_path).cid != before.cid


def test_a_path_that_is_hidden_or_a_link_is_read(tmp_path: Path) -> None:
    (tmp_path / ".hello").write_bytes(b"hello world")
    (tmp_path / "link").symlink_to(".hello")
    assert computed(tmp_path / ".hello").cid.text == HELLO_V1
    assert computed(tmp_path / "link").cid.text == HELLO_V1


def test_names_that_are_no_text_are_kept_as_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe.bin")
    (tmp_path / name).write_bytes(b"a")
    assert computed(tmp_path).size == 1


@pytest.mark.parametrize("make", ["fifo", "dangling"])
def test_what_is_no_file_is_refused(tmp_path: Path, make: str) -> None:
    path = tmp_path / "thing"
    os.mkfifo(path) if make == "fifo" else path.symlink_to("nowhere")
    with pytest.raises(UsageError if make == "fifo" else StoreError, match="thing"):
        computed(path)
    if make == "fifo":
        with pytest.raises(UsageError, match="thing"):
            computed(tmp_path)


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("threads", [0, 1, 3])
def test_pieces_of_any_size_give_the_tree_of_the_file(profile: Profile, threads: int) -> None:
    data = random.Random(13).randbytes(2 * BLOCK + 7)
    expected = FileTree(profile)
    for start in range(0, len(data), profile.chunk_size):
        expected.add_chunk(data[start : start + profile.chunk_size])
    root = expected.finish().root
    for size in (len(data), BLOCK, BLOCK + 1, 300_001):
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        with HashingPool(threads) as pool:
            found = hash_pieces(pieces, profile, pool, whole=True)
        assert found.tree.root == root
        assert found.tree.size == len(data)
        assert found.sha256 == hashlib.sha256(data).hexdigest()


def test_few_chunks_wait_for_a_slow_thread() -> None:
    """However large the file is."""
    waiting = list[Any]()

    class Slow(HashingPool):
        def submit(self, chunk: bytes | memoryview, profile: Profile) -> Any:
            job = Job(chunk, profile)
            waiting.append(job)
            return job

    class Job(tree_hashing._Job):
        def digest(self) -> bytes:
            waiting.remove(self)
            self.run()
            return super().digest()

    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            assert len(waiting) <= 2 * tree_hashing._AHEAD + 1
            yield bytes(UNIXFS_V0_2015.chunk_size)

    with Slow(2) as pool:
        hashed = hash_pieces(pieces(), UNIXFS_V0_2015, pool)
    assert hashed.tree.size == 100 * UNIXFS_V0_2015.chunk_size


def test_without_threads_the_reader_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "start", lambda *_: None)
    with HashingPool() as pool:
        assert hash_pieces([b"hello world"], UNIXFS_V1_2025, pool).tree.root.text == HELLO_V1


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "growing"
    path.write_bytes(b"a" * BLOCK)

    def grow(_: int) -> None:
        if path.stat().st_size == BLOCK:
            with path.open("ab") as file:
                file.write(b"b")

    with HashingPool() as pool, pytest.raises(StoreError, match="changed while it was read"):
        hash_file(path, UNIXFS_V1_2025, pool, progress=grow)


# The command


@pytest.fixture
def cli(tmp_path: Path) -> InProcess:
    cli = InProcess(tmp_path / "machine")
    (cli.work / "m").mkdir()
    (cli.work / "m" / "hello").write_bytes(b"hello world")
    return cli


def test_the_command_prints_a_line_for_each_path(cli: InProcess) -> None:
    result = cli("cid", "m/hello", "m", "m/hello")
    assert result.code == 0, result.err
    directory = computed(cli.work / "m").cid.text
    assert result.lines == [f"{HELLO_V1}  m/hello", f"{directory}  m", f"{HELLO_V1}  m/hello"]
    assert cli("cid", "m/hello", "--profile", "unixfs-v0-2015").lines == [f"{HELLO_V0}  m/hello"]


def test_the_command_prints_json(cli: InProcess) -> None:
    (cli.work / "m" / "link").symlink_to("hello")
    document = cli("cid", "m/hello", "m", "--json").document
    assert document["profile"] == "unixfs-v1-2025"
    file, directory = document["paths"]
    assert file == {"path": "m/hello", "kind": "file", "cid": HELLO_V1, "size": 11, "blocks_size": 11}
    assert (directory["kind"], directory["size"]) == ("directory", 11)


def test_links_that_are_kept_are_noted(cli: InProcess) -> None:
    (cli.work / "m" / "link").symlink_to("hello")
    assert cli("cid", "m").stderr_lines("1 symbolic link was kept")
    assert cli("cid", "m", "--quiet").err == ""


def test_what_cannot_be_read_ends_the_command_after_what_was_printed(cli: InProcess) -> None:
    result = cli("cid", "m/hello", "nowhere")
    assert_fails(result, 7, "nowhere", "Check the path.")
    assert result.lines == [f"{HELLO_V1}  m/hello"]
    assert_fails(cli("cid", ""), 2, "PATH is empty")
    os.mkfifo(cli.work / "m" / "pipe")
    assert_fails(cli("cid", "m/pipe"), 2, "Give a file or a directory.")
    assert_fails(cli("cid", "m"), 2, "Move it out of the directory.")

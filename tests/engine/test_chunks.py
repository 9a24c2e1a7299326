"""Files whose chunks are known: sources are checked chunk by chunk, and good chunks are not fetched twice."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from modelfetch.engine.events import (
    FileCommitted,
    FileQuarantined,
    FileVerified,
    ModelReady,
    Planned,
    SourceFailed,
)
from modelfetch.engine.sampling import chance
from modelfetch.engine.segments import SplitPolicy
from modelfetch.ipfs import car
from modelfetch.ipfs.file_tree import Built, FileTree
from modelfetch.ipfs.profiles import UNIXFS_V1_2025
from modelfetch.model.manifest import Manifest
from modelfetch.store import Store
from modelfetch.store.hashing import Hashing
from modelfetch.store.partial import Partial
from tests.engine.fakes import (
    EAGER,
    MIB,
    OK,
    Answer,
    FakeOffer,
    Laboratory,
    body,
    code,
    cut,
    flipped,
    kinds,
    last,
    model,
    of,
)
from tests.patience import IN_TIME
from tests.server.running import until

SIZE = 8 * MIB + 12_345
CONTENT = body(SIZE)
CHUNKS = 9


def built(content: bytes) -> Built:
    tree = FileTree(UNIXFS_V1_2025)
    for at in range(0, len(content), MIB):
        tree.add_chunk(content[at : at + MIB])
    return tree.finish()


BUILT = built(CONTENT)
UNPROVEN = model("m", {"f.bin": CONTENT})
"""The manifest has no CID: a chunk map is only a hint."""


def pinned(manifest: Manifest, cid: str) -> Manifest:
    return replace(manifest, files=(replace(manifest.files[0], cid=cid),))


PROVEN = pinned(UNPROVEN, BUILT.root.text)


def sha(manifest: Manifest) -> str:
    return manifest.files[0].sha256


@pytest.fixture
def known(lab: Laboratory) -> Laboratory:
    """A cache that has the chunk map of the file, and nothing else."""
    lab.store.chunk_maps.write(sha(PROVEN), BUILT)
    return lab


def lying(content: bytes, *chunks: int) -> Answer:
    """The bytes of a file with one bit wrong in some of its chunks."""
    for chunk in chunks:
        content = flipped(content, chunk * MIB + 77)
    return Answer(sends=content)


# Several sources


def test_a_wrong_chunk_costs_one_chunk_and_its_source(known: Laboratory) -> None:
    liar = known.serve(CONTENT, lying(CONTENT, 3), host="liar.example")
    honest = known.serve(CONTENT, host="honest.example")
    events = known.ensure(PROVEN)
    assert code(events) == 0
    assert known.read(PROVEN, "f.bin") == CONTENT
    (failed,) = of(events, SourceFailed)
    assert (failed.host, failed.fault) == ("liar.example", "hash")
    assert "3.0-4.0 MiB" in failed.reason
    assert liar.asked == [0]
    assert honest.asked == [3 * MIB]
    assert SIZE <= of(events, FileCommitted)[0].fetched <= SIZE + MIB
    assert not of(events, FileQuarantined)


@pytest.mark.slow
def test_three_sources_feed_a_file_at_once_and_the_liar_is_blamed(known: Laboratory) -> None:
    content = body(15 * MIB, 3)
    tree = built(content)
    manifest = pinned(model("big", {"f.bin": content}), tree.root.text)
    known.store.chunk_maps.write(sha(manifest), tree)
    offers: list[FakeOffer] = []

    def wait_for_all() -> None:
        until(lambda: all(offer.asked for offer in offers))

    for name, answer in {"liar": lying(content, *range(15)), "second": OK, "third": OK}.items():
        together = replace(answer, before_piece=wait_for_all)
        offers.append(known.serve(content, together, host=f"{name}.example"))
    policy = SplitPolicy(
        connections=6, min_size=0, min_part=MIB, min_remainder=2 * MIB, max_delay=0.0, fast_speed=1e15
    )
    events = known.ensure(manifest, runtime=known.runtime(split_policy=policy))
    assert code(events) == 0
    assert known.read(manifest, "f.bin") == content
    assert {failed.host for failed in of(events, SourceFailed)} == {"liar.example"}


@pytest.mark.slow
def test_a_liar_on_a_further_connection_is_reported_and_left(known: Laboratory) -> None:
    gate = threading.Event()
    slow = Answer(piece=MIB, before_piece=lambda: gate.wait(IN_TIME))
    honest = known.serve(CONTENT, slow, host="honest.example")
    liar = known.serve(
        CONTENT, replace(lying(CONTENT, *range(CHUNKS)), before_piece=gate.set), host="liar.example"
    )
    events = known.ensure(PROVEN, runtime=known.runtime(split_policy=EAGER))
    assert code(events) == 0
    assert known.read(PROVEN, "f.bin") == CONTENT
    (failed,) = of(events, SourceFailed)
    assert (failed.host, failed.fault, failed.next_source) == ("liar.example", "hash", "mirror")
    assert liar.asked
    assert 0 in honest.asked


@pytest.mark.parametrize("policy", [None, EAGER], ids=["one connection", "several"])
def test_a_source_that_lies_alone_is_no_source(known: Laboratory, policy: SplitPolicy | None) -> None:
    known.serve(CONTENT, lying(CONTENT, 3))
    events = known.ensure(PROVEN, runtime=known.runtime(split_policy=policy))
    assert code(events) == 5
    assert "3.0-4.0 MiB" in str(last(events).error)


def test_a_source_that_is_cut_in_a_chunk_is_continued_where_it_was_cut(known: Laboratory) -> None:
    offer = known.serve(CONTENT, cut(until=3 * MIB + 500_000), OK)
    events = known.ensure(PROVEN)
    assert code(events) == 0
    assert offer.asked == [0, 3 * MIB + 500_000]
    assert of(events, FileCommitted)[0].fetched == SIZE
    assert known.read(PROVEN, "f.bin") == CONTENT


def test_a_source_without_ranges_is_checked_too(known: Laboratory) -> None:
    known.serve(CONTENT, cut(until=2 * MIB), replace(lying(CONTENT, 1), whole=True), host="liar.example")
    known.serve(CONTENT, Answer(whole=True), host="honest.example")
    events = known.ensure(PROVEN)
    assert code(events) == 0
    assert known.read(PROVEN, "f.bin") == CONTENT


# Maps that are wrong


def test_a_map_that_nothing_proves_is_dropped_where_a_source_disagrees(lab: Laboratory) -> None:
    lab.store.chunk_maps.write(sha(UNPROVEN), built(flipped(CONTENT, 4 * MIB + 5)))
    offer = lab.serve(CONTENT)
    events = lab.ensure(UNPROVEN)
    assert code(events) == 0
    assert offer.asked == [0]
    assert lab.read(UNPROVEN, "f.bin") == CONTENT


def test_a_map_that_the_manifest_does_not_pin_blames_nobody(lab: Laboratory) -> None:
    lab.store.chunk_maps.write(sha(PROVEN), built(flipped(CONTENT, 4 * MIB + 5)))
    lab.serve(CONTENT)
    events = lab.ensure(PROVEN)
    assert code(events) == 0
    assert not of(events, SourceFailed)


@pytest.mark.slow
def test_a_cid_and_a_sha256_of_different_files_are_a_fault_of_the_manifest(lab: Laboratory) -> None:
    other = flipped(CONTENT, 4 * MIB + 5)
    manifest = pinned(UNPROVEN, built(other).root.text)
    lab.store.chunk_maps.write(sha(manifest), built(other))
    lab.serve(CONTENT, lying(CONTENT, 0))
    lab.serve(CONTENT, Answer(sends=other), host="b.example")
    events = lab.ensure(manifest)
    assert code(events) == 5
    assert "contradict" in str(last(events).error)


# A skeleton beside the manifest


def beside(tmp_path: Path, tree: Built) -> Manifest:
    """A manifest whose skeleton has the nodes of a tree."""
    path = tmp_path / "m.skeleton.car"
    path.write_bytes(car.header(tree.root) + b"".join(car.section(*node) for node in tree.nodes))
    return replace(PROVEN, skeleton=str(path))


def test_a_skeleton_proves_the_chunks_before_the_first_byte(lab: Laboratory, tmp_path: Path) -> None:
    liar = lab.serve(CONTENT, lying(CONTENT, 3), host="liar.example")
    honest = lab.serve(CONTENT, host="honest.example")
    manifest = beside(tmp_path, BUILT)
    events = lab.ensure(manifest)
    assert code(events) == 0
    assert lab.read(manifest, "f.bin") == CONTENT
    assert (liar.asked, honest.asked) == ([0], [3 * MIB])


def test_the_table_of_a_skeleton_becomes_the_chunk_map_of_the_file(lab: Laboratory, tmp_path: Path) -> None:
    """Here the chunks are not hashed along with the file, as where hashing is the bottleneck."""
    lab.store = Store(lab.root, fsync=False, hashing=Hashing(), chunk_maps="auto")
    lab.serve(CONTENT)
    events = lab.ensure(beside(tmp_path, BUILT))
    assert of(events, FileCommitted)[0].cid == BUILT.root.text
    table = lab.store.chunk_maps.read(sha(PROVEN), SIZE)
    assert table is not None
    assert table.root == BUILT.root


@pytest.mark.slow
def test_a_skeleton_serves_verification_too(lab: Laboratory, tmp_path: Path) -> None:
    manifest = beside(tmp_path, BUILT)
    lab.install(manifest, contents=[CONTENT])
    lab.store.chunk_maps.remove(sha(manifest))
    assert not of(lab.verify(manifest, sample=1), FileVerified)
    damage(lab.place(manifest, "f.bin"), 2 * MIB)
    (failed,) = of(lab.verify(manifest), SourceFailed)
    assert failed.ranges == ((2 * MIB, 3 * MIB),)


@pytest.mark.quick(1)
@pytest.mark.parametrize("content", [b"", b"\0" * 100, body(5000)], ids=["empty", "zeros", "garbage"])
def test_a_damaged_skeleton_is_as_good_as_none(lab: Laboratory, tmp_path: Path, content: bytes) -> None:
    manifest = beside(tmp_path, BUILT)
    Path(str(manifest.skeleton)).write_bytes(content)
    lab.serve(CONTENT)
    assert code(lab.ensure(manifest)) == 0


def test_a_skeleton_of_other_files_is_as_good_as_none(lab: Laboratory, tmp_path: Path) -> None:
    manifest = beside(tmp_path, built(body(SIZE, 5)))
    lab.serve(CONTENT)
    events = lab.ensure(manifest)
    assert code(events) == 0
    assert not of(events, SourceFailed)


def test_verify_names_the_damaged_ranges_by_the_skeleton(lab: Laboratory, tmp_path: Path) -> None:
    lab.install(PROVEN, contents=[CONTENT])
    lab.store.chunk_maps.remove(sha(PROVEN))
    damage(lab.place(PROVEN, "f.bin"), 2 * MIB)
    (failed,) = of(lab.verify(beside(tmp_path, BUILT)), SourceFailed)
    assert failed.ranges == ((2 * MIB, 3 * MIB),)


# What is there already


def test_wrong_bytes_of_an_earlier_run_cost_their_chunks_only(known: Laboratory) -> None:
    wrong = flipped(CONTENT, 2 * MIB + 9)[: 3 * MIB]
    known.begin(CONTENT, "mirror earlier.example", 5 * MIB + 400_000, wrong)
    offer = known.serve(CONTENT)
    events = known.ensure(PROVEN)
    assert code(events) == 0
    assert known.read(PROVEN, "f.bin") == CONTENT
    assert sorted(offer.asked) == [2 * MIB, 5 * MIB + 400_000]


@pytest.mark.quick(1)
@pytest.mark.parametrize("manifest", [PROVEN, UNPROVEN], ids=["proven", "hint"])
def test_a_repair_fetches_the_damaged_chunk_only(known: Laboratory, manifest: Manifest) -> None:
    known.install(manifest, contents=[CONTENT])
    known.store.chunk_maps.write(sha(manifest), BUILT)
    damage(known.place(manifest, "f.bin"), 6 * MIB + 3)
    offer = known.serve(CONTENT)
    events = known.verify(manifest, repair=True)
    assert code(events) == 0
    assert known.read(manifest, "f.bin") == CONTENT
    assert offer.asked == [6 * MIB]
    committed = of(events, FileCommitted)[0]
    assert committed.fetched == MIB
    assert committed.reused == SIZE - MIB
    assert of(events, ModelReady)[0].reused == SIZE - MIB
    assert known.quarantined() == [flipped(CONTENT, 6 * MIB + 3)]


def test_a_file_cut_short_is_completed(known: Laboratory) -> None:
    known.install(PROVEN, contents=[CONTENT])
    known.store.chunk_maps.write(sha(PROVEN), BUILT)
    path = known.place(PROVEN, "f.bin")
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.truncate(3 * MIB + 5)
    offer = known.serve(CONTENT)
    events = known.verify(PROVEN, repair=True)
    assert code(events) == 0
    assert offer.asked == [3 * MIB]
    assert kinds(events)[2:4] == ["file_started", "source_failed"]  # its chunks are read in between
    assert known.read(PROVEN, "f.bin") == CONTENT


@pytest.mark.slow
def test_chunks_of_an_older_version_are_copied(lab: Laboratory) -> None:
    new = body(MIB, 9) + CONTENT[:MIB] + CONTENT[MIB : 5 * MIB] + body(MIB, 10) + CONTENT[6 * MIB :]
    older, tree = replace(UNPROVEN, version="0"), built(new)
    lab.install(older, contents=[CONTENT])
    lab.store.chunk_maps.write(sha(older), BUILT)
    newer = pinned(model("m", {"f.bin": new}), tree.root.text)
    lab.store.chunk_maps.write(sha(newer), tree)
    lab.serve(new)
    events = lab.ensure(newer)
    assert code(events) == 0
    assert lab.read(newer, "f.bin") == new
    committed = of(events, FileCommitted)[0]
    assert committed.reused == len(new) - 2 * MIB
    (planned,) = of(events, Planned)
    assert planned.files[0].reused == committed.reused
    assert planned.missing == len(new) - committed.reused


@pytest.mark.slow
def test_the_space_for_copies_is_checked_before_the_first(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = body(MIB, 9) + CONTENT[MIB:]
    older, tree = replace(UNPROVEN, version="0"), built(new)
    lab.install(older, contents=[CONTENT])
    lab.store.chunk_maps.write(sha(older), BUILT)
    newer = pinned(model("m", {"f.bin": new}), tree.root.text)
    lab.store.chunk_maps.write(sha(newer), tree)
    lab.serve(new)
    asked: list[int] = []
    monkeypatch.setattr(Store, "check_space", lambda _, needed, **_options: asked.append(needed))
    monkeypatch.setattr(Partial, "clone_chunk", lambda *_: False)
    assert code(lab.ensure(newer)) == 0
    assert asked == [MIB, SIZE]


# Verification


def test_verify_names_the_damaged_ranges(known: Laboratory) -> None:
    known.install(UNPROVEN, contents=[CONTENT])
    known.store.chunk_maps.write(sha(UNPROVEN), BUILT)
    for at in (2 * MIB, 3 * MIB, 8 * MIB + 7):
        damage(known.place(UNPROVEN, "f.bin"), at)
    events = known.verify(UNPROVEN)
    assert code(events) == 5
    (failed,) = of(events, SourceFailed)
    assert failed.ranges == ((2 * MIB, 4 * MIB), (8 * MIB, SIZE))
    assert failed.reason.endswith("wrong at 2.0-4.0 MiB, 8.0-8.1 MiB")
    assert last(events).files[0].ranges == failed.ranges


@pytest.mark.slow
def test_a_map_of_another_file_names_no_ranges(lab: Laboratory) -> None:
    lab.install(UNPROVEN, contents=[CONTENT])
    lab.store.chunk_maps.write(sha(UNPROVEN), built(body(SIZE, 5)))
    damage(lab.place(UNPROVEN, "f.bin"), 0)
    (failed,) = of(lab.verify(UNPROVEN), SourceFailed)
    assert failed.ranges == ()


@pytest.mark.slow
def test_a_sample_reads_some_chunks_of_each_file(known: Laboratory) -> None:
    known.install(UNPROVEN, contents=[CONTENT])
    known.store.chunk_maps.write(sha(UNPROVEN), BUILT)
    events = known.verify(UNPROVEN, sample=2)
    assert code(events) == 0
    assert not of(events, FileVerified)  # its SHA-256 was not computed
    for chunk in range(CHUNKS):
        damage(known.place(UNPROVEN, "f.bin"), chunk * MIB)
    events = known.verify(UNPROVEN, sample=1)
    assert code(events) == 5
    assert of(events, SourceFailed)[0].fault == "hash"


def test_a_sample_reads_a_file_without_a_map_completely(lab: Laboratory) -> None:
    lab.install(UNPROVEN, contents=[CONTENT])
    lab.store.chunk_maps.remove(sha(UNPROVEN))
    assert of(lab.verify(UNPROVEN, sample=1), FileVerified)


@pytest.mark.slow
def test_a_sample_that_does_not_fit_its_map_is_no_proof_of_damage(lab: Laboratory) -> None:
    lab.install(UNPROVEN, contents=[CONTENT])
    lab.store.chunk_maps.write(sha(UNPROVEN), built(body(SIZE, 5)))
    events = lab.verify(UNPROVEN, sample=1)
    assert code(events) == 0
    assert of(events, FileVerified)


@pytest.mark.parametrize(
    ("chunks", "read", "expected"), [(1000, 20, 0.88), (10, 10, 1.0), (1, 1, 1.0), (3, 1, 1 / 3)]
)
def test_the_chance_to_find_damage(chunks: int, read: int, expected: float) -> None:
    assert chance(chunks, read) == pytest.approx(expected, abs=0.005)


def damage(path: Path, at: int) -> None:
    """Flip one bit of a file."""
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))

"""Sources whose chunks are checked: what comes in parts, who is blamed, what no state of a cache changes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from modelfetch.engine import skeletons
from modelfetch.engine.chunk_reuse import known_chunks
from modelfetch.engine.events import FileCommitted, RetryScheduled, RunFinished, SourceFailed
from modelfetch.engine.file_chunks import FileChunks
from modelfetch.engine.plan import Job
from modelfetch.engine.segments import SplitPolicy
from modelfetch.errors import Fault
from modelfetch.ipfs import car
from modelfetch.ipfs.cid import Cid
from modelfetch.ipfs.file_tree import Built
from modelfetch.ipfs.leaf_table import LeafTable
from modelfetch.ipfs.leaf_table_reader import read_table
from modelfetch.model.manifest import Manifest
from modelfetch.net.retry import RetryPolicy
from tests.engine.fakes import (
    ALONE,
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
    last,
    model,
    of,
    refuse,
    sha256,
    spec,
)
from tests.engine.test_chunks import built, lying, pinned

SIZE = 3 * MIB + 5
CONTENT = body(SIZE)
BUILT = built(CONTENT)
UNPROVEN = model("m", {"f.bin": CONTENT})
PROVEN = pinned(UNPROVEN, BUILT.root.text)


@pytest.fixture
def known(lab: Laboratory) -> Laboratory:
    """A cache that has the chunk map of the file, and nothing else."""
    lab.store.chunk_maps.write(sha256(CONTENT), BUILT)
    return lab


def skeleton(path: Path, *trees: Built) -> str:
    """Write the skeleton of some files."""
    sections = [car.section(*node) for tree in trees for node in tree.nodes]
    path.write_bytes(car.header(trees[0].root) + b"".join(sections))
    return str(path)


def table_of(tree: Built) -> LeafTable:
    nodes = {cid.multihash: block for cid, block in tree.nodes}
    table = read_table(tree.root, tree.size, lambda cid: nodes.get(cid.multihash))
    assert table is not None
    return table


# Chunks that come in parts


def test_another_source_sends_a_chunk_from_its_start(known: Laboratory) -> None:
    known.serve(CONTENT, cut(until=MIB + 500_000), refuse(Fault.NOT_FOUND), host="first.example")
    second = known.serve(CONTENT, host="second.example")
    assert code(known.ensure(PROVEN)) == 0
    assert second.asked == [MIB]


def test_a_chunk_in_two_answers_of_a_liar_is_blamed_on_it(known: Laboratory) -> None:
    """The first half was wrong, and came with the answer before."""
    liar = known.serve(CONTENT, replace(lying(CONTENT, 1), until=MIB + 500_000), OK, host="liar.example")
    honest = known.serve(CONTENT, host="honest.example")
    events = known.ensure(PROVEN)
    assert code(events) == 0
    assert [failed.host for failed in of(events, SourceFailed)] == ["liar.example"]
    assert (liar.asked, honest.asked) == ([0, MIB + 500_000], [MIB])


@pytest.mark.quick(1)
@pytest.mark.parametrize("policy", [ALONE, EAGER], ids=["one connection", "several"])
def test_a_server_whose_answers_are_shorter_than_a_chunk(known: Laboratory, policy: SplitPolicy) -> None:
    offer = known.serve(CONTENT, Answer(most=300_000))
    events = known.ensure(PROVEN, runtime=known.runtime(split_policy=policy))
    assert code(events) == 0
    assert known.read(PROVEN, "f.bin") == CONTENT
    assert not of(events, RetryScheduled)
    assert len(offer.asked) >= SIZE // 300_000


def test_runs_that_are_cut_in_a_chunk_come_to_an_end(known: Laboratory) -> None:
    offer = known.serve(CONTENT, cut(most=600_000))
    runtime = partial(known.runtime, retry=RetryPolicy(attempts=1))
    codes = [code(known.ensure(PROVEN, runtime=runtime())) for _ in range(SIZE // 600_000 + 1)]
    assert codes[-1] == 0
    assert set(codes[:-1]) == {6}
    assert offer.asked == [at * 600_000 for at in range(len(codes))]


# Hints, and what proves


def test_a_hint_that_was_replaced_by_a_proven_table_blames_nobody() -> None:
    """One connection checks with the hint while another one gets the proven table from a gateway."""

    class Gateway(FakeOffer):
        def leaf_table(self, first_byte: float | None = None) -> LeafTable:
            return table_of(BUILT)

    hint = table_of(built(flipped(CONTENT, MIB + 5)))
    chunks = FileChunks(hint)
    answer = chunks.checked(0, SIZE)
    chunks.learn(Gateway("ipfs", "gateway.example", CONTENT, [OK]))
    assert b"".join(bytes(part) for part in answer.pieces(CONTENT)) == CONTENT
    assert chunks.is_proven
    assert chunks.table is not hint


def test_a_skeleton_is_read_once(lab: Laboratory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many files it is of, and however often each of them is looked at."""
    contents = {f"{n}.bin": body(MIB + 1, n) for n in range(3)}
    trees = [built(content) for content in contents.values()]
    path = tmp_path / "m.skeleton.car"
    files = tuple(
        replace(spec(*each), cid=tree.root.text) for each, tree in zip(contents.items(), trees, strict=True)
    )
    manifest = replace(model("m", contents), files=files, skeleton=skeleton(path, *trees))
    liars = [lab.serve(content, lying(content, 0), host="liar.example") for content in contents.values()]
    for content in contents.values():
        lab.serve(content, kind="url", host="honest.example")
    read: list[Path] = []

    def reading(path: Path, most: int) -> bytes:
        read.append(path)
        return path.read_bytes()[:most]

    monkeypatch.setattr(skeletons, "read_regular", reading)
    assert code(lab.ensure(manifest)) == 0
    assert read == [path]
    assert any(liar.asked for liar in liars)


def test_a_wrong_cid_of_one_model_is_no_fault_of_the_sources_of_another(
    lab: Laboratory, tmp_path: Path
) -> None:
    """Its manifest may be of somebody else's project. Alone, it can only fail."""
    other = built(flipped(CONTENT, 2 * MIB))
    path = skeleton(tmp_path / "wrong.skeleton.car", other)
    wrong = replace(pinned(model("wrong", {"f.bin": CONTENT}), other.root.text), skeleton=path)
    lab.serve(CONTENT)
    assert code(lab.ensure(wrong)) == 5
    for manifest in (PROVEN, UNPROVEN):
        events = lab.ensure(wrong, manifest)
        assert code(events) == 0
        assert not of(events, SourceFailed)
        lab.store.remove("m")
        lab.store.remove("wrong")


@pytest.mark.parametrize("prefix", ["b", "f", "k", "z"])
def test_a_cid_proves_a_map_in_whatever_form_it_is_written(known: Laboratory, prefix: str) -> None:
    manifest = pinned(UNPROVEN, in_base(BUILT.root, prefix))
    assert known_chunks(known.runtime(), Job(((manifest, manifest.files[0]),))).is_proven
    assert not known_chunks(known.runtime(), Job(((UNPROVEN, UNPROVEN.files[0]),))).is_proven


def in_base(cid: Cid, prefix: str) -> str:
    """Write a CID in another base of multibase."""
    digits = {
        "k": "0123456789abcdefghijklmnopqrstuvwxyz",
        "z": "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz",
    }
    if prefix not in digits:
        return cid.text if prefix == "b" else f"f{cid.binary.hex()}"
    number, text = int.from_bytes(cid.binary, "big"), ""
    while number:
        number, digit = divmod(number, len(digits[prefix]))
        text = digits[prefix][digit] + text
    return prefix + text


# Whatever is known, whatever is there, and whoever sends what


SEEDS = [pytest.param(seed, marks=pytest.mark.slow if seed >= 6 else ()) for seed in range(100)]


@pytest.mark.quick(1)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_state_of_the_cache_and_no_liar_spoils_a_file(lab: Laboratory, tmp_path: Path, seed: int) -> None:
    """Right bytes, at little cost, and no honest source is blamed.

    Random are: the map or skeleton and whether it is right, a partial with wrong bytes, an older version, the
    liars and their lies, cuts and short answers at any place, the connections, and when a run is cancelled.
    """
    chance = random.Random(seed)
    content = chance.randbytes(chance.choice([MIB + 1, 2 * MIB, 2 * MIB + chance.randrange(MIB)]))
    manifest = prepared(lab, tmp_path, content, chance)
    offers = [
        lab.serve(content, *answers(content, chance, is_liar=is_liar), kind=kind, host=f"{name}.example")
        for name, is_liar, kind in [
            ("liar", True, "mirror"),
            ("honest", False, chance.choice(["mirror", "url"])),
            ("second-liar", True, "url"),
        ]
    ]
    patient = partial(lab.runtime, retry=RetryPolicy(attempts=50, base=0.0001, cap=0.0002))
    policy = chance.choice([ALONE, EAGER])
    cancelled = lab.follow(manifest, runtime=patient(split_policy=policy))
    for _ in range(chance.randrange(40)):
        if isinstance(next(cancelled, None), RunFinished | None):
            break
    cancelled.close()
    events = lab.ensure(manifest, runtime=patient(split_policy=policy))
    assert code(events) == 0, last(events).error
    assert lab.read(manifest, "f.bin") == content
    blamed = [failed.host for failed in of(events, SourceFailed) if failed.fault is Fault.HASH]
    assert "honest.example" not in blamed
    assert len(blamed) == len(set(blamed))
    # Without a map every liar may cost the file once, and so may bytes that do not fit together.
    fetched = sum(each.fetched for each in of(events, FileCommitted))
    assert fetched <= len(content) * (2 + len(offers)) + MIB * sum(len(offer.asked) for offer in offers)


def prepared(lab: Laboratory, tmp_path: Path, content: bytes, chance: random.Random) -> Manifest:
    """Make a manifest, and a cache with what may be known and there of its file."""
    manifest, tree = model("m", {"f.bin": content}), built(content)
    known = built(flipped(content, chance.randrange(len(content)))) if chance.random() < 0.3 else tree
    if chance.random() < 0.5:
        manifest = pinned(manifest, tree.root.text)
        manifest = replace(manifest, skeleton=skeleton(tmp_path / "m.skeleton.car", known))
    if chance.random() < 0.5:
        lab.store.chunk_maps.write(sha256(content), known)
    if chance.random() < 0.5:
        length = chance.randrange(1, len(content))
        wrong = flipped(content, chance.randrange(length)) if chance.random() < 0.5 else b""
        lab.begin(content, "mirror earlier.example", length, wrong[:length])
    if chance.random() < 0.3:
        older = flipped(content, chance.randrange(len(content)))
        lab.install(model("older", {"f.bin": older}), contents=[older])
        lab.store.chunk_maps.write(sha256(older), built(older))
    return manifest


def answers(content: bytes, chance: random.Random, *, is_liar: bool) -> Iterator[Answer]:
    """What a source answers in turn; the last answer, which is that for ever, is whole."""
    for _ in range(chance.randrange(6)):
        ends = chance.choice(
            [cut(most=chance.randrange(2 * MIB)), Answer(most=chance.randrange(1, 2 * MIB)), OK]
        )
        yield replace(ends, sends=spoiled(content, chance) if is_liar else None, whole=chance.random() < 0.1)
    yield Answer(sends=spoiled(content, chance) if is_liar else None)


def spoiled(content: bytes, chance: random.Random) -> bytes:
    return flipped(content, chance.randrange(len(content)))

"""What a dead or a failed run leaves is reclaimed; most of it is never made."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from modelfetch.engine.events import ModelReady, Progress
from modelfetch.store import Store
from tests.engine.fakes import NOT_FOUND, OK, Laboratory, SpyDisk, body, code, cut, model, of

FILES = {f"{number}.bin": body(500 + number, number) for number in range(12)}
MODEL = model("m", FILES)
CONTENT = random.Random("3 3000000").randbytes(3_000_000)
"""``JOURNAL`` has their digest."""
ONE = model("one", {"a.bin": CONTENT})


def left(root: Path) -> list[str]:
    """Files that nobody needs any more, and directories of downloads."""
    found = [*root.rglob(".mf-tmp-*"), *root.glob("partial/*"), *root.glob("locks/*")]
    return sorted(str(path.relative_to(root)) for path in found)


def test_a_failed_run_of_many_files_leaves_nothing(lab: Laboratory) -> None:
    for content in FILES.values():
        lab.serve(content, NOT_FOUND)
    assert code(lab.ensure(MODEL)) == 6
    assert left(lab.root) == []


def test_offline_in_an_empty_cache_nothing_is_made(lab: Laboratory) -> None:
    assert code(lab.ensure(MODEL, offline=True)) == 4
    assert left(lab.root) == []
    assert [path.name for path in lab.root.iterdir()] == ["locks"]


def test_a_failed_run_with_bytes_to_keep_keeps_them_and_no_lock(lab: Laboratory) -> None:
    lab.serve(CONTENT, cut(until=2_000_000), NOT_FOUND)
    assert code(lab.ensure(ONE)) == 6
    (kept,) = left(lab.root)
    assert kept.startswith("partial/")
    assert lab.store.held(ONE.files[0]) == 2_000_000


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("operation", "name", "kept"),
    [("sync", "data", 0), ("rename to", ONE.files[0].sha256, 3_000_000), ("write", "journal", 0)],
)
def test_what_is_said_to_be_kept_is_what_the_next_run_does_not_fetch(
    lab: Laboratory, operation: str, name: str, kept: int
) -> None:
    disk = SpyDisk(lambda refused, path: (refused, path.name) == (operation, name))
    disk._fsync = True
    lab.serve(CONTENT)
    events = lab.ensure(ONE, runtime=lab.runtime(store=Store(lab.root, disk=disk)))
    assert code(events) == 7
    assert of(events, Progress)[-1].received == lab.store.held(ONE.files[0]) == kept
    later = Laboratory(lab.root)
    later.serve(CONTENT)
    assert of(later.ensure(ONE), ModelReady)[0].fetched == len(CONTENT) - kept


def test_force_that_fails_leaves_what_was_there_and_nothing_else(lab: Laboratory) -> None:
    lab.install(ONE, contents=[CONTENT])
    lab.serve(CONTENT, cut(until=2_000_000), NOT_FOUND)
    assert code(lab.ensure(ONE, force=True)) == 6
    assert left(lab.root) == []
    assert lab.read(ONE, "a.bin") == CONTENT


def test_bytes_of_a_file_that_came_another_way_go(lab: Laboratory) -> None:
    lab.begin(CONTENT, "mirror a.example", 2_000_000)
    kept = {path.name: path.read_bytes() for path in lab.root.glob("partial/*/*")}
    lab.install(model("other", {"b.bin": CONTENT}), contents=[CONTENT])
    folder = lab.root / "partial" / ONE.files[0].sha256
    folder.mkdir()
    for name, content in kept.items():
        (folder / name).write_bytes(content)
    events = lab.ensure(ONE)
    assert (code(events), of(events, ModelReady)[0].fetched) == (0, 0)
    assert left(lab.root) == []


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_run_goes_on_with_what_an_earlier_version_left(lab: Laboratory, exclusive: bool) -> None:
    """The same format of partials; but its lock files stayed."""
    digest, half = ONE.files[0].sha256, 1 << 20
    folder = lab.root / "partial" / digest
    folder.mkdir(parents=True)
    suffix = "" if exclusive else "-0f0f0f0f0f0f-1-00000000"
    (folder / f"data{suffix}").write_bytes(CONTENT[:half] + bytes(len(CONTENT) - half))
    (folder / f"journal{suffix}").write_bytes(JOURNAL)
    for name in (f"blob-{digest}.lock", "model-one.lock"):
        (lab.root / "locks").mkdir(exist_ok=True)
        (lab.root / "locks" / name).touch()
    offer = lab.serve(CONTENT, OK)
    events = lab.ensure(ONE)
    assert (code(events), offer.asked) == (0, [half])
    assert of(events, ModelReady)[0].fetched == len(CONTENT) - half
    assert lab.read(ONE, "a.bin") == CONTENT
    assert left(lab.root) == []


JOURNAL = (
    b"modelfetch-journal 1 0c2433f48f17ff974fbf772cf33a91133e96eebb872943ffb1d1f280ab2dcfbc 3000000\n"
    b'1048576 6ad9084c56dd52447a450a5293a2d4adb7f0673b0084ec8d892b383934b0fb88 "mirror'
    b' a.example" 35d94360\n'
)
"""Written by an earlier version."""

"""Name and version are claims: the first manifest verified under them keeps its bytes, whoever follows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from modelfetch.engine.events import Event, ModelReady, Planned
from modelfetch.model.manifest import Manifest
from modelfetch.store import Disk, Store
from modelfetch.store.flock import KernelLock
from modelfetch.store.layout import labels
from tests.engine.fakes import Answer, Gate, Laboratory, body, code, last, model, of, serve_all, sha256
from tests.patience import IN_TIME

OURS = {"config.json": body(300, 1), "weights.bin": body(90_000, 2)}
THEIRS = {"config.json": body(300, 3), "loader.py": body(70, 4), "weights.bin": body(90_000, 5)}
OURS_ALONE = {"a.bin": body(900, 6)}
THEIRS_ALONE = {"b.bin": body(900, 7)}


class NoLocks(Disk):
    """A disk on which no lock keeps anybody out."""

    def __init__(self) -> None:
        super().__init__(fsync=False)

    def lock(self, lock: KernelLock, path: Path) -> bool | None:
        return None


class NoLinks(NoLocks):
    """A disk that knows neither locks nor second names."""

    def link(self, source: Path, target: Path) -> bool:
        return self.lstat(target) is not None and super().link(source, target)


def plus(manifest: Manifest) -> str:
    return f"{manifest.version}+{manifest.identity[:12]}"


def contents(lab: Laboratory, manifest: Manifest) -> dict[str, bytes]:
    directory = lab.store.directory(manifest)
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def looks(directory: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in directory.rglob("*")}


def test_the_second_claim_gets_a_directory_of_its_own(lab: Laboratory) -> None:
    first, second = model("m", OURS), model("m", THEIRS)
    lab.install(first, contents=OURS.values())
    before = looks(lab.store.directory(first))
    serve_all(lab, THEIRS)
    events = lab.ensure(second)
    assert code(events) == 0
    directory = lab.root / "models" / "m" / plus(second)
    assert [event.path for event in of(events, ModelReady)] == [str(directory)]
    assert [event.directory for event in of(events, Planned)] == [str(directory)]
    assert directory.with_name(f"{directory.name}.json").is_file()
    assert looks(lab.store.directory(first)) == before
    assert contents(lab, second) == THEIRS
    assert code(lab.verify(first, second)) == 0
    assert lab.quarantined() == []


def test_each_claim_is_there_for_the_next_run_and_is_repaired_where_it_lies(lab: Laboratory) -> None:
    first, second = model("m", OURS), model("m", THEIRS)
    lab.install(first, contents=OURS.values())
    lab.install(second, contents=THEIRS.values())
    runtime = lab.runtime(sources=())
    assert code(lab.ensure(first, second, runtime=runtime, offline=True)) == 0
    for manifest in (first, second):
        lab.place(manifest, "config.json").unlink()
    serve_all(lab, THEIRS | OURS)
    assert code(lab.verify(first, second, repair=True)) == 0
    assert (contents(lab, first), contents(lab, second)) == (OURS, THEIRS)


def test_a_claim_keeps_its_directory_when_the_first_one_is_gone(lab: Laboratory) -> None:
    first, second = model("m", OURS), model("m", THEIRS)
    lab.install(first, contents=OURS.values())
    lab.install(second, contents=THEIRS.values())
    lab.store.remove("m", version="1")
    assert lab.store.directory(second).name == plus(second)
    assert lab.store.directory(first).name == "1"
    assert lab.store.remove("m").versions == (plus(second),)
    assert lab.store.directory(second).name == "1"


def test_what_an_unfinished_run_of_another_manifest_left_is_moved_out(lab: Laboratory) -> None:
    """One file of it has a blob; of the other, changed meanwhile, these bytes are the only ones."""
    first, second = model("m", OURS), model("m", THEIRS | {"deep/er/x.bin": OURS["weights.bin"]})
    lab.install(second, contents=[*THEIRS.values(), OURS["weights.bin"]])
    (lab.root / "models" / "m" / "1.json").unlink()
    only = lab.root / "models/m/1/loader.py"
    only.unlink()
    only.write_bytes(b"changed")
    serve_all(lab, OURS)
    assert code(lab.ensure(first)) == 0
    assert lab.store.directory(first).name == "1"
    assert contents(lab, first) == OURS
    assert not (lab.store.directory(first) / "deep").exists()
    assert lab.quarantined() == [b"changed"]
    assert code(lab.verify(first, strict=True)) == 0


def test_a_file_that_was_added_later_is_not_moved_out(lab: Laboratory) -> None:
    manifest = model("m", OURS)
    lab.install(manifest, contents=OURS.values())
    lab.place(manifest, "notes.txt").write_text("mine")
    lab.place(manifest, "config.json").unlink()
    serve_all(lab, OURS)
    assert code(lab.ensure(manifest)) == 0
    assert lab.place(manifest, "notes.txt").read_text() == "mine"


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("make", "ours", "theirs"),
    [
        (NoLocks, OURS, THEIRS),
        (NoLocks, OURS_ALONE, THEIRS_ALONE),
        # Without links, too, a name is looked at and then taken: two files at the same moment may meet there.
        (NoLinks, OURS_ALONE, THEIRS_ALONE),
        (lambda: Disk(fsync=False), OURS, THEIRS),
        (lambda: Disk(fsync=False), OURS_ALONE, THEIRS_ALONE),
    ],
)
@pytest.mark.parametrize("at", [0, 1])
def test_two_claims_at_the_same_time_are_both_verified(
    lab: Laboratory, make: Callable[[], Disk], ours: dict[str, bytes], theirs: dict[str, bytes], at: int
) -> None:
    """The first is held up before its first or at its last byte, until the second one is done or waits."""
    first, second = model("m", ours), model("m", theirs)
    gate, held = Gate(), [*ours.values()][-at]
    slow, quick = Laboratory(lab.root), Laboratory(lab.root)
    slow.store, quick.store = Store(lab.root, disk=make()), Store(lab.root, disk=make())
    for content in ours.values():
        slow.serve(content, *([Answer(before_piece=gate)] if content is held else []))
    serve_all(quick, theirs)
    ended: list[list[Event]] = []
    thread = threading.Thread(target=lambda: ended.append(slow.ensure(first)))
    thread.start()
    assert gate.reached.wait(IN_TIME)
    events: list[Event] = []
    for event in quick.follow(second):
        events.append(event)
        if event.kind == "lock_waiting":
            gate.opened.set()
    gate.opened.set()
    thread.join(IN_TIME)
    assert (last(events).error, last(ended[0]).error) == (None, None)
    assert (contents(lab, first), contents(lab, second)) == (ours, theirs)
    told = {event.path for run in (events, ended[0]) for event in of(run, ModelReady)}
    assert told == {str(lab.store.directory(first)), str(lab.store.directory(second))}
    assert code(lab.verify(first, second, strict=True)) == 0


def test_a_directory_is_never_that_of_another_version() -> None:
    identity = sha256(b"")
    assert labels("1.0", identity) == ("1.0", f"1.0+{identity[:12]}", f"1.0+{identity}")


@pytest.mark.parametrize("name", ["1+000000000000", "1+", "1", "2"])
def test_a_receipt_under_a_name_that_is_not_its_own_speaks_for_nothing(lab: Laboratory, name: str) -> None:
    manifest = model("m", OURS)
    lab.install(manifest, contents=OURS.values())
    receipt = lab.root / "models" / "m" / "1.json"
    copy = receipt.with_name(f"{name}.json")
    if copy != receipt:
        copy.write_bytes(receipt.read_bytes())
    assert [found.label for found in lab.store.receipts()] == ["1"]
    assert last(lab.verify(manifest)).exit_code == 0

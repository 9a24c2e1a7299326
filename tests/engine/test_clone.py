"""A large file on this disk is cloned where the file system can, and verified like any other bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfetch.engine.events import FileQuarantined
from modelfetch.engine.file import Mode, Obtained, obtain
from modelfetch.engine.plan import Inventory, jobs
from modelfetch.engine.runtime import Runtime
from modelfetch.engine.segments import Segments, SplitPolicy
from modelfetch.engine.sink import CLONED_FROM
from modelfetch.sources.local import LocalSource
from modelfetch.store import Store
from tests.engine.fakes import Laboratory, body, flipped, model, of
from tests.store.test_clone import CloningDisk

CONTENT = body(CLONED_FROM + 12_345)
MODEL = model("m", {"f.bin": CONTENT})


def run(runtime: Runtime) -> tuple[list[object], Obtained]:
    [job] = jobs([Inventory(MODEL, frozenset())])
    task, events = obtain(runtime, job, Mode()), list[object]()
    while True:
        try:
            events.append(next(task))
        except StopIteration as stop:
            return events, stop.value


@pytest.fixture
def lab(tmp_path: Path) -> Laboratory:
    return Laboratory(tmp_path / "cache")


def with_local(lab: Laboratory, path: Path, content: bytes, disk: CloningDisk) -> Runtime:
    path.write_bytes(content)
    local = LocalSource([lambda _manifest, _file: [path]])
    return lab.runtime(sources=[local, *lab.sources.values()], store=Store(lab.root, disk=disk))


def test_a_file_on_this_disk_is_cloned_and_not_copied(lab: Laboratory, tmp_path: Path) -> None:
    disk = CloningDisk()
    _, obtained = run(with_local(lab, tmp_path / "theirs", CONTENT, disk))
    assert (obtained, disk.written) == (Obtained("local", str(tmp_path), 0), 0)
    assert lab.read(MODEL, "f.bin") == CONTENT


def test_it_is_copied_where_that_is_impossible(lab: Laboratory, tmp_path: Path) -> None:
    disk = CloningDisk(can=False)
    _, obtained = run(with_local(lab, tmp_path / "theirs", CONTENT, disk))
    assert (obtained.source, disk.written) == ("local", len(CONTENT))
    assert lab.read(MODEL, "f.bin") == CONTENT


def test_a_wrong_clone_is_quarantined_and_blamed(lab: Laboratory, tmp_path: Path) -> None:
    offer = lab.serve(CONTENT)
    events, obtained = run(with_local(lab, tmp_path / "theirs", flipped(CONTENT, 1000), CloningDisk()))
    assert (obtained.source, offer.asked) == ("mirror", [0])
    assert [event.source for event in of(events, FileQuarantined)] == [f"local {tmp_path}"]
    assert lab.read(MODEL, "f.bin") == CONTENT


def test_a_whole_file_is_taken_only_while_nobody_else_has_a_part() -> None:
    segments = Segments([(0, 100)], SplitPolicy())
    segment = segments.claim(is_alone=True)
    assert segment is not None
    assert segments.take_whole(segment, 100)
    assert segment.left == 0
    segments.return_whole(segment)
    assert segments.advance(segment, 10) == 10
    assert not segments.take_whole(segment, 100), "it has bytes"
    assert not Segments([(0, 100)], SplitPolicy()).take_whole(segment, 100), "it is of another file"

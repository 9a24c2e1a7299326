"""One file from start to finish: what is used, what is put in place, and what is left when it fails."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation, Cancelled
from modelfetch.engine.events import (
    Event,
    FileCommitted,
    FileQuarantined,
    FileStarted,
    FileVerified,
    Progress,
)
from modelfetch.engine.file import FileDone, Mode, Obtained, flatten, obtain, obtain_alone, obtain_rivals
from modelfetch.engine.plan import Inventory, Job, jobs
from modelfetch.engine.runtime import Runtime
from modelfetch.errors import IntegrityError, ModelfetchError, StoreError, UnavailableError
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.sources.base import Offer
from modelfetch.sources.local import LocalSource
from modelfetch.store import Store
from modelfetch.store.layout import Layout
from tests.engine.fakes import (
    NOT_FOUND,
    OK,
    Answer,
    FakeOffer,
    Laboratory,
    SpyDisk,
    body,
    code,
    crash,
    cut,
    flipped,
    last,
    model,
    of,
    sha256,
    story,
)
from tests.store.material import open_descriptors

CONTENT = body(300_000)
WRONG = flipped(CONTENT, 150_000)
MODEL = model("m", {"dir/f.bin": CONTENT})
FILE = MODEL.files[0]


class SourceByModel:
    """A source that has something else for each model."""

    kind = "url"

    def __init__(self, places: Mapping[str, Sequence[FakeOffer]]) -> None:
        self._places = places

    def offers(self, manifest: Manifest, file: FileSpec) -> Sequence[Offer]:
        return self._places.get(manifest.name, [])


def job(*manifests: Manifest) -> Job:
    (found,) = jobs([Inventory(manifest, frozenset()) for manifest in manifests or (MODEL,)])
    return found


def run(runtime: Runtime, *manifests: Manifest, mode: Mode | None = None) -> tuple[list[Event], Obtained]:
    """Obtain the one digest of some models: what was told, and what came of it."""
    task, events = obtain(runtime, job(*manifests), mode or Mode()), list[Event]()
    while True:
        try:
            events.append(next(task))
        except StopIteration as stop:
            return events, stop.value


def fails(runtime: Runtime, mode: Mode | None = None) -> ModelfetchError:
    with pytest.raises(ModelfetchError) as failure:
        run(runtime, mode=mode)
    return failure.value


def blob(lab: Laboratory) -> Path:
    return Layout(lab.store.root).blob(sha256(CONTENT))


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def is_locked(lab: Laboratory) -> bool:
    lock = lab.store.lock_blob(sha256(CONTENT))
    with lock:
        return not lock.try_acquire()


def committed(lab: Laboratory, source: str, host: str, fetched: int) -> FileCommitted:
    path = str(lab.place(MODEL, "dir/f.bin"))
    return FileCommitted("m", "dir/f.bin", path, 300_000, sha256(CONTENT), source, host, fetched, 0.0)


# Where it comes from


def test_a_file_is_fetched_verified_and_put_in_place(lab: Laboratory) -> None:
    lab.serve(CONTENT)
    events, obtained = run(lab.runtime())
    assert story(events) == [
        FileStarted("m", "dir/f.bin", 300_000, 0),
        FileVerified("m", "dir/f.bin", 300_000, sha256(CONTENT)),
        committed(lab, "mirror", "a.example", 300_000),
    ]
    assert obtained == Obtained("mirror", "a.example", 300_000)
    assert lab.read(MODEL, "dir/f.bin") == CONTENT
    assert not list(lab.root.glob("partial/*/*"))


def test_a_blob_is_used_after_it_was_hashed(lab: Laboratory) -> None:
    put(blob(lab), CONTENT)
    offer = lab.serve(CONTENT)
    disk = SpyDisk()
    events, obtained = run(lab.runtime(store=Store(lab.root, disk=disk)))
    assert story(events) == [
        FileStarted("m", "dir/f.bin", 300_000, 300_000),
        FileVerified("m", "dir/f.bin", 300_000, sha256(CONTENT)),
        committed(lab, "cache", "", 0),
    ]
    assert obtained == Obtained("cache", "", 0)
    assert ("read", blob(lab)) in disk.operations
    assert offer.asked == []
    assert lab.read(MODEL, "dir/f.bin") == CONTENT


def test_hashing_a_blob_is_progress_of_the_cache(lab: Laboratory) -> None:
    put(blob(lab), CONTENT)
    told = of(run(lab.runtime())[0], Progress)
    assert told
    assert {(event.source, event.host, event.attempt, event.size) for event in told} == {
        ("cache", "", 1, 300_000)
    }


def test_a_corrupt_blob_is_replaced_and_put_aside_after_its_replacement_was_verified(lab: Laboratory) -> None:
    put(blob(lab), WRONG)
    seen: list[bytes] = []
    lab.serve(CONTENT, Answer(before_piece=lambda: seen.append(blob(lab).read_bytes())))
    events, _ = run(lab.runtime())
    assert set(seen) == {WRONG}
    assert blob(lab).read_bytes() == lab.read(MODEL, "dir/f.bin") == CONTENT
    told = story(events)
    assert told[1:] == [
        FileStarted("m", "dir/f.bin", 300_000, 0),
        FileVerified("m", "dir/f.bin", 300_000, sha256(CONTENT)),
        FileQuarantined("m", "dir/f.bin", "", sha256(CONTENT), sha256(WRONG), "cache"),
        committed(lab, "mirror", "a.example", 300_000),
    ]
    assert lab.quarantined() == [WRONG]


def test_a_corrupt_blob_stays_when_there_is_no_replacement(lab: Laboratory) -> None:
    put(blob(lab), WRONG)
    lab.serve(CONTENT, cut(until=1000), NOT_FOUND)
    assert isinstance(fails(lab.runtime()), UnavailableError)
    assert blob(lab).read_bytes() == WRONG
    assert lab.quarantined() == []
    assert not lab.place(MODEL, "dir/f.bin").exists()


def test_a_blob_of_another_length_is_not_even_hashed(lab: Laboratory) -> None:
    put(blob(lab), CONTENT[:-1])
    lab.serve(CONTENT)
    events, _ = run(lab.runtime())
    assert [event.offset for event in of(events, FileStarted)] == [0]
    assert blob(lab).read_bytes() == CONTENT


def test_a_link_in_the_place_of_a_blob_is_not_followed(lab: Laboratory, tmp_path: Path) -> None:
    elsewhere = put(tmp_path / "elsewhere", CONTENT)
    blob(lab).parent.mkdir(parents=True)
    blob(lab).symlink_to(elsewhere)
    offer = lab.serve(CONTENT)
    run(lab.runtime())
    assert offer.asked == [0]
    assert not blob(lab).is_symlink()
    assert elsewhere.read_bytes() == CONTENT


def test_bytes_of_this_disk_are_not_counted_as_fetched(lab: Laboratory, tmp_path: Path) -> None:
    here = put(tmp_path / "hf" / "f.bin", CONTENT)
    offer = lab.serve(CONTENT)
    local = LocalSource([lambda _manifest, _file: [here]])
    _, obtained = run(lab.runtime(sources=[local, *lab.sources.values()]))
    assert obtained == Obtained("local", str(here.parent), 0)
    assert offer.asked == []
    assert here.read_bytes() == CONTENT


def test_bytes_of_this_disk_are_proved_like_any_other(lab: Laboratory, tmp_path: Path) -> None:
    here = put(tmp_path / "hf" / "f.bin", WRONG)
    lab.serve(CONTENT)
    local = LocalSource([lambda _manifest, _file: [here]])
    _, obtained = run(lab.runtime(sources=[local, *lab.sources.values()]))
    assert obtained.source == "mirror"
    assert lab.read(MODEL, "dir/f.bin") == CONTENT
    assert here.read_bytes() == WRONG


def test_a_file_known_to_be_bad_is_no_source(lab: Laboratory, tmp_path: Path) -> None:
    here = put(tmp_path / "hf" / "f.bin", WRONG)
    lab.serve(CONTENT)
    local = LocalSource([lambda _manifest, _file: [here]])
    runtime = lab.runtime(sources=[local, *lab.sources.values()])
    events, _ = run(runtime, mode=Mode(bad=frozenset({here})))
    assert of(events, FileQuarantined) == []


# Everything anew


def test_force_fetches_what_is_there(lab: Laboratory) -> None:
    lab.install(MODEL, contents=[CONTENT])
    offer = lab.serve(CONTENT)
    before = lab.place(MODEL, "dir/f.bin").stat().st_ino
    events, obtained = run(lab.runtime(), mode=Mode(force=True))
    assert offer.asked == [0]
    assert obtained.fetched == 300_000
    assert of(events, FileQuarantined) == []
    assert lab.place(MODEL, "dir/f.bin").stat().st_ino != before
    assert lab.place(MODEL, "dir/f.bin").samefile(blob(lab))


def test_force_does_not_go_on_where_an_earlier_run_stopped(lab: Laboratory) -> None:
    lab.begin(CONTENT, "mirror old.example", 100_000)
    offer = lab.serve(CONTENT)
    run(lab.runtime(), mode=Mode(force=True))
    assert offer.asked == [0]


def test_force_does_not_copy_from_this_disk(lab: Laboratory, tmp_path: Path) -> None:
    here = put(tmp_path / "hf" / "f.bin", CONTENT)
    local = LocalSource([lambda _manifest, _file: [here]])
    offer = lab.serve(CONTENT)
    run(lab.runtime(sources=[local, *lab.sources.values()]), mode=Mode(force=True))
    assert offer.asked == [0]


def test_force_without_a_source_takes_nothing_away(lab: Laboratory) -> None:
    lab.install(MODEL, contents=[CONTENT])
    lab.serve(CONTENT, NOT_FOUND)
    fails(lab.runtime(), Mode(force=True))
    assert lab.read(MODEL, "dir/f.bin") == CONTENT
    assert code(lab.ensure(MODEL, offline=True)) == 0


# Where it goes


def test_every_place_gets_the_bytes_that_came_in_once(lab: Laboratory) -> None:
    twice = model("m", {"a.bin": CONTENT, "b.bin": CONTENT})
    other = model("n", {"c.bin": CONTENT})
    offer = lab.serve(CONTENT)
    events, _ = run(lab.runtime(), twice, other)
    assert offer.asked == [0]
    told = [(event.model, event.file, event.fetched) for event in of(events, FileCommitted)]
    assert told == [("m", "a.bin", 300_000), ("m", "b.bin", 0), ("n", "c.bin", 0)]
    for manifest, path in ((twice, "a.bin"), (twice, "b.bin"), (other, "c.bin")):
        assert lab.read(manifest, path) == CONTENT


def test_a_second_manifest_may_know_more_sources(lab: Laboratory) -> None:
    other = model("n", {"c.bin": CONTENT})
    mirror = FakeOffer("mirror", "m.example", CONTENT, [NOT_FOUND])
    first, second = (FakeOffer("url", f"{name}.example", CONTENT, [NOT_FOUND]) for name in ("a", "b"))
    sources = [SourceByModel({"m": [mirror], "n": [mirror]}), SourceByModel({"m": [first], "n": [second]})]
    with pytest.raises(UnavailableError):
        run(lab.runtime(sources=sources), MODEL, other)
    assert (mirror.asked, first.asked, second.asked) == ([0], [0], [0])


def test_one_place_known_to_two_manifests_is_asked_once(lab: Laboratory) -> None:
    """Else who sent wrong bytes would be asked for them again."""
    liar = lab.serve(CONTENT, Answer(sends=WRONG))
    with pytest.raises(IntegrityError):
        run(lab.runtime(), MODEL, model("n", {"c.bin": CONTENT, "d.bin": CONTENT}))
    assert liar.asked == [0]


def test_a_wrong_file_in_the_way_is_put_aside(lab: Laboratory) -> None:
    put(lab.place(MODEL, "dir/f.bin"), WRONG)
    lab.serve(CONTENT)
    events, _ = run(lab.runtime())
    assert lab.read(MODEL, "dir/f.bin") == CONTENT
    assert of(story(events), FileQuarantined) == [
        FileQuarantined("m", "dir/f.bin", "", sha256(CONTENT), sha256(WRONG), "cache")
    ]
    assert lab.quarantined() == [WRONG]


def test_one_set_of_bad_bytes_under_two_names_is_put_aside_once(lab: Laboratory) -> None:
    put(blob(lab), WRONG)
    lab.place(MODEL, "dir/f.bin").parent.mkdir(parents=True)
    os.link(blob(lab), lab.place(MODEL, "dir/f.bin"))
    lab.serve(CONTENT)
    events, _ = run(lab.runtime())
    assert len(of(events, FileQuarantined)) == 1
    assert lab.quarantined() == [WRONG]


def test_a_file_is_in_place_when_it_is_told_to_be(lab: Laboratory) -> None:
    lab.serve(CONTENT)
    for event in obtain(lab.runtime(), job(), Mode()):
        here = lab.place(MODEL, "dir/f.bin").exists()
        assert here == isinstance(event, FileCommitted)


def test_stored_files_cannot_be_written_by_accident(lab: Laboratory) -> None:
    lab.serve(CONTENT)
    run(lab.runtime())
    assert stat.S_IMODE(lab.place(MODEL, "dir/f.bin").stat().st_mode) & 0o222 == 0


def test_with_syncs_it_is_the_same(lab: Laboratory) -> None:
    lab.serve(CONTENT, cut(until=1000), OK)
    events, _ = run(lab.runtime(store=Store(lab.root, fsync=True)))
    assert story(events)[-1] == committed(lab, "mirror", "a.example", 300_000)
    assert lab.read(MODEL, "dir/f.bin") == CONTENT


def test_where_links_are_impossible_the_bytes_are_copied(lab: Laboratory) -> None:
    lab.serve(CONTENT)
    disk = SpyDisk(lambda operation, _path: operation in {"link to", "clone into"}, code=18)  # EXDEV
    run(lab.runtime(store=Store(lab.root, disk=disk)))
    assert lab.read(MODEL, "dir/f.bin") == CONTENT
    assert not lab.place(MODEL, "dir/f.bin").samefile(blob(lab))


# When it fails


@pytest.mark.parametrize("answer", [OK, NOT_FOUND, crash(ZeroDivisionError())])
def test_the_lock_is_given_back_whatever_happens(lab: Laboratory, answer: Answer) -> None:
    held: list[bool] = []
    lab.serve(CONTENT, Answer(before_piece=lambda: held.append(is_locked(lab))) if answer is OK else answer)
    try:
        run(lab.runtime())
    except (UnavailableError, ZeroDivisionError):
        assert answer is not OK
    assert all(held)
    assert not is_locked(lab)


@pytest.mark.parametrize("answer", [OK, cut(until=1000), Answer(sends=WRONG), crash(ZeroDivisionError())])
def test_no_file_stays_open_whatever_happens(lab: Laboratory, answer: Answer) -> None:
    lab.serve(CONTENT, answer)
    before = open_descriptors()
    try:
        run(lab.runtime())
    except (ModelfetchError, ZeroDivisionError):
        assert answer is not OK
    assert open_descriptors() == before


def test_a_cancelled_run_keeps_the_good_bytes(lab: Laboratory) -> None:
    cancel, pieces = Cancellation(), list[int]()

    def third_cancels() -> None:
        pieces.append(len(pieces))
        if len(pieces) == 3:
            cancel.cancel()

    offer = lab.serve(CONTENT, Answer(before_piece=third_cancels, piece=50_000), OK)
    before = open_descriptors()
    with pytest.raises(Cancelled):
        run(lab.runtime(cancel=cancel))
    assert open_descriptors() == before
    assert not is_locked(lab)
    assert offer.streams[0].is_closed
    run(lab.runtime())
    assert offer.asked == [0, 100_000]


def test_a_run_cancelled_while_it_looks_at_earlier_bytes_loses_none(lab: Laboratory) -> None:
    lab.begin(CONTENT, "mirror old.example", 200_000)
    cancel = Cancellation()
    cancel.cancel()
    before = open_descriptors()
    with pytest.raises(Cancelled):
        run(lab.runtime(cancel=cancel))
    assert open_descriptors() == before
    offer = lab.serve(CONTENT)
    run(lab.runtime())
    assert offer.asked == [200_000]


def test_a_run_cancelled_while_it_hashes_a_blob_loses_nothing(lab: Laboratory) -> None:
    put(blob(lab), CONTENT)
    cancel = Cancellation()
    cancel.cancel()
    with pytest.raises(Cancelled):
        run(lab.runtime(cancel=cancel))
    assert blob(lab).read_bytes() == CONTENT
    assert not is_locked(lab)


@pytest.mark.parametrize(
    "operation", ["write", "resize", "create", "rename to", "change the mode of", "link to"]
)
def test_a_full_disk_is_a_matter_of_the_disk(lab: Laboratory, operation: str) -> None:
    lab.serve(CONTENT)
    below = ("partial", "blobs", "models")
    disk = SpyDisk(lambda done, path: done == operation and any(part in path.parts for part in below))
    before = open_descriptors()
    failure = fails(lab.runtime(store=Store(lab.root, disk=disk)))
    assert isinstance(failure, StoreError)
    assert "the disk is full" in failure.message
    assert open_descriptors() == before
    assert not is_locked(lab)
    assert not lab.place(MODEL, "dir/f.bin").exists()
    assert not lab.quarantined()


def test_what_fitted_on_the_disk_is_kept(lab: Laboratory) -> None:
    written = list[int]()

    def full(operation: str, path: Path) -> bool:
        if operation == "write" and path.name.startswith("data"):
            written.append(1)
        return operation == "write" and len(written) > 3

    offer = lab.serve(CONTENT, Answer(piece=50_000))
    fails(lab.runtime(store=Store(lab.root, disk=SpyDisk(full))))
    written.clear()
    later = lab.serve(CONTENT, kind="url")
    lab.sources.pop("mirror")
    run(lab.runtime())
    assert offer.asked == [0]
    assert later.asked[0] <= 150_000
    assert lab.read(MODEL, "dir/f.bin") == CONTENT
    assert FILE.size == 300_000


def test_the_end_of_a_job_carries_the_job_and_what_was_obtained(lab: Laboratory) -> None:
    lab.serve(CONTENT)
    wanted = job()
    *events, done = obtain_alone(lab.runtime(), wanted, Mode())
    assert done == FileDone(wanted, Obtained("mirror", "a.example", 300_000))
    assert not of(events, FileDone)


@pytest.mark.parametrize(
    ("answer", "operation", "kind"),
    [(NOT_FOUND, "", UnavailableError), (OK, "write", StoreError)],
)
def test_the_end_of_a_job_carries_the_job_and_its_error(
    lab: Laboratory, answer: Answer, operation: str, kind: type[ModelfetchError]
) -> None:
    lab.serve(CONTENT, answer)
    disk = SpyDisk(lambda done, path: done == operation and "locks" not in path.parts)
    wanted = job()
    *_, done = obtain_alone(lab.runtime(store=Store(lab.root, disk=disk)), wanted, Mode())
    assert isinstance(done, FileDone)
    assert (done.job, done.obtained) == (wanted, None)
    assert isinstance(done.error, kind)


def test_the_end_of_each_rival_carries_its_own_job(lab: Laboratory) -> None:
    lab.serve(CONTENT)
    wrong = replace(MODEL, name="n", files=(replace(FILE, size=FILE.size + 1),))
    rivals = jobs([Inventory(manifest, frozenset()) for manifest in (wrong, MODEL)])
    ends = of(obtain_rivals(lab.runtime(), rivals, Mode()), FileDone)
    assert {done.job.places[0][0].name: type(done.error) for done in ends} == {
        "m": type(None),
        "n": IntegrityError,
    }


def test_sequences_of_items_come_out_one_by_one() -> None:
    end = FileDone(job(), None, None)
    event = FileStarted("m", "f", 1, 0)
    assert list(flatten(iter([event, [], [event, end], None]))) == [event, None, event, end, None]


def test_bad_bytes_of_a_file_are_told_once_with_a_path_that_exists(lab: Laboratory) -> None:
    """Two sources lie, and the copy that was here is damaged: one entry is kept, and that one is told."""
    wanted = model("m", {"f.bin": CONTENT})
    lab.install(wanted, contents=[CONTENT])
    lab.place(wanted, "f.bin").chmod(0o644)
    lab.place(wanted, "f.bin").write_bytes(flipped(CONTENT, 7))
    for n in range(2):
        lab.serve(CONTENT, Answer(sends=flipped(CONTENT, n)), host=f"liar-{n}.example")
    lab.serve(CONTENT, host="honest.example")
    events = lab.ensure(wanted)
    assert code(events) == 0
    [told] = of(events, FileQuarantined)
    assert Path(told.path, "data").read_bytes() == flipped(CONTENT, 7)
    assert [event.kind for event in events][-4:] == [
        "file_quarantined",
        "file_committed",
        "model_ready",
        "run_finished",
    ]


def test_bad_bytes_of_a_file_that_nobody_delivers_are_told_too(lab: Laboratory) -> None:
    for n in range(2):
        lab.serve(CONTENT, Answer(sends=flipped(CONTENT, n)), host=f"liar-{n}.example")
    events = lab.ensure(model("m", {"f.bin": CONTENT}))
    [told] = of(events, FileQuarantined)
    assert Path(told.path).is_dir()
    finished = last(events)
    assert finished.exit_code == 5
    assert finished.error is not None
    for digest in (sha256(CONTENT), *(sha256(flipped(CONTENT, n)) for n in range(2))):
        assert digest in finished.error.message

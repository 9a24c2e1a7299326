"""The main job as a stream: what is told, what is done once, how it ends, and what an end leaves behind."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.engine.ensure import ensure
from modelfetch.engine.events import (
    ErrorInfo,
    Event,
    FileCommitted,
    FileKept,
    FileQuarantined,
    FileResult,
    FileStarted,
    FileVerified,
    LockWaiting,
    ModelReady,
    Planned,
    PlannedFile,
    Progress,
    RunFinished,
    RunStarted,
)
from modelfetch.engine.export import Export
from modelfetch.engine.options import Request
from modelfetch.engine.runtime import Runtime
from modelfetch.errors import Fault, SourceError, StoreError
from modelfetch.model.manifest import HuggingFaceRepo, Manifest
from modelfetch.store import Store
from modelfetch.store.layout import Layout
from tests.engine.fakes import (
    MIB,
    NOT_FOUND,
    OK,
    Answer,
    FakeClock,
    FakeTime,
    Gate,
    Laboratory,
    SpyDisk,
    all_workers_end,
    body,
    code,
    crash,
    cut,
    flipped,
    kinds,
    last,
    model,
    of,
    refuse,
    sha256,
    spec,
    statuses,
    story,
    workers,
)
from tests.patience import HELD, IN_TIME
from tests.server.running import until

LARGE, SMALL = body(300_000, 1), body(1_000, 2)
MODEL = model("m", {"small.json": SMALL, "dir/large.bin": LARGE})


def serve(lab: Laboratory, *answers: Answer) -> None:
    for content in (LARGE, SMALL):
        lab.serve(content, *answers)


def is_free(lab: Laboratory, name: str = "m") -> bool:
    """Whether nobody holds the lock of a model or of one of its files."""
    locks = [lab.store.lock_model(name), *(lab.store.lock_blob(file.sha256) for file in MODEL.files)]
    taken = [lock.try_acquire() for lock in locks]
    for lock in locks:
        lock.release()
    return all(taken)


# The story


def test_a_first_run_from_beginning_to_end(lab: Laboratory) -> None:
    serve(lab)
    events = story(lab.ensure(MODEL, runtime=lab.runtime(files=1)))
    directory = lab.root / "models" / "m" / "1"
    small, large = MODEL.files
    planned = (
        PlannedFile("small.json", 1_000, small.sha256, "missing", 0, ("mirror a.example",)),
        PlannedFile("dir/large.bin", 300_000, large.sha256, "missing", 0, ("mirror a.example",)),
    )
    assert events == [
        RunStarted("ensure", ("m",)),
        Planned("m", "1", "", "MIT", "", "", str(directory), 301_000, 301_000, planned),
        FileStarted("m", "dir/large.bin", 300_000, 0),
        FileVerified("m", "dir/large.bin", 300_000, large.sha256),
        FileCommitted(
            "m",
            "dir/large.bin",
            str(directory / "dir" / "large.bin"),
            300_000,
            large.sha256,
            "mirror",
            "a.example",
            300_000,
            0.0,
        ),
        FileStarted("m", "small.json", 1_000, 0),
        FileVerified("m", "small.json", 1_000, small.sha256),
        FileCommitted(
            "m",
            "small.json",
            str(directory / "small.json"),
            1_000,
            small.sha256,
            "mirror",
            "a.example",
            1_000,
            0.0,
        ),
        ModelReady("m", "1", str(directory), 2, 301_000, 301_000),
        RunFinished(
            "completed",
            0,
            0.0,
            (
                FileResult("m", "small.json", "completed", "", "mirror a.example", 1_000),
                FileResult("m", "dir/large.bin", "completed", "", "mirror a.example", 300_000),
            ),
            None,
        ),
    ]


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_a_file_that_became_executable_is_placed_again_and_not_fetched(lab: Laboratory) -> None:
    lab.install(MODEL, contents=[LARGE, SMALL])
    small, large = MODEL.files
    changed = replace(MODEL, files=(replace(small, executable=True), large))
    events = lab.ensure(changed)
    assert code(events) == 0
    assert [(each.file, each.fetched) for each in of(events, FileCommitted)] == [("small.json", 0)]
    assert (lab.store.directory(changed) / "small.json").stat().st_mode & 0o111
    assert of(lab.ensure(changed), FileCommitted) == []
    assert all(lab.store.kept(changed, lab.store.receipt(changed)).values())


def test_a_second_run_has_nothing_to_do(lab: Laboratory) -> None:
    lab.install(MODEL, contents=[LARGE, SMALL])
    events = lab.ensure(MODEL)
    assert events[2:] == [
        FileKept("m", "small.json", 1_000),
        FileKept("m", "dir/large.bin", 300_000),
        ModelReady("m", "1", str(lab.store.directory(MODEL)), 2, 301_000, 0),
        events[-1],
    ]
    assert last(events).files == (
        FileResult("m", "small.json", "completed", "", "cache", 1_000),
        FileResult("m", "dir/large.bin", "completed", "", "cache", 300_000),
    )


def test_when_the_receipt_agrees_nothing_is_read_asked_or_written(lab: Laboratory) -> None:
    lab.install(MODEL, contents=[LARGE, SMALL])
    large, small = lab.serve(LARGE), lab.serve(SMALL)
    disk = SpyDisk()
    assert code(lab.ensure(MODEL, runtime=lab.runtime(store=Store(lab.root, disk=disk)))) == 0
    assert {operation for operation, _ in disk.operations} <= {"inspect", "open", "read", "close", "list"}
    read = {path for operation, path in disk.operations if operation == "read"}
    assert read == {lab.root / "models" / "m" / "1.json"}
    assert (large.asked, small.asked) == ([], [])
    assert not [path for _, path in disk.operations if path.parent.name == "locks"]


def test_nothing_wanted_is_nothing_done(lab: Laboratory) -> None:
    assert story(lab.ensure()) == [RunStarted("ensure", ()), RunFinished("completed", 0, 0.0, (), None)]
    assert not lab.root.exists()


def test_a_model_without_files_is_ready(lab: Laboratory) -> None:
    assert kinds(lab.ensure(model("m", {}))) == ["run_started", "planned", "model_ready", "run_finished"]


def test_every_model_is_ready_as_soon_as_its_last_file_is(lab: Laboratory) -> None:
    first, second = model("a", {"f.bin": LARGE}), model("b", {"g.bin": SMALL})
    serve(lab)
    events = lab.ensure(second, first, runtime=lab.runtime(files=1))
    told = [(event.kind, getattr(event, "model", "")) for event in story(events)]
    assert told.index(("model_ready", "a")) < told.index(("file_started", "b"))
    assert [event.model for event in of(events, Planned)] == ["a", "b"]
    assert [result.model for result in last(events).files] == ["b", "a"]


def test_the_receipt_tells_who_supplied_what_and_what_was_consulted(lab: Laboratory, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.touch()
    lab.serve(LARGE, host="a.example")
    lab.serve(SMALL, kind="url", host="b.example")
    consulted = [lab.store.consult(config), lab.store.consult(tmp_path / "absent.toml")]
    list(ensure(lab.runtime(), Request([MODEL], consulted=consulted)))
    receipt = lab.store.receipt(MODEL)
    assert receipt is not None
    assert {file.path: file.source for file in receipt.files} == {
        "small.json": "url b.example",
        "dir/large.bin": "mirror a.example",
    }
    assert list(receipt.consulted) == consulted


# What is there already


def test_a_touched_file_is_hashed_again_not_fetched_again(lab: Laboratory) -> None:
    lab.install(MODEL, contents=[LARGE, SMALL])
    serve(lab, crash(AssertionError("must not be asked")))
    lab.place(MODEL, "dir/large.bin").touch()
    assert kinds(lab.ensure(MODEL))[2:] == [
        "file_kept",
        "file_started",
        "file_verified",
        "file_committed",
        "model_ready",
        "run_finished",
    ]
    assert kinds(lab.ensure(MODEL)).count("file_kept") == 2


def test_a_deleted_file_comes_back_from_the_cache(lab: Laboratory) -> None:
    lab.install(MODEL, contents=[LARGE, SMALL])
    lab.place(MODEL, "small.json").unlink()
    assert code(lab.ensure(MODEL, offline=True)) == 0
    assert lab.read(MODEL, "small.json") == SMALL


def test_a_changed_file_is_found_and_replaced(lab: Laboratory) -> None:
    """The same size is no proof."""
    lab.install(MODEL, contents=[LARGE, SMALL])
    path = lab.place(MODEL, "dir/large.bin")
    path.chmod(0o644)
    path.write_bytes(flipped(LARGE, 7))
    serve(lab)
    events = lab.ensure(MODEL)
    assert code(events) == 0
    assert lab.read(MODEL, "dir/large.bin") == LARGE
    assert lab.quarantined() == [flipped(LARGE, 7)]
    assert len(of(events, FileQuarantined)) == 1


def test_a_file_cut_short_is_found_and_replaced(lab: Laboratory) -> None:
    """Nine tenths of a file are not a file."""
    lab.install(MODEL, contents=[LARGE, SMALL])
    path = lab.place(MODEL, "dir/large.bin")
    path.chmod(0o644)
    path.write_bytes(LARGE[:270_000])
    serve(lab)
    assert code(lab.ensure(MODEL)) == 0
    assert lab.read(MODEL, "dir/large.bin") == LARGE


def test_without_a_receipt_the_model_is_there_and_the_next_run_fetches_nothing(lab: Laboratory) -> None:
    serve(lab)
    disk = SpyDisk(lambda operation, path: operation in ("link to", "rename to") and path.name == "1.json")
    events = lab.ensure(MODEL, runtime=lab.runtime(store=Store(lab.root, disk=disk)))
    assert code(events) == 0
    assert "1.json" in of(events, ModelReady)[0].note
    assert not (lab.root / "models" / "m" / "1.json").exists()
    later = Laboratory(lab.root)
    serve(later, crash(AssertionError("must not be asked")))
    events = later.ensure(MODEL)
    assert code(events) == 0
    assert {event.source for event in of(events, FileCommitted)} == {"cache"}
    assert (of(events, ModelReady)[0].fetched, of(events, ModelReady)[0].note) == (0, "")


def test_the_same_bytes_in_two_models_are_fetched_once(lab: Laboratory) -> None:
    offer = lab.serve(LARGE)
    first, second = model("a", {"x.bin": LARGE}), model("b", {"y.bin": LARGE, "z.bin": LARGE})
    events = lab.ensure(first, second)
    assert offer.asked == [0]
    assert {event.model: event.fetched for event in of(events, ModelReady)} == {"a": 300_000, "b": 0}
    assert sum(event.fetched for event in of(events, FileCommitted)) == 300_000
    assert statuses(events) == dict.fromkeys(["x.bin", "y.bin", "z.bin"], "completed")


def test_the_same_bytes_twice_in_a_model_count_once(lab: Laboratory) -> None:
    lab.serve(LARGE)
    events = lab.ensure(model("m", {"x.bin": LARGE, "y.bin": LARGE}))
    assert [(event.size, event.fetched) for event in of(events, ModelReady)] == [(600_000, 300_000)]


def test_a_model_asked_for_twice_is_made_once(lab: Laboratory) -> None:
    serve(lab)
    events = lab.ensure(MODEL, MODEL, runtime=lab.runtime(lock_timeout=IN_TIME))
    assert code(events) == 0
    assert len(of(events, ModelReady)) == 1
    assert len(last(events).files) == 2


def test_two_versions_of_a_model_do_not_lock_each_other_out(lab: Laboratory) -> None:
    newer = model("m", {"small.json": body(1_000, 9)}, version="2")
    older = model("m", {"small.json": SMALL})
    lab.serve(SMALL)
    lab.serve(body(1_000, 9), NOT_FOUND)
    events = lab.ensure(newer, older, runtime=lab.runtime(lock_timeout=IN_TIME))
    assert code(events) == 6
    assert [event.version for event in of(events, ModelReady)] == ["1"]
    assert [(result.status, result.size) for result in last(events).files] == [
        ("failed", 1000),
        ("completed", 1000),
    ]
    assert lab.store.receipt(newer) is None


def test_a_new_version_takes_over_what_it_shares_with_the_old(lab: Laboratory) -> None:
    lab.install(MODEL, contents=[LARGE, SMALL])
    newer = model("m", {"small.json": body(900, 9), "dir/large.bin": LARGE}, version="2")
    lab.serve(body(900, 9))
    lab.serve(LARGE, crash(AssertionError("must not be asked")))
    assert code(lab.ensure(newer)) == 0
    assert code(lab.ensure(MODEL, offline=True)) == 0


def test_force_fetches_everything_again(lab: Laboratory) -> None:
    lab.install(MODEL, contents=[LARGE, SMALL])
    large, small = lab.serve(LARGE), lab.serve(SMALL)
    events = lab.ensure(MODEL, force=True)
    assert (large.asked, small.asked) == ([0], [0])
    assert of(events, ModelReady)[0].fetched == 301_000
    assert kinds(lab.ensure(MODEL)).count("file_kept") == 2


# How it ends


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("answer", "exit_code", "word"),
    [
        (NOT_FOUND, 6, "unavailable"),
        (refuse(Fault.CONNECT), 6, "unavailable"),
        (cut(until=100), 6, "unavailable"),
        (refuse(Fault.SERVER), 6, "unavailable"),
        (refuse(Fault.AUTHORIZATION), 9, "unauthorised"),
        (refuse(Fault.SIZE), 5, "integrity"),
        (Answer(sends=bytes(300_000)), 5, "integrity"),
    ],
)
def test_a_file_nobody_delivers(lab: Laboratory, answer: Answer, exit_code: int, word: str) -> None:
    lab.serve(LARGE, answer)
    events = lab.ensure(model("m", {"f.bin": LARGE}))
    finished = last(events)
    assert (finished.outcome, finished.exit_code) == ("failed", exit_code)
    assert finished.files == (FileResult("m", "f.bin", "failed", word, "", 300_000),)
    assert finished.error is not None
    assert finished.error.code == word
    assert finished.error.message.startswith("m: ")
    assert "a.example" in finished.error.message
    assert finished.error.hint
    assert of(events, ModelReady) == []
    assert of(events, FileCommitted) == []
    assert lab.store.receipt(model("m", {"f.bin": LARGE})) is None
    assert not list(lab.root.glob("models/**/*.bin"))


def test_offline_with_everything_there_is_done(lab: Laboratory) -> None:
    lab.install(MODEL, contents=[LARGE, SMALL])
    assert code(lab.ensure(MODEL, offline=True, runtime=lab.runtime(sources=()))) == 0


def test_offline_with_something_missing_ends_with_4(lab: Laboratory) -> None:
    finished = last(lab.ensure(MODEL, offline=True, runtime=lab.runtime(sources=())))
    assert finished.exit_code == 4
    assert finished.error is not None
    assert "--offline" in finished.error.hint
    assert "(and 1 more file)" in finished.error.message


def test_a_file_without_any_source_is_unavailable(lab: Laboratory) -> None:
    finished = last(lab.ensure(MODEL))
    assert finished.exit_code == 6
    assert finished.error is not None
    assert "no source is known" in finished.error.message


def test_one_failed_file_fails_the_model_and_nothing_else(lab: Laboratory) -> None:
    """A run with a failed file is never called complete, and never costs the files that arrived."""
    other = model("n", {"o.bin": body(500, 5)})
    lab.serve(LARGE, NOT_FOUND)
    lab.serve(SMALL)
    lab.serve(body(500, 5))
    events = lab.ensure(MODEL, other)
    assert code(events) == 6
    assert statuses(events) == {"small.json": "completed", "dir/large.bin": "failed", "o.bin": "completed"}
    assert [event.model for event in of(events, ModelReady)] == ["n"]
    assert lab.store.receipt(MODEL) is None
    later = Laboratory(lab.root)
    later.serve(LARGE)
    small = later.serve(SMALL)
    assert code(later.ensure(MODEL, other)) == 0
    assert small.asked == []


def test_the_gravest_of_several_failures_names_the_run(lab: Laboratory) -> None:
    contents = [body(1000 + n, n) for n in range(3)]
    lab.serve(contents[0], NOT_FOUND)
    lab.serve(contents[1], Answer(sends=bytes(1001)))
    lab.serve(contents[2], refuse(Fault.AUTHORIZATION))
    finished = last(lab.ensure(model("m", {f"{n}.bin": content for n, content in enumerate(contents)})))
    assert finished.exit_code == 5
    assert finished.error is not None
    assert finished.error.message.startswith("m: 1.bin")
    assert finished.error.message.endswith("(and 2 more files)")
    assert {result.file: result.reason for result in finished.files} == {
        "0.bin": "unavailable",
        "1.bin": "integrity",
        "2.bin": "unauthorised",
    }


def test_every_run_is_idempotent(lab: Laboratory) -> None:
    serve(lab)
    for _ in range(3):
        assert code(lab.ensure(MODEL)) == 0


def test_a_bug_is_raised_and_lets_go_of_everything(lab: Laboratory) -> None:
    lab.serve(LARGE, crash(ZeroDivisionError("on purpose")))
    gate = Gate()
    lab.serve(SMALL, Answer(before_piece=gate))
    runtime = lab.runtime(cancel=gate.cancel)
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        lab.ensure(MODEL, runtime=runtime)
    assert all_workers_end()
    assert is_free(lab)


def test_even_an_exit_inside_a_source_does_not_hang_the_run(lab: Laboratory) -> None:
    lab.serve(LARGE, crash(SystemExit(3)))
    lab.serve(SMALL)
    with pytest.raises(SystemExit):
        lab.ensure(MODEL)
    assert is_free(lab)


# The disk


def test_a_full_disk_ends_the_run_and_spares_what_is_there(lab: Laboratory) -> None:
    other = model("n", {"o.bin": body(500, 5)})
    lab.install(other, contents=[body(500, 5)])
    large = sha256(LARGE)
    disk = SpyDisk(
        lambda done, path: done == "write" and large in path.parts and path.name.startswith("data")
    )
    serve(lab)
    events = lab.ensure(MODEL, other, runtime=lab.runtime(store=Store(lab.root, disk=disk), files=1))
    finished = last(events)
    assert finished.exit_code == 7
    assert finished.error is not None
    assert finished.error.code == "disk"
    assert "the disk is full" in finished.error.message
    assert str(lab.root) in finished.error.message
    assert statuses(events)["o.bin"] == "completed"
    assert {(result.status, result.reason) for result in finished.files if result.model == "m"} == {
        ("cancelled", "disk")
    }
    assert all_workers_end()
    assert is_free(lab)
    assert code(lab.ensure(other, offline=True)) == 0
    assert code(lab.ensure(MODEL)) == 0


class FullDisk(SpyDisk):
    """Has a number of bytes left."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self._left_over = left

    def free(self, path: Path) -> int | None:
        return self._left_over


def test_too_little_space_is_found_out_before_the_first_byte(lab: Laboratory) -> None:
    large, small = lab.serve(LARGE), lab.serve(SMALL)
    searched: list[object] = []
    tight = replace(lab.runtime(store=Store(lab.root, disk=FullDisk(200_000))), discover=searched.append)
    finished = last(lab.ensure(MODEL, runtime=tight))
    assert finished.exit_code == 7
    assert not searched
    assert finished.error is not None
    assert "304 kB are needed, 200 kB are free" in finished.error.message
    assert (large.asked, small.asked) == ([], [])


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_an_executable_file_needs_its_space_twice(lab: Laboratory) -> None:
    serve(lab)
    small, large = MODEL.files
    tool = replace(MODEL, files=(small, replace(large, executable=True)))
    finished = last(lab.ensure(tool, runtime=lab.runtime(store=Store(lab.root, disk=FullDisk(400_000)))))
    assert finished.error is not None
    assert "607 kB are needed, 400 kB are free" in finished.error.message


@pytest.mark.parametrize("there", ["partial", "blob"])
def test_bytes_that_are_there_need_no_space(lab: Laboratory, there: str) -> None:
    serve(lab)
    if there == "partial":
        lab.begin(LARGE, "mirror old.example", 290_000)
    else:
        lab.install(model("other", {"x.bin": LARGE}), contents=[LARGE])
    assert code(lab.ensure(MODEL, runtime=lab.runtime(store=Store(lab.root, disk=FullDisk(20_000))))) == 0


def test_fetching_anew_needs_all_the_space(lab: Laboratory) -> None:
    lab.install(MODEL, contents=[LARGE, SMALL])
    serve(lab)
    full = lab.runtime(store=Store(lab.root, disk=FullDisk(20_000)))
    assert code(lab.ensure(MODEL, runtime=full, force=True)) == 7
    assert code(lab.ensure(MODEL, offline=True)) == 0


# Time


def test_a_time_limit_ends_the_run_and_keeps_the_good_bytes(lab: Laboratory) -> None:
    gate, clock = Gate(), FakeClock()

    def stop_at_half() -> None:
        if len(offer.streams) == 1 and gate.reached.is_set():
            clock.now += 1.0
            gate()
        gate.reached.set()

    offer = lab.serve(LARGE, Answer(piece=100_000, before_piece=stop_at_half), OK)
    runtime = lab.runtime(cancel=gate.cancel, seconds=0.1, clock=clock)
    began = time.monotonic()
    events = lab.ensure(model("m", {"f.bin": LARGE}), runtime=runtime)
    assert time.monotonic() - began < IN_TIME
    finished = last(events)
    assert finished.exit_code == 10
    assert finished.error is not None
    assert "--timeout" in finished.error.hint
    assert finished.files == (FileResult("m", "f.bin", "cancelled", "timeout", "", 300_000),)
    assert all_workers_end()
    assert is_free(lab)
    assert code(lab.ensure(model("m", {"f.bin": LARGE}))) == 0
    assert offer.asked == [0, 100_000]


def test_a_time_limit_that_is_over_before_it_begins(lab: Laboratory) -> None:
    offer = lab.serve(LARGE)
    assert code(lab.ensure(model("m", {"f.bin": LARGE}), runtime=lab.runtime(seconds=0.0))) == 10
    assert offer.asked in ([], [0])
    assert is_free(lab)


def test_what_was_done_in_the_last_moment_counts(lab: Laboratory) -> None:
    """Time runs out while the last file is put in place: it is there, so the run is done."""
    passing = FakeTime()
    lab.serve(LARGE)
    runtime = lab.runtime(clock=passing.clock, seconds=10.0)
    events = []
    for event in lab.follow(model("m", {"f.bin": LARGE}), runtime=runtime):
        events.append(event)
        if isinstance(event, FileCommitted):
            passing.clock.now += 100.0
    assert code(events) == 0
    assert len(of(events, ModelReady)) == 1


@pytest.mark.slow
def test_the_rate_limit_holds_for_all_files_together(lab: Laboratory) -> None:
    contents = [body(100_000, n) for n in range(4)]
    for content in contents:
        lab.serve(content, Answer(piece=10_000))
    began = time.monotonic()
    wanted = model("m", {f"{n}.bin": content for n, content in enumerate(contents)})
    assert code(lab.ensure(wanted, runtime=lab.runtime(limit_rate=600_000))) == 0
    assert 0.35 <= time.monotonic() - began < IN_TIME


def test_bytes_of_this_disk_are_not_slowed_down(lab: Laboratory) -> None:
    lab.serve(LARGE, kind="local", host="/somewhere")
    began = time.monotonic()
    assert code(lab.ensure(model("m", {"f.bin": LARGE}), runtime=lab.runtime(limit_rate=1_000))) == 0
    assert time.monotonic() - began < IN_TIME


@pytest.mark.parametrize("files", [1, 3])
def test_no_more_files_are_in_work_than_allowed(lab: Laboratory, files: int) -> None:
    lock, now, most, all_in = threading.Lock(), 0, 0, threading.Barrier(files, timeout=IN_TIME)

    def enter() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        all_in.wait()
        with lock:
            now -= 1

    contents = [body(1_000, n) for n in range(6)]
    for content in contents:
        lab.serve(content, Answer(before_piece=enter))
    wanted = model("m", {f"{n}.bin": content for n, content in enumerate(contents)})
    assert code(lab.ensure(wanted, runtime=lab.runtime(files=files))) == 0
    assert most == files


# Cancelling


def slowly() -> None:
    time.sleep(0.003)


@pytest.mark.quick(5)
@pytest.mark.parametrize("count", range(1, 16))
def test_the_run_can_be_closed_at_any_event(lab: Laboratory, count: int) -> None:
    serve(lab, Answer(piece=30_000, before_piece=slowly), OK)
    run = lab.follow(MODEL, runtime=lab.runtime(files=2))
    told = list(islice(run, count))
    run.close()
    assert all_workers_end()
    assert is_free(lab)
    assert [event for event in of(told, RunFinished) if event.outcome != "completed"] == []
    later = Laboratory(lab.root)
    serve(later)
    events = later.ensure(MODEL)
    assert code(events) == 0
    assert lab.read(MODEL, "dir/large.bin") == LARGE
    seen = max((event.received for event in of(told, Progress) if event.file == "dir/large.bin"), default=0)
    assert of(events, Planned)[0].missing <= 301_000 - seen


def test_closing_while_a_source_is_silent_takes_no_time(lab: Laboratory) -> None:
    gate = Gate()
    serve(lab, Answer(before_piece=gate))
    run = lab.follow(MODEL, runtime=lab.runtime(cancel=gate.cancel))
    while not gate.reached.is_set():
        next(run)
    began = time.monotonic()
    run.close()
    assert time.monotonic() - began < IN_TIME
    assert all_workers_end()
    assert is_free(lab)


def test_closing_while_waiting_to_ask_again_takes_no_time(lab: Laboratory) -> None:
    lab.serve(LARGE, refuse(Fault.BUSY, retry_after=200.0))
    run = lab.follow(model("m", {"f.bin": LARGE}))
    assert "retry_scheduled" in kinds(islice(run, 5))
    began = time.monotonic()
    run.close()
    assert time.monotonic() - began < IN_TIME
    assert all_workers_end()
    assert is_free(lab)


def test_closing_while_waiting_for_a_lock_takes_no_time(lab: Laboratory) -> None:
    other = model("a", {"o.bin": SMALL})
    held = lab.store.lock_model("m")
    assert held.try_acquire()
    serve(lab)
    run = lab.follow(other, MODEL)
    while not isinstance(next(run), LockWaiting):
        pass
    run.close()
    held.release()
    assert is_free(lab, "a")
    assert is_free(lab, "m")


@pytest.mark.slow
def test_a_source_that_cannot_be_woken_stops_at_its_next_byte(lab: Laboratory) -> None:
    asleep, wake = threading.Event(), threading.Event()

    def deaf() -> None:
        asleep.set()
        wake.wait(HELD)

    lab.serve(LARGE, Answer(piece=50_000, before_piece=deaf))
    run = lab.follow(model("m", {"f.bin": LARGE}))
    while not asleep.is_set():
        next(run)
    began = time.monotonic()
    run.close()
    assert time.monotonic() - began < IN_TIME
    until(lambda: len(workers()) == 1)
    (left_behind,) = workers()
    wake.set()
    left_behind.join(IN_TIME)
    assert not left_behind.is_alive()
    assert is_free(lab)
    assert not lab.place(MODEL, "f.bin").exists()
    assert lab.store.held(model("m", {"f.bin": LARGE}).files[0]) == 0


def test_ctrl_c_comes_through_and_lets_go_of_everything(lab: Laboratory) -> None:
    gate = Gate()
    serve(lab, Answer(before_piece=gate))
    run = lab.follow(MODEL, runtime=lab.runtime(cancel=gate.cancel))
    while not gate.reached.is_set():
        next(run)
    with pytest.raises(KeyboardInterrupt):
        run.throw(KeyboardInterrupt())
    assert all_workers_end()
    assert is_free(lab)


@pytest.mark.parametrize("moment", [RunStarted, Planned, FileStarted, Progress])
def test_a_run_cancelled_from_elsewhere_ends_as_cancelled(lab: Laboratory, moment: type[Event]) -> None:
    gate = Gate()
    serve(lab, Answer(before_piece=gate))
    runtime = lab.runtime(cancel=gate.cancel)
    events = []
    for event in lab.follow(MODEL, runtime=runtime):
        events.append(event)
        if isinstance(event, moment):
            runtime.cancel.cancel()
    finished = last(events)
    assert (finished.outcome, finished.exit_code) == ("cancelled", 130)
    assert {(result.status, result.reason) for result in finished.files} == {("cancelled", "cancelled")}
    assert all_workers_end()
    assert is_free(lab)


def test_a_run_cancelled_while_it_waits_for_a_lock_ends_as_cancelled(lab: Laboratory) -> None:
    held = lab.store.lock_model("m")
    assert held.try_acquire()
    runtime = lab.runtime()
    events = []
    for event in lab.follow(MODEL, runtime=runtime):
        events.append(event)
        if isinstance(event, LockWaiting):
            runtime.cancel.cancel()
    assert code(events) == 130
    held.release()


# Several runs


def test_two_runs_at_once_fetch_every_byte_once(lab: Laboratory) -> None:
    contents = [body(50_000, n) for n in range(6)]
    wanted = model("m", {f"{n}.bin": content for n, content in enumerate(contents)})
    others = [Laboratory(lab.root) for _ in range(3)]
    offers = [[other.serve(content) for content in contents] for other in others]
    ended = together(*(lambda other=other: other.ensure(wanted) for other in others))
    assert [code(events) for events in ended] == [0, 0, 0]
    for asked in zip(*([offer.asked for offer in row] for row in offers), strict=True):
        assert sorted(asked) == [[], [], [0]]


def test_models_that_share_bytes_fetch_them_once_in_two_runs(lab: Laboratory) -> None:
    labs = [Laboratory(lab.root), Laboratory(lab.root)]
    offers = [each.serve(LARGE, Answer(before_piece=slowly)) for each in labs]
    wanted = [model(name, {"f.bin": LARGE}) for name in ("a", "b")]
    ended = together(*(lambda each=each, m=m: each.ensure(m) for each, m in zip(labs, wanted, strict=True)))
    assert [code(events) for events in ended] == [0, 0]
    assert sorted(offer.asked for offer in offers) == [[], [0]]


def together(*runs: Callable[[], list[Event]]) -> list[list[Event]]:
    """Run several at once."""
    results: dict[int, list[Event]] = {}

    def run(n: int) -> None:
        results[n] = runs[n]()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(runs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(IN_TIME)
    return [results[n] for n in range(len(runs))]


def test_the_lock_of_a_model_is_held_from_the_plan_to_the_end(lab: Laboratory) -> None:
    serve(lab)
    states: dict[str, bool] = {}
    for event in lab.follow(MODEL):
        lock = lab.store.lock_model("m")
        states[event.kind] = not lock.try_acquire()
        lock.release()
    held = {"planned", "file_started", "progress", "file_verified", "file_committed", "model_ready"}
    assert {kind for kind, is_held in states.items() if is_held} == held


def test_a_failed_run_is_no_answer_to_who_waited_for_it(lab: Laboratory) -> None:
    """Who waits looks for himself when the lock is free, and tries again what failed."""
    failing, trying = Laboratory(lab.root), Laboratory(lab.root)
    failing.serve(LARGE, NOT_FOUND)
    trying.serve(LARGE)
    wanted = model("m", {"f.bin": LARGE})
    first: Generator[Event, None, None] = failing.follow(wanted)
    while not isinstance(next(first), Planned):
        pass
    second = trying.follow(wanted)
    while not isinstance(next(second), LockWaiting):
        pass
    assert code(list(first)) == 6
    assert code(list(second)) == 0


# Elsewhere


def test_the_files_can_be_put_elsewhere_too(lab: Laboratory, tmp_path: Path) -> None:
    serve(lab)
    to = tmp_path / "app" / "models"
    for offline in (False, True):
        assert code(lab.ensure(MODEL, to=to, offline=offline)) == 0
        assert (to / "small.json").read_bytes() == SMALL
        assert (to / "dir" / "large.bin").read_bytes() == LARGE
        (to / "small.json").unlink()


def test_another_file_in_the_way_elsewhere_is_put_aside_and_told(lab: Laboratory, tmp_path: Path) -> None:
    serve(lab)
    to = tmp_path / "app"
    to.mkdir()
    (to / "small.json").write_bytes(b"mine")
    events = lab.ensure(MODEL, to=to)
    assert (to / "small.json").read_bytes() == SMALL
    (told,) = of(events, FileQuarantined)
    assert (told.file, told.actual) == ("small.json", sha256(b"mine"))
    assert (Path(told.path) / "data").read_bytes() == b"mine"


class TwoDisks(FullDisk):
    """Has another file system, with its own free bytes, below one directory."""

    def __init__(self, left: int, other: Path, left_there: int) -> None:
        super().__init__(left)
        self._other = other
        self._left_there = left_there

    def stat(self, path: Path) -> os.stat_result | None:
        found = super().stat(path)
        if found is None or not path.is_relative_to(self._other):
            return found
        facts = list(found)
        facts[stat.ST_DEV] += 1
        return os.stat_result(facts)

    def free(self, path: Path) -> int | None:
        return self._left_there if path.is_relative_to(self._other) else super().free(path)


def two_disks(lab: Laboratory, here: int, there: int) -> tuple[Runtime, Path]:
    """A runtime whose cache has some bytes left, and a directory on a file system that has others."""
    far = lab.root.parent / "far"
    far.mkdir()
    return lab.runtime(store=Store(lab.root, disk=TwoDisks(here, far, there))), far / "app"


def test_too_little_space_in_the_target_is_found_out_before_the_first_byte(lab: Laboratory) -> None:
    large, small = lab.serve(LARGE), lab.serve(SMALL)
    runtime, to = two_disks(lab, 400_000, 200_000)
    finished = last(lab.ensure(MODEL, runtime=runtime, to=to))
    assert finished.exit_code == 7
    assert finished.error is not None
    assert finished.error.code == "disk"
    assert finished.error.message == f"{to}: 304 kB are needed, 200 kB are free"
    assert "--to" in finished.error.hint
    assert (large.asked, small.asked) == ([], [])
    assert not to.exists()


def test_copies_on_another_disk_take_no_space_of_the_cache(lab: Laboratory) -> None:
    serve(lab)
    runtime, to = two_disks(lab, 305_000, 305_000)
    assert code(lab.ensure(MODEL, runtime=runtime, to=to)) == 0
    assert (to / "dir" / "large.bin").read_bytes() == LARGE


def test_links_on_the_same_disk_take_no_space(lab: Laboratory, tmp_path: Path) -> None:
    serve(lab)
    runtime, _ = two_disks(lab, 305_000, 0)
    assert code(lab.ensure(MODEL, runtime=runtime, to=tmp_path / "near")) == 0


def test_copies_of_a_model_that_is_there_need_space_too(lab: Laboratory) -> None:
    lab.install(MODEL, contents=[LARGE, SMALL])
    runtime, to = two_disks(lab, 0, 200_000)
    events = lab.ensure(MODEL, runtime=runtime, to=to)
    assert code(events) == 7
    assert not to.exists()


def test_copies_that_are_there_need_no_space(lab: Laboratory) -> None:
    lab.install(MODEL, contents=[LARGE, SMALL])
    runtime, to = two_disks(lab, 400_000, 2_000)
    (to / "dir").mkdir(parents=True)
    (to / "dir" / "large.bin").write_bytes(LARGE)
    assert code(lab.ensure(MODEL, runtime=runtime, to=to)) == 0
    assert (to / "small.json").read_bytes() == SMALL


def test_targets_on_one_file_system_share_its_space(lab: Laboratory) -> None:
    serve(lab)
    runtime, to = two_disks(lab, 400_000, 500_000)
    repo = HuggingFaceRepo("owner/name", "0" * 40)
    wanted = [replace(MODEL, huggingface=repo)]
    for export in (Export(to), Export(hub_cache=to.parent / "hub")):
        export.check_space(wanted, runtime.store)
    with pytest.raises(StoreError, match="608 kB are needed, 500 kB are free"):
        Export(to, to.parent / "hub").check_space(wanted, runtime.store)
    with pytest.raises(StoreError, match="far/hub") as caught:
        Export(hub_cache=to.parent / "hub").check_space([*wanted, large_model(repo)], runtime.store)
    assert "--layout hf" in caught.value.hint


def large_model(repo: HuggingFaceRepo) -> Manifest:
    return replace(model("n", {"other.bin": body(300_000, 9)}), huggingface=repo)


def test_a_place_elsewhere_that_cannot_be_written_ends_with_7(lab: Laboratory, tmp_path: Path) -> None:
    serve(lab)
    (tmp_path / "file").touch()
    events = lab.ensure(MODEL, to=tmp_path / "file")
    assert code(events) == 7
    assert statuses(events) == {"small.json": "completed", "dir/large.bin": "completed"}
    assert code(lab.ensure(MODEL, offline=True)) == 0


# Contracts of the stream


def test_the_end_is_always_one_and_last(lab: Laboratory) -> None:
    contents = [body(2_000 + n, n) for n in range(5)]
    answers = [OK, NOT_FOUND, Answer(sends=bytes(2_002)), cut(until=7), refuse(Fault.AUTHORIZATION)]
    for content, answer in zip(contents, answers, strict=True):
        lab.serve(content, answer)
    wanted = model("m", {f"{n}.bin": content for n, content in enumerate(contents)})
    events = lab.ensure(wanted)
    assert last(events).outcome == "failed"
    assert [result.file for result in last(events).files] == [f"{n}.bin" for n in range(5)]
    assert last(events).seconds >= 0


def test_a_run_that_was_ended_before_it_began_still_ends(lab: Laboratory) -> None:
    cancel = Cancellation()
    cancel.cancel()
    assert story(lab.ensure(MODEL, runtime=lab.runtime(cancel=cancel)))[-1] == RunFinished(
        "cancelled",
        130,
        0.0,
        (
            FileResult("m", "small.json", "cancelled", "cancelled", "", 1_000),
            FileResult("m", "dir/large.bin", "cancelled", "cancelled", "", 300_000),
        ),
        ErrorInfo("cancelled", "cancelled", "run the command again to continue"),
    )


def test_the_time_limit_names_file_source_and_limit(lab: Laboratory) -> None:
    gate, passing = Gate(), FakeClock()
    lab.serve(LARGE, Answer(before_piece=gate))
    runtime = lab.runtime(seconds=30, clock=passing, cancel=gate.cancel)
    events = []
    for event in lab.follow(model("m", {"f.bin": LARGE}), runtime=runtime):
        events.append(event)
        if isinstance(event, Progress):
            passing.now += 31
    finished = last(events)
    assert finished.exit_code == 10
    assert finished.error is not None
    assert finished.error.message == "m: f.bin from mirror a.example: the time limit of 30 s was reached"


@pytest.mark.slow
def test_a_model_of_many_files_is_ready_once(lab: Laboratory) -> None:
    contents = [body(16, n) for n in range(120)]
    for content in contents:
        lab.serve(content)
    wanted = model("m", {f"{n}.bin": content for n, content in enumerate(contents)})
    events = lab.ensure(wanted)
    assert code(events) == 0
    assert len(of(events, FileCommitted)) == 120
    assert len(of(events, ModelReady)) == 1


def test_wrong_bytes_never_have_a_final_name_at_any_moment(lab: Laboratory) -> None:
    content = body(MIB, 3)
    wanted = model("m", {"f.bin": content})
    names = [lab.place(wanted, "f.bin"), Layout(lab.store.root).blob(sha256(content))]
    seen: set[bytes] = set()

    def look() -> None:
        seen.update(sha256(path.read_bytes()).encode() for path in names if path.exists())

    wrong = Answer(sends=flipped(content, 9), before_piece=look)
    lab.serve(
        content,
        Answer(sends=flipped(content, 1), until=500_000, error=SourceError(Fault.CUT, ""), before_piece=look),
        wrong,
        host="a.example",
    )
    lab.serve(content, wrong, host="b.example")
    lab.serve(content, Answer(before_piece=look), host="c.example")
    for _ in lab.follow(wanted):
        look()
    assert seen == {sha256(content).encode()}


# One digest, two sizes


def sized(name: str, content: bytes, size: int) -> Manifest:
    """A model whose manifest gives a file another size than it has."""
    return Manifest(name, "1", (replace(spec("f.bin", content), size=size),), license="MIT")


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("others", "by"),
    [
        *(pytest.param(0, by, id=f"alone, {by:+}") for by in (-1, 1, 100_000)),
        pytest.param(40, -1, id="beside a batch, -1"),
        *(pytest.param(40, by, id=f"beside a batch, {by:+}", marks=pytest.mark.slow) for by in (1, 100_000)),
    ],
)
def test_a_size_that_is_wrong_is_told_and_the_right_one_ensured(
    lab: Laboratory, by: int, others: int
) -> None:
    content = body(200_000)
    lab.serve(content)
    small = {f"{n}.bin": body(100 + n, n) for n in range(others)}
    for each in small.values():
        lab.serve(each)
    right = model("right", {"f.bin": content, **small})
    wrong = sized("wrong", content, len(content) + by)
    for models in [(right, wrong), (wrong, right)]:
        events = lab.ensure(*models, force=True)
        error = last(events).error
        assert error is not None
        assert (code(events), error.code) == (5, "integrity")
        assert error.message == (
            f"wrong: f.bin: its manifest says {200_000 + by} bytes, but those with this SHA-256 are 200000, "
            "as verified for right"
        )
        assert [event.model for event in of(events, ModelReady)] == ["right"]
        assert lab.read(right, "f.bin") == content
        assert not lab.place(wrong, "f.bin").exists()


def test_sizes_that_are_all_wrong_are_told_as_ever(lab: Laboratory) -> None:
    content = body(1000)
    lab.serve(content)
    events = lab.ensure(sized("a", content, 999), sized("b", content, 1001))
    assert code(events) in (5, 6)
    assert not of(events, ModelReady)
    assert {result.status for result in last(events).files} == {"failed"}


def test_what_was_begun_for_the_right_size_is_not_lost_to_the_wrong_one(lab: Laboratory) -> None:
    content = body(300_000)
    lab.begin(content, "mirror old.example", 200_000)
    offer = lab.serve(content)
    events = lab.ensure(sized("a", content, 400_000), model("right", {"f.bin": content}))
    assert [event.model for event in of(events, ModelReady)] == ["right"]
    assert offer.asked == [200_000]

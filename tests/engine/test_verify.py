"""Proving what is there, and putting right what is not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.engine.events import (
    ErrorInfo,
    Event,
    FileCommitted,
    FileKept,
    FileQuarantined,
    FileResult,
    FileStarted,
    FileVerified,
    ModelReady,
    Planned,
    Progress,
    RunFinished,
    RunStarted,
    SourceFailed,
)
from modelfetch.engine.verify import VerifyRequest, verify
from modelfetch.model.manifest import Manifest
from modelfetch.store import Disk, Store
from tests.engine.fakes import (
    MIB,
    NOT_FOUND,
    Answer,
    FakeTime,
    Laboratory,
    SpyDisk,
    all_workers_end,
    body,
    code,
    crash,
    flipped,
    kinds,
    last,
    model,
    of,
    sha256,
    statuses,
    story,
)
from tests.patience import IN_TIME

LARGE, SMALL = body(300_000, 1), body(1_000, 2)
MODEL = model("m", {"small.json": SMALL, "dir/large.bin": LARGE})
ROTTEN = flipped(LARGE, 123_456)


@pytest.fixture
def installed(lab: Laboratory) -> Laboratory:
    lab.install(MODEL, contents=[LARGE, SMALL])
    return lab


def overwrite(path: Path, content: bytes, *, unseen: bool = False) -> None:
    """Change a file in place; unseen means with its old time, as bits rot."""
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(before.st_mode)
    if unseen:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def found(events: list[Event]) -> list[tuple[str, str, str]]:
    """What was wrong with which file."""
    return [(event.source, event.file, event.fault) for event in of(events, SourceFailed)]


def reasons(events: list[Event]) -> dict[str, tuple[str, str]]:
    return {result.file: (result.status, result.reason) for result in last(events).files}


# Looking


def test_a_sound_model_from_beginning_to_end(installed: Laboratory) -> None:
    events = story(installed.verify(MODEL))
    small, large = MODEL.files
    assert kinds(events)[:2] == ["run_started", "planned"]
    assert events[0] == RunStarted("verify", ("m",))
    checked: list[Event] = [
        FileStarted("m", "dir/large.bin", 300_000, 0),
        FileVerified("m", "dir/large.bin", 300_000, large.sha256),
        FileStarted("m", "small.json", 1_000, 0),
        FileVerified("m", "small.json", 1_000, small.sha256),
    ]
    assert sorted(events[2:-1], key=repr) == sorted(checked, key=repr)
    assert events[-1] == RunFinished(
        "completed",
        0,
        0.0,
        (
            FileResult("m", "small.json", "completed", "", "cache", 1_000),
            FileResult("m", "dir/large.bin", "completed", "", "cache", 300_000),
        ),
        None,
    )


def test_rot_that_changed_neither_size_nor_time_is_found(installed: Laboratory) -> None:
    overwrite(installed.place(MODEL, "dir/large.bin"), ROTTEN, unseen=True)
    events = installed.verify(MODEL)
    assert found(events) == [("cache", "dir/large.bin", "hash")]
    (told,) = of(events, SourceFailed)
    assert sha256(ROTTEN) in told.reason
    assert sha256(LARGE) in told.reason
    assert reasons(events) == {"small.json": ("completed", ""), "dir/large.bin": ("failed", "hash")}
    digests = f"hash (has SHA-256 {sha256(ROTTEN)} instead of {sha256(LARGE)})"
    assert last(events).error == ErrorInfo(
        "integrity",
        f"1 of 2 files failed verification: m: dir/large.bin: {digests}",
        "Repair them: modelfetch verify --repair m",
    )
    assert code(events) == 5


@pytest.mark.quick(1)
@pytest.mark.parametrize("at", [0, 1, MIB - 1, MIB, 2 * MIB + 16])
def test_a_single_bit_is_found_wherever_it_is(lab: Laboratory, at: int) -> None:
    content = body(2 * MIB + 17)
    wanted = model("m", {"f.bin": content})
    lab.install(wanted, contents=[content])
    overwrite(lab.place(wanted, "f.bin"), flipped(content, at), unseen=True)
    assert found(lab.verify(wanted)) == [("cache", "f.bin", "hash")]


def test_a_missing_file_is_found(installed: Laboratory) -> None:
    installed.place(MODEL, "small.json").unlink()
    events = installed.verify(MODEL)
    assert found(events) == [("cache", "small.json", "missing")]
    assert reasons(events)["small.json"] == ("failed", "missing")
    assert code(events) == 5


@pytest.mark.parametrize("length", [0, 299_999, 270_000])
def test_a_file_of_another_length_is_found_without_reading_it(installed: Laboratory, length: int) -> None:
    overwrite(installed.place(MODEL, "dir/large.bin"), LARGE[:length])
    disk = SpyDisk()
    events = installed.verify(MODEL, runtime=installed.runtime(store=Store(installed.root, disk=disk)))
    assert found(events) == [("cache", "dir/large.bin", "size")]
    assert f"{length} bytes instead of 300000" in of(events, SourceFailed)[0].reason
    assert ("read", installed.place(MODEL, "dir/large.bin")) not in disk.operations


def test_a_link_is_not_the_file(installed: Laboratory, tmp_path: Path) -> None:
    path = installed.place(MODEL, "small.json")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert found(installed.verify(MODEL)) == [("cache", "small.json", "missing")]


def test_a_model_that_was_never_fetched_is_missing(lab: Laboratory) -> None:
    events = lab.verify(MODEL)
    assert {fault for _, _, fault in found(events)} == {"missing"}
    assert code(events) == 5
    finished = last(events)
    assert finished.error is not None
    assert finished.error.message.endswith("(and 1 more)")
    assert not lab.root.exists()


def test_every_bad_file_is_named_and_the_good_ones_too(installed: Laboratory) -> None:
    other = model("n", {"o.bin": body(700, 7), "p.bin": body(800, 8)})
    installed.install(other, contents=[body(700, 7), body(800, 8)])
    installed.place(MODEL, "small.json").unlink()
    overwrite(installed.place(other, "p.bin"), body(800, 9))
    events = installed.verify(MODEL, other)
    assert reasons(events) == {
        "small.json": ("failed", "missing"),
        "dir/large.bin": ("completed", ""),
        "o.bin": ("completed", ""),
        "p.bin": ("failed", "hash"),
    }
    finished = last(events)
    assert finished.error is not None
    assert finished.error.message.startswith("2 of 4 files failed verification")
    assert finished.error.hint == "Repair them: modelfetch verify --repair m n"


def test_looking_asks_nobody_and_changes_nothing(installed: Laboratory) -> None:
    offer = installed.serve(LARGE)
    overwrite(installed.place(MODEL, "dir/large.bin"), ROTTEN)
    before = snapshot(installed.root)
    disk = SpyDisk()
    installed.verify(MODEL, runtime=installed.runtime(store=Store(installed.root, disk=disk)))
    assert snapshot(installed.root) == before
    assert {operation for operation, _ in disk.operations} <= {"inspect", "list", "open", "read", "close"}
    assert offer.asked == []


def snapshot(root: Path) -> dict[Path, tuple[int, int, int]]:
    """Every file and directory as it looks."""
    looks = {path: path.lstat() for path in root.rglob("*")}
    return {path: (look.st_ino, look.st_mtime_ns, look.st_size) for path, look in looks.items()}


def test_progress_is_bytes_hashed(installed: Laboratory) -> None:
    told = of(installed.verify(MODEL), Progress)
    assert {event.file for event in told} == {"small.json", "dir/large.bin"}
    assert {(event.source, event.host, event.attempt) for event in told} == {("cache", "", 1)}
    assert all(0 < event.received <= event.size for event in told)


# Quickly


def test_quick_reads_nothing_that_did_not_change(installed: Laboratory) -> None:
    disk = SpyDisk()
    runtime = installed.runtime(store=Store(installed.root, disk=disk))
    events = installed.verify(MODEL, runtime=runtime, quick=True)
    assert sorted(event.file for event in of(events, FileKept)) == ["dir/large.bin", "small.json"]
    assert {path.name for operation, path in disk.operations if operation == "read"} == {"1.json"}
    assert code(events) == 0
    assert set(statuses(events).values()) == {"completed"}


def test_quick_reads_what_changed(installed: Laboratory) -> None:
    installed.place(MODEL, "small.json").touch()
    overwrite(installed.place(MODEL, "dir/large.bin"), ROTTEN)
    events = installed.verify(MODEL, quick=True)
    assert [event.file for event in of(events, FileVerified)] == ["small.json"]
    assert found(events) == [("cache", "dir/large.bin", "hash")]


def test_quick_does_not_see_silent_rot_and_the_full_look_does(installed: Laboratory) -> None:
    overwrite(installed.place(MODEL, "dir/large.bin"), ROTTEN, unseen=True)
    assert code(installed.verify(MODEL, quick=True)) == 0
    assert code(installed.verify(MODEL)) == 5


def test_quick_reads_everything_when_there_is_no_receipt(installed: Laboratory) -> None:
    (installed.root / "models" / "m" / "1.json").unlink()
    events = installed.verify(MODEL, quick=True)
    assert of(events, FileKept) == []
    assert len(of(events, FileVerified)) == 2
    assert code(events) == 0


# Repairing


@pytest.mark.parametrize("unseen", [True, False])
def test_a_rotten_file_is_put_right_and_its_bytes_are_put_aside(installed: Laboratory, unseen: bool) -> None:
    overwrite(installed.place(MODEL, "dir/large.bin"), ROTTEN, unseen=unseen)
    large = installed.serve(LARGE)
    small = installed.serve(SMALL, crash(AssertionError("must not be asked")))
    events = installed.verify(MODEL, repair=True)
    assert code(events) == 0
    assert installed.read(MODEL, "dir/large.bin") == LARGE
    assert (large.asked, small.asked) == ([0], [])
    assert installed.quarantined() == [ROTTEN]
    assert [(event.file, event.actual) for event in of(events, FileQuarantined)] == [
        ("dir/large.bin", sha256(ROTTEN))
    ]
    assert set(statuses(events).values()) == {"completed"}
    assert [event.file for event in of(events, FileCommitted)] == ["dir/large.bin"]
    assert len(of(events, Planned)) == 1
    assert len(of(events, ModelReady)) == 1
    assert code(installed.verify(MODEL)) == 0
    assert kinds(installed.ensure(MODEL)).count("file_kept") == 2


def test_a_missing_file_comes_back_from_the_cache(installed: Laboratory) -> None:
    installed.place(MODEL, "small.json").unlink()
    offer = installed.serve(SMALL)
    assert code(installed.verify(MODEL, repair=True, offline=True)) == 0
    assert installed.read(MODEL, "small.json") == SMALL
    assert offer.asked == []


def test_with_nothing_to_repair_nothing_is_touched(installed: Laboratory) -> None:
    before = snapshot(installed.root)
    events = installed.verify(MODEL, repair=True)
    assert code(events) == 0
    assert snapshot(installed.root) == before


def test_bad_bytes_keep_their_name_until_their_replacement_was_verified(installed: Laboratory) -> None:
    path = installed.place(MODEL, "dir/large.bin")
    overwrite(path, ROTTEN)
    seen: list[bytes] = []
    installed.serve(LARGE, Answer(before_piece=lambda: seen.append(path.read_bytes())))
    assert code(installed.verify(MODEL, repair=True)) == 0
    assert set(seen) == {ROTTEN}


@pytest.mark.parametrize("answer", [NOT_FOUND, Answer(sends=body(300_000, 5)), None])
def test_a_file_that_cannot_be_replaced_is_not_taken_away(
    installed: Laboratory, answer: Answer | None
) -> None:
    """The verdict is about the file, whatever kept it from being put right."""
    overwrite(installed.place(MODEL, "dir/large.bin"), ROTTEN)
    if answer is not None:
        installed.serve(LARGE, answer)
    events = installed.verify(MODEL, repair=True)
    assert code(events) == 5
    assert installed.read(MODEL, "dir/large.bin") == ROTTEN
    assert reasons(events) == {"small.json": ("completed", ""), "dir/large.bin": ("failed", "hash")}


def test_what_can_be_repaired_is_repaired(installed: Laboratory) -> None:
    overwrite(installed.place(MODEL, "dir/large.bin"), ROTTEN)
    overwrite(installed.place(MODEL, "small.json"), body(1_000, 9))
    installed.serve(SMALL)
    installed.serve(LARGE, NOT_FOUND)
    events = installed.verify(MODEL, repair=True)
    assert code(events) == 5
    assert reasons(events) == {"small.json": ("completed", ""), "dir/large.bin": ("failed", "hash")}
    assert installed.read(MODEL, "small.json") == SMALL


def test_a_model_that_was_never_fetched_is_fetched(lab: Laboratory) -> None:
    lab.serve(LARGE)
    lab.serve(SMALL)
    assert code(lab.verify(MODEL, repair=True)) == 0
    assert code(lab.ensure(MODEL, offline=True)) == 0


def test_offline_and_without_a_copy_nothing_is_lost(installed: Laboratory) -> None:
    overwrite(installed.place(MODEL, "dir/large.bin"), ROTTEN)
    events = installed.verify(MODEL, repair=True, offline=True, runtime=installed.runtime(sources=()))
    assert code(events) == 5
    assert installed.read(MODEL, "dir/large.bin") == ROTTEN


def test_two_versions_are_told_apart(lab: Laboratory) -> None:
    contents = [body(1_000, 1), body(1_000, 2)]
    versions = [model("m", {"f.bin": contents[n]}, version=f"{n}") for n in range(2)]
    lab.install(*versions, contents=contents)
    overwrite(lab.place(versions[1], "f.bin"), body(1_000, 3), unseen=True)
    events = lab.verify(*versions)
    assert [result.status for result in last(events).files] == ["completed", "failed"]
    lab.serve(contents[1])
    repaired = lab.verify(*versions, repair=True, runtime=lab.runtime(lock_timeout=IN_TIME))
    assert code(repaired) == 0
    assert [lab.read(version, "f.bin") for version in versions] == contents


def test_both_versions_can_be_repaired_in_one_run(lab: Laboratory) -> None:
    contents = [body(1_000, 1), body(1_000, 2)]
    versions = [model("m", {"f.bin": contents[n]}, version=f"{n}") for n in range(2)]
    lab.install(*versions, contents=contents)
    for version in versions:
        overwrite(lab.place(version, "f.bin"), body(1_000, 3))
    lab.serve(contents[0])
    lab.serve(contents[1], NOT_FOUND)
    events = lab.verify(*versions, repair=True, runtime=lab.runtime(lock_timeout=IN_TIME))
    assert [result.status for result in last(events).files] == ["completed", "failed"]
    assert code(lab.verify(versions[0])) == 0
    assert code(lab.verify(versions[1])) == 5
    assert not lab.store.kept(versions[1], lab.store.receipt(versions[1]))["f.bin"]


# Ending


def test_nothing_to_verify_is_right(lab: Laboratory) -> None:
    assert story(lab.verify()) == [RunStarted("verify", ()), RunFinished("completed", 0, 0.0, (), None)]


def test_a_disk_that_cannot_be_read_is_a_matter_of_the_disk(installed: Laboratory) -> None:
    large = installed.place(MODEL, "dir/large.bin")
    disk = SpyDisk(lambda operation, path: operation == "read" and path == large, code=5)  # EIO
    events = installed.verify(MODEL, runtime=installed.runtime(store=Store(installed.root, disk=disk)))
    assert code(events) == 7
    assert reasons(events)["dir/large.bin"] == ("cancelled", "disk")


def test_a_time_limit_ends_the_look_and_says_what_was_not_looked_at(installed: Laboratory) -> None:
    passing = FakeTime()
    runtime = installed.runtime(clock=passing.clock, seconds=10.0)
    events: list[Event] = []
    for event in verify(runtime, VerifyRequest([MODEL])):
        events.append(event)
        passing.clock.now += 20.0 * isinstance(event, FileStarted)
    assert code(events) == 10
    assert {status for status, reason in reasons(events).values() if reason == "timeout"} == {"cancelled"}
    assert all_workers_end()


def test_a_cancelled_look_ends_as_cancelled(installed: Laboratory) -> None:
    cancel = Cancellation()
    cancel.cancel()
    finished = last(installed.verify(MODEL, runtime=installed.runtime(cancel=cancel)))
    assert (finished.outcome, finished.exit_code) == ("cancelled", 130)
    assert {(result.status, result.reason) for result in finished.files} == {("cancelled", "cancelled")}


@pytest.mark.quick(1)
@pytest.mark.parametrize("count", range(1, 7))
def test_the_look_can_be_closed_at_any_event(lab: Laboratory, count: int) -> None:
    contents = [bytes(20 * MIB), SMALL]
    wanted = sparse(lab, contents)
    events = verify(lab.runtime(), VerifyRequest([wanted]))
    told = [next(events) for _ in range(count)]
    events.close()  # type: ignore[attr-defined]
    assert all_workers_end()
    assert len(told) == count


def sparse(lab: Laboratory, contents: list[bytes]) -> Manifest:
    """Lay files out as a model without fetching them."""
    wanted = model("m", {f"{n}.bin": content for n, content in enumerate(contents)})
    lab.store.directory(wanted).mkdir(parents=True)
    for n, content in enumerate(contents):
        lab.place(wanted, f"{n}.bin").write_bytes(content)
    return wanted


# What no manifest lists


def strange(lab: Laboratory, path: str, content: bytes = b"import os") -> Path:
    """Put a file into the model's directory."""
    target = lab.store.directory(MODEL) / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return target


def test_a_file_that_is_not_listed_is_a_notice(installed: Laboratory) -> None:
    strange(installed, "dir/deep/loader.py")
    events = installed.verify(MODEL)
    assert found(events) == [("cache", "dir/deep/loader.py", "unlisted")]
    assert "--repair --strict m" in of(events, SourceFailed)[0].hint
    assert code(events) == 0
    assert set(reasons(events)) == {"small.json", "dir/large.bin"}


@pytest.mark.parametrize("quick", [True, False])
def test_strictly_it_is_a_failure(installed: Laboratory, quick: bool) -> None:
    strange(installed, "loader.py")
    (installed.store.directory(MODEL) / "link.json").symlink_to("small.json")
    events = installed.verify(MODEL, strict=True, quick=quick)
    assert code(events) == 5
    assert reasons(events)["loader.py"] == reasons(events)["link.json"] == ("failed", "unlisted")
    finished = last(events)
    assert finished.error is not None
    assert finished.error.message == "2 of 4 files failed verification: m: link.json: unlisted (and 1 more)"
    assert finished.error.hint == "Repair them: modelfetch verify --repair --strict m"
    assert (installed.store.directory(MODEL) / "loader.py").exists()


def test_repair_alone_leaves_it(installed: Laboratory) -> None:
    target = strange(installed, "loader.py")
    assert code(installed.verify(MODEL, repair=True)) == 0
    assert target.exists()


def test_strict_repair_puts_it_into_quarantine(installed: Laboratory) -> None:
    target = strange(installed, "deep/loader.py")
    events = installed.verify(MODEL, repair=True, strict=True)
    assert code(events) == 0
    (told,) = of(events, FileQuarantined)
    assert (told.file, told.expected, told.actual) == ("deep/loader.py", "", sha256(b"import os"))
    assert told.source == "unlisted"
    assert installed.quarantined() == [b"import os"]
    reason = json.loads((Path(told.path) / "reason.json").read_text())
    assert (reason["expected"], reason["source"]) == ("", "unlisted")
    assert not target.parent.exists()
    assert reasons(events)["deep/loader.py"] == ("completed", "unlisted")
    assert code(installed.verify(MODEL, strict=True)) == 0


def test_a_link_is_taken_away_and_what_it_leads_to_is_left(installed: Laboratory, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "precious").write_text("x")
    (installed.store.directory(MODEL) / "evil").symlink_to(tmp_path / "theirs")
    os.mkfifo(installed.store.directory(MODEL) / "pipe")
    assert code(installed.verify(MODEL, repair=True, strict=True)) == 0
    assert (tmp_path / "theirs" / "precious").read_text() == "x"
    assert sorted(path.name for path in installed.store.directory(MODEL).iterdir()) == ["dir", "small.json"]
    assert installed.quarantined() == []


def test_a_file_whose_spelling_on_the_disk_is_an_older_one_is_listed(installed: Laboratory) -> None:
    """As where names differ in case only and are one file; here a disk that says so for one name."""

    class Caseless(Disk):
        def names(self, path: Path) -> list[str]:
            return [name.replace("small.json", "Small.JSON") for name in super().names(path)]

        def lstat(self, path: Path) -> os.stat_result | None:
            return super().lstat(path.with_name(path.name.replace("Small.JSON", "small.json")))

    store = Store(installed.root, disk=Caseless(fsync=False))
    assert store.unlisted(MODEL) == []
    strange(installed, "Small2.json")
    assert store.unlisted(MODEL) == ["Small2.json"]


def test_a_file_that_differs_in_case_where_that_counts_is_not_listed(installed: Laboratory) -> None:
    directory = installed.store.directory(MODEL)
    os.link(directory / "small.json", directory / "Small.json")
    assert installed.store.unlisted(MODEL) == ["Small.json"]

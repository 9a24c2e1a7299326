"""The campaign of random schedules: a seed always gives the same one, and no oracle is blind."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfetch.engine.events import (
    Event,
    FileCommitted,
    FileStarted,
    Progress,
    RunFinished,
    SourceFailed,
)
from modelfetch.model.manifest import FileSpec
from modelfetch.store.journal_format import Checkpoint, header, line
from modelfetch.store.temporary import temporary_name
from tests.campaign.schedules import oracles
from tests.campaign.schedules.oracles import Violation, Watcher
from tests.campaign.schedules.running import Outcome
from tests.campaign.schedules.schedule import NAME, Place, Plan, Schedule, schedule_of
from tests.origin import Content

CONTENT = Content.random("campaign", 4_000_000)
PATH = "f.bin"
GOOD = Place(0, "mirror", 0, "clean")
SCHEDULE = Schedule(0, {PATH: CONTENT}, (GOOD,), ("mirror",), (Plan(),))
HOST = "127.0.0.1:80"


def outcome(*events: Event, exit_code: int = 0, **facts: Any) -> Outcome:
    end = RunFinished("completed", exit_code, 1.0, (), None)
    return replace(Outcome(Plan(), [*events, end]), **facts)


def kinds(violations: object) -> list[str]:
    return [violation.kind for violation in violations]  # type: ignore[attr-defined]


def failed(fault: str) -> Event:
    return SourceFailed(NAME, PATH, "mirror", HOST, fault, "", "", 0, "", "")


def test_a_seed_gives_one_schedule() -> None:
    assert str(schedule_of(7)) == str(schedule_of(7))
    assert str(schedule_of(7)) != str(schedule_of(8))


@pytest.mark.slow
def test_schedules_force_what_broke_before() -> None:
    made = [schedule_of(seed) for seed in range(300)]
    assert any(len(each.contents) >= 34 for each in made), "batches"
    assert any(plan.split_policy.connections > 1 for each in made for plan in each.plans), (
        "several connections"
    )
    assert any(
        len({(place.kind, place.host) for place in each.places}) < len(each.places) for each in made
    ), "two places of one kind at one host"
    told = "\n".join(map(str, made))
    for word in (
        "close-delimited",
        "1099511627776 B too many",
        "503",
        "stall",
        "cut",
        "hops",
        "dead",
        "kill",
    ):
        assert word in told


@pytest.mark.parametrize("where", [f"models/{NAME}/1/{PATH}", f"blobs/sha256/{CONTENT.sha256[:2]}"])
def test_wrong_bytes_under_a_final_name_are_seen(tmp_path: Path, where: str) -> None:
    path = tmp_path / where
    path = path if path.name == PATH else path / CONTENT.sha256
    path.parent.mkdir(parents=True)
    watcher = Watcher(tmp_path, SCHEDULE)
    path.write_bytes(CONTENT.data)
    watcher()
    assert not watcher.wrong
    path.write_bytes(CONTENT.data[:-1] + b"\0")
    watcher.again()
    assert kinds(watcher.wrong) == ["wrong bytes"]


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        ({"is_hung": True}, "hang"),
        ({"said": "Traceback"}, "traceback"),
        ({"threads": ["modelfetch-0"]}, "threads"),
        ({"events": []}, "exit code"),
        ({"is_killed": True}, "exit code"),
    ],
)
def test_a_process_that_ends_badly_is_seen(facts: dict[str, Any], kind: str) -> None:
    assert kinds(oracles.of_a_process(outcome(**facts))) == [kind]


@pytest.mark.parametrize("exit_code", [1, 2, 3, 7, 8, 10, 130, 143])
def test_an_exit_code_that_has_no_reason_is_seen(exit_code: int) -> None:
    assert kinds(oracles.of_a_process(outcome(exit_code=exit_code))) == ["exit code"]
    assert not kinds(oracles.of_a_process(outcome(exit_code=0)))


@pytest.mark.parametrize("exit_code", [5, 6, 9])
def test_an_honest_place_that_was_given_up_is_seen(exit_code: int) -> None:
    found = outcome(exit_code=exit_code)
    assert kinds(oracles.of_delivery(SCHEDULE, found)) == ["given up"]
    nobody = replace(SCHEDULE, places=(replace(GOOD, character="bad"),))
    assert not kinds(oracles.of_delivery(nobody, found))


def test_blame_that_belongs_to_others_is_seen() -> None:
    clean = {("mirror", HOST)}
    assert kinds(oracles.of_blame(outcome(failed("protocol")), clean, clean)) == ["blamed"]
    assert kinds(oracles.of_blame(outcome(failed("hash")), (), clean)) == ["blamed"]
    assert not kinds(oracles.of_blame(outcome(failed("stall")), clean, clean)), "the machine may be slow"
    assert not kinds(oracles.of_blame(outcome(failed("hash")), (), ()))


@pytest.mark.parametrize(
    ("held", "fetched", "is_seen"), [(0, 1.0, False), (0, 2.0, True), (3_000_000, 1.0, True)]
)
def test_bytes_that_come_again_are_seen(held: int, fetched: float, is_seen: bool) -> None:
    started = FileStarted(NAME, PATH, CONTENT.size, held)
    size, sent = CONTENT.size, int(CONTENT.size * fetched)
    done = FileCommitted(NAME, PATH, PATH, size, CONTENT.sha256, "mirror", HOST, sent, 1.0)
    assert bool(kinds(oracles.of_economy(SCHEDULE, outcome(started, done)))) is is_seen


def test_bytes_that_a_cancelled_run_had_and_the_next_one_has_not_are_seen() -> None:
    before = outcome(Progress(NAME, PATH, "mirror", HOST, 1, 1000, CONTENT.size))
    after = outcome(FileStarted(NAME, PATH, CONTENT.size, 999))
    assert kinds(oracles.of_keeping(SCHEDULE, before, after)) == ["lost bytes"]
    assert not kinds(oracles.of_keeping(SCHEDULE, after, before))


@pytest.mark.parametrize("claimed", [0, 1_000_000], ids=["nothing is claimed", "all is claimed"])
def test_bytes_that_no_journal_claims_are_seen(tmp_path: Path, claimed: int) -> None:
    write_partial(tmp_path, claimed)
    found = oracles.unclaimed(tmp_path, SCHEDULE)
    assert kinds(oracles.of_claims(SCHEDULE, outcome(exit_code=130), found, ())) == (
        [] if claimed else ["lost bytes"]
    )


def test_a_run_that_ends_early_is_not_blamed_for_what_a_killed_one_left(tmp_path: Path) -> None:
    write_partial(tmp_path, claimed=0)
    found = oracles.unclaimed(tmp_path, SCHEDULE)
    assert not kinds(oracles.of_claims(SCHEDULE, outcome(is_killed=True), found, ()))
    assert not kinds(oracles.of_claims(SCHEDULE, outcome(exit_code=130), found, before=found))


def write_partial(root: Path, claimed: int) -> None:
    """Write a download of which a million bytes are there."""
    file = FileSpec(PATH, CONTENT.size, CONTENT.sha256)
    folder = root / "partial" / file.sha256
    folder.mkdir(parents=True)
    (folder / "data").write_bytes(CONTENT.data[:1_000_000].ljust(CONTENT.size, b"\0"))
    text = line(Checkpoint(claimed, "0" * 64, "mirror m")) if claimed else b""
    (folder / "journal").write_bytes(header(file) + text)


@pytest.mark.parametrize(
    ("name", "is_left"),
    [
        (f"models/{NAME}/{temporary_name()}", True),
        (f"locks/model-{NAME}.lock.holder", True),
        (f"partial/{CONTENT.sha256}/journal", True),
        (f"models/{NAME}/1/{PATH}", False),
    ],
    ids=["temporary", "holder", "journal", "file of a model"],  # a temporary name is another in each worker
)
def test_what_is_left_over_is_seen(tmp_path: Path, name: str, is_left: bool) -> None:
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_bytes(b"x")
    found = list(oracles.of_leftovers(tmp_path, is_complete=False))
    assert bool(found) is is_left


def test_a_partial_is_left_over_once_its_file_is_there(tmp_path: Path) -> None:
    data = tmp_path / "partial" / CONTENT.sha256 / "data"
    data.parent.mkdir(parents=True)
    data.write_bytes(b"x" * 5000)
    assert not list(oracles.of_leftovers(tmp_path, is_complete=False))
    assert kinds(oracles.of_leftovers(tmp_path, is_complete=True)) == ["leftovers"]


def test_every_kind_is_counted() -> None:
    assert str(Violation("hang", "here")) == "hang: here"
    assert len(set(oracles.KINDS)) == len(oracles.KINDS)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="cannot fork")
def test_some_schedules_are_played() -> None:
    command = [sys.executable, "-m", "tests.campaign", "net", "--count", "4"]
    played = subprocess.run(command, capture_output=True, text=True, check=False)
    assert played.returncode == 0, played.stdout + played.stderr

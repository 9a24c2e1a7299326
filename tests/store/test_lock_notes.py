"""The holder's note of a lock: progress for processes that wait."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelfetch.store import Lock, Store


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Lock, Lock]:
    """A lock that is held, and the same one as somebody else sees it."""
    store = Store(tmp_path, fsync=False)
    held = store.lock_model("m")
    assert held.try_acquire()
    return held, store.lock_model("m")


def test_a_holder_that_says_nothing_is_at_zero(pair: tuple[Lock, Lock]) -> None:
    assert pair[1].progress() == (0, 0)


def test_a_note_is_read_by_others_and_keeps_who_and_since_when(pair: tuple[Lock, Lock]) -> None:
    held, other = pair
    before = other.holder()
    held.note(130, 295)
    assert other.progress() == (130, 295)
    assert other.holder() == before


def test_a_note_goes_with_the_lock(pair: tuple[Lock, Lock]) -> None:
    held, other = pair
    held.note(1, 2)
    held.release()
    assert other.progress() == (0, 0)
    held.note(1, 2)
    assert other.progress() == (0, 0)


def test_who_has_no_lock_writes_no_note(pair: tuple[Lock, Lock]) -> None:
    held, other = pair
    other.note(5, 5)
    assert held.progress() == (0, 0)


@pytest.mark.parametrize("received", [-1, "1", None, 1.5, True, [], 2**63, 10**400])
def test_a_note_of_nonsense_harms_nobody(pair: tuple[Lock, Lock], tmp_path: Path, received: object) -> None:
    (path,) = tmp_path.glob("locks/*.holder")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"received": received, "size": 7}))
    got, size = pair[1].progress()
    assert 0 <= got < 2**63
    assert size in (0, 7)


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-11-20", 5])
def test_a_time_of_nonsense_harms_nobody(pair: tuple[Lock, Lock], tmp_path: Path, since: object) -> None:
    (path,) = tmp_path.glob("locks/*.holder")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"since": since}))
    assert pair[1].holder() == "another process"


def test_a_note_without_numbers_as_older_versions_write_it_still_names_the_holder(
    pair: tuple[Lock, Lock], tmp_path: Path
) -> None:
    (path,) = tmp_path.glob("locks/*.holder")
    facts = json.loads(path.read_text())
    del facts["received"], facts["size"]
    path.write_text(json.dumps(facts))
    assert pair[1].progress() == (0, 0)
    assert pair[1].holder().startswith("process ")

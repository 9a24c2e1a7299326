"""What killed runs left is removed; what may be in use is not."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from modelfetch.store import Store
from modelfetch.store.owner import TEMPORARY, is_running, is_temporary, maker, tag, temporary_name
from tests.store.disks import CountingDisk, DyingDisk, Killed
from tests.store.material import digest, ensure, is_present, leftovers, model, noise, obtain, run_child, spec

CONTENTS = {"onnx/model.onnx": noise(5000)}
NAME_OF_THE_DEAD = "from modelfetch.store.owner import temporary_name; print(temporary_name())"

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody can tell who is dead")


@pytest.fixture
def version(store: Store) -> Path:
    return store.directory(ensure(store, CONTENTS))


def age(path: Path, seconds: float) -> None:
    """Let a file look old; its change time cannot be set, so wait for it to be in the past."""
    os.utime(path, (time.time() - seconds,) * 2)


@linux_only
def test_temporary_files_of_a_dead_process_go_at_once(store: Store, version: Path) -> None:
    for directory in (version / "onnx", version.parent, store.root / "locks"):
        (directory / run_child(NAME_OF_THE_DEAD).strip()).touch()
    assert len(store.sweep()) == 3
    assert leftovers(store.root) == []


def test_those_of_a_living_process_stay_however_old(store: Store, version: Path) -> None:
    path = version / temporary_name()
    path.touch()
    age(path, 30 * 86400)
    assert store.sweep() == ()
    assert path.exists()


def test_those_of_another_machine_stay_for_a_day(store: Store, version: Path) -> None:
    path = version / f"{TEMPORARY}{'0f' * 6}-1-{'0' * 8}"
    path.touch()
    age(path, 30 * 86400)  # the time of its making is what counts: a hard link shows its blob's old mtime
    assert store.sweep() == ()
    assert path.exists()


@pytest.mark.parametrize("name", [".mf-tmp-notes.txt", ".mf-tmp-", "mf-tmp-1", ".mf-tmp-0-1-2"])
def test_a_name_that_only_looks_alike_stays(store: Store, version: Path, name: str) -> None:
    assert not is_temporary(name)
    (version / name).touch()
    store.sweep()
    assert (version / name).exists()


def test_everything_stored_survives(store: Store, version: Path) -> None:
    with store.partial(spec(noise(999)), True) as partial:
        partial.put(partial.length, noise(999)[:500], "mirror a")
    assert store.sweep() == ()
    assert is_present(store, model(CONTENTS), CONTENTS)
    assert store.held(spec(noise(999))) == 500


def test_an_empty_or_absent_cache_has_nothing_to_sweep(store: Store) -> None:
    assert store.sweep() == ()
    assert not store.root.exists()


def test_a_linked_directory_is_not_entered(store: Store, version: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / run_child(NAME_OF_THE_DEAD).strip()).touch()
    (version / "link").symlink_to(elsewhere)
    store.sweep()
    assert len(list(elsewhere.iterdir())) == 1


def test_the_journal_of_a_download_whose_run_died_after_the_rename_goes(tmp_path: Path) -> None:
    content = noise(5000)
    counting = CountingDisk()
    obtain(Store(tmp_path / "count", disk=counting), content)
    operations = [operation for operation, _ in counting.operations]
    for nth in range(operations.index("rename to") + 1, len(operations)):
        root = tmp_path / str(nth)
        disk = DyingDisk(nth)
        with pytest.raises(Killed):
            obtain(Store(root, disk=disk), content)
        disk.bury()
        assert Store(root).find_blob(spec(content))
        Store(root).sweep()
        assert leftovers(root) == []


def test_a_partial_at_work_is_not_swept(store: Store) -> None:
    file = spec(noise(100))
    folder = store.root / "partial" / file.sha256
    folder.mkdir(parents=True)
    (folder / "journal").write_text("modelfetch-journal 1 ...")
    with store.lock_blob(file.sha256) as lock:
        lock.try_acquire()
        store.sweep()
        assert (folder / "journal").exists()


def test_journals_of_an_unknown_format_stay(store: Store) -> None:
    folder = store.root / "partial" / digest(b"x")
    folder.mkdir(parents=True)
    (folder / "journal").write_bytes(b"modelfetch-journal 7 x\n")
    store.sweep()
    assert (folder / "journal").exists()


def test_strange_names_among_the_partials_are_passed_over(store: Store) -> None:
    (store.root / "partial" / "notes").mkdir(parents=True)
    assert store.sweep() == ()
    assert (store.root / "partial" / "notes").is_dir()


def test_a_tag_names_a_living_process() -> None:
    assert tag() != tag()
    assert maker(tag()) == ("alive" if sys.platform == "linux" else "unknown")
    assert is_temporary(temporary_name())


@linux_only
def test_who_lives_is_known() -> None:
    dead = int(run_child("import os; print(os.getpid())"))
    assert [is_running(os.getpid()), is_running(1), is_running(dead)] == [True, True, False]
    assert not is_running(2**40)


@linux_only
def test_a_dead_number_of_another_machine_says_nothing() -> None:
    dead = run_child(NAME_OF_THE_DEAD).strip().removeprefix(TEMPORARY)
    assert maker(dead) == "dead"
    assert maker("0f" * 6 + dead[12:]) == "unknown"


@pytest.mark.parametrize("text", ["", "x", "0f0f0f0f0f0f-0-00000000", "0f0f0f0f0f0f-99999999-00000000"])
def test_a_tag_that_is_none_says_nothing(text: str) -> None:
    assert maker(text) == "unknown"

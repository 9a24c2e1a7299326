"""Leftovers of killed runs are removed; files that may be in use are not."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modelfetch.store import Disk, Store, temporary
from modelfetch.store.layout import Layout
from modelfetch.store.temporary import TEMPORARY, is_running, is_temporary, maker, tag, temporary_name
from tests.store.disks import CountingDisk, DyingDisk, Killed, RefusingDisk
from tests.store.material import (
    digest,
    ensure,
    is_present,
    leftovers,
    model,
    noise,
    obtain,
    run_child,
    spec,
    start_child,
)

CONTENTS = {"onnx/model.onnx": noise(5000)}
WRITER = """
import sys
from pathlib import Path
from modelfetch.store import temporary

*folders, partials = map(Path, sys.argv[1:])
for folder in folders:
    (folder / temporary.temporary_name()).touch()
(partials / temporary.temporary_name()).mkdir()
print("ready", flush=True)
sys.stdin.read()
"""
"""Makes a temporary file in each directory but the last, there a directory, and lives until it is killed."""
NAME_OF_THE_DEAD = "from modelfetch.store.temporary import temporary_name; print(temporary_name())"

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody can tell who is dead")


@pytest.fixture
def version(store: Store) -> Path:
    return store.directory(ensure(store, CONTENTS))


def age(path: Path, seconds: float) -> None:
    """Let a file look old; its change time cannot be set, so wait for it to be in the past."""
    os.utime(path, (time.time() - seconds,) * 2)


@pytest.mark.slow
@linux_only
def test_temporary_files_of_a_dead_process_go_at_once(store: Store, version: Path) -> None:
    maps = store.root / "chunks/sha256/ab"
    maps.mkdir(parents=True)
    for directory in (version / "onnx", version.parent, store.root / "locks", maps):
        (directory / run_child(NAME_OF_THE_DEAD).strip()).touch()
    assert len(store.sweep()) == 4
    assert leftovers(store.root) == []


def test_those_of_a_living_process_stay_however_old(store: Store, version: Path) -> None:
    path = version / temporary_name()
    path.touch()
    age(path, 30 * 86400)
    assert store.sweep() == ()
    assert path.exists()


@linux_only
def test_no_temporary_file_of_a_living_process_is_removed_whatever_its_age(
    store: Store, version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The age only counts if the process cannot be checked."""
    monkeypatch.setattr(temporary, "GRACE", -1.0)  # everything is old enough
    folders = (version / "onnx", version.parent, store.root / "locks", store.root / "partial")
    child = start_child(WRITER, *folders)
    try:
        made = {path for folder in folders for path in folder.glob(f"{TEMPORARY}*")}
        store.sweep()
        assert {path for path in made if path.exists()} == made
        assert len(made) == len(folders)
    finally:
        child.kill()
        child.communicate()
    assert set(store.sweep()) == made
    assert leftovers(store.root) == []


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


# Downloads of no use


def begin(store: Store, content: bytes, length: int, *, exclusive: bool = True) -> None:
    """Leave an interrupted download."""
    with store.partial(spec(content), exclusive) as partial:
        partial.put(0, content[:length], "mirror a")


def left(store: Store) -> list[str]:
    return [*leftovers(store.root), *(path.name for path in store.root.glob("locks/*"))]


def test_a_download_that_was_begun_and_never_filled_goes(store: Store) -> None:
    """As earlier versions left one for each file of a run that failed, and a kill leaves one."""
    file = spec(noise(5000))
    folder = store.root / "partial" / file.sha256
    folder.mkdir(parents=True)
    (folder / "data").write_bytes(bytes(file.size))
    (folder / "journal").write_text(f"modelfetch-journal 1 {file.sha256} {file.size}\n")
    store.sweep()
    assert left(store) == []


def test_a_download_of_what_is_stored_by_now_goes(store: Store) -> None:
    content = noise(5000)
    begin(store, content, 3000)
    folder = store.root / "partial" / digest(content)
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    obtain(store, content)
    folder.mkdir()
    for name, there in kept.items():
        (folder / name).write_bytes(there)
    store.sweep()
    assert left(store) == []


def test_beside_a_damaged_blob_the_bytes_for_its_repair_stay(store: Store) -> None:
    content = noise(5000)
    begin(store, content, 3000)
    blob = Layout(store.root).blob(digest(content))
    blob.parent.mkdir(parents=True)
    blob.write_bytes(noise(5000, seed=9))
    store.sweep()
    assert store.held(spec(content)) == 3000


def test_a_new_run_removes_what_it_finds_of_no_use(store: Store) -> None:
    content = noise(5000)
    begin(store, content, 3000)
    obtain(store, content)
    store.forget_partial(spec(content), True)
    assert left(store) == []


@linux_only
def test_what_a_killed_run_without_locks_left_goes_with_the_process(store: Store) -> None:
    content = noise(5000)
    begin(store, content, 3000, exclusive=False)
    (folder,) = (store.root / "partial").iterdir()
    dead = run_child(NAME_OF_THE_DEAD).strip().removeprefix(TEMPORARY)
    for path in list(folder.iterdir()):
        path.rename(path.with_name(f"{path.name.partition('-')[0]}-{dead}"))
    obtain(store, content, exclusive=False)
    store.sweep()
    assert left(store) == []


class UnprovenDisk(Disk):
    """Locks are granted, but prove nothing, as on a network file system."""

    def is_local(self, path: Path) -> bool:
        return False


@pytest.fixture
def aging(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let days pass where nobody can tell who is dead, as without ``/proc`` or in another container."""
    monkeypatch.setattr(temporary, "_machine", lambda: "")

    def pass_days() -> None:
        monkeypatch.setattr(temporary, "GRACE", -1.0)

    return pass_days


def test_where_nothing_proves_who_is_dead_age_does(root: Path, aging: Callable[[], None]) -> None:
    content, other = noise(5000), noise(6000)
    store = Store(root, disk=UnprovenDisk())
    obtain(store, content, exclusive=False)
    begin(store, content, 3000, exclusive=False)
    begin(store, other, 3000, exclusive=False)
    (root / "partial" / temporary_name()).mkdir()
    for directory in ("models", "locks"):
        (root / directory).mkdir(exist_ok=True)
    (root / "models" / temporary_name()).touch()
    (root / "locks" / "model-a.lock").touch()
    (root / "locks" / "model-a.lock.holder").touch()
    before = left(store)
    store.sweep()
    assert left(store) == before
    aging()
    store.sweep()
    assert left(store) == [f"partial/{digest(other)}"]
    assert store.held(spec(other)) == 3000


# Locks


@pytest.mark.skipif(sys.platform == "win32", reason="there they go with their process")
def test_locks_and_notes_of_dead_processes_go_and_those_in_use_stay(store: Store) -> None:
    locks = store.root / "locks"
    with store.lock_model("busy") as busy:
        assert busy.try_acquire()
        for name in ("blob-dead.lock", "blob-dead.lock.holder", "model-gone.lock.holder", "notes.txt"):
            (locks / name).touch()
        store.sweep()
        kept = {"model-busy.lock", "model-busy.lock.holder", "notes.txt"}
        if busy.effective:
            assert {path.name for path in locks.iterdir()} == kept
        assert not store.lock_model("busy").try_acquire()


def test_a_run_that_finds_all_of_a_model_sweeps_what_lies_beside_it(store: Store, version: Path) -> None:
    near, deep = version.parent / temporary_of_the_dead(), version / temporary_of_the_dead()
    near.touch()
    deep.touch()
    store.sweep(thorough=False)
    if sys.platform == "linux":
        assert not near.exists()
    assert deep.exists()


def temporary_of_the_dead() -> str:
    return run_child(NAME_OF_THE_DEAD).strip()


@pytest.mark.parametrize("refused", ["list", "inspect", "remove", "lock"])
def test_what_cannot_be_swept_is_no_failure(root: Path, refused: str) -> None:
    begin(Store(root), noise(5000), 3000)
    (root / "locks").mkdir(exist_ok=True)
    (root / "locks" / "model-a.lock").touch()
    assert Store(root, disk=RefusingDisk(errno.EACCES, {refused})).sweep() in ((), (root / "locks",))
    assert Store(root).held(spec(noise(5000))) == 3000


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

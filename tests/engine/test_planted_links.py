"""Whatever is planted in a cache, whenever: nothing outside of it is changed, by no verb."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import TypeVar

import pytest

from modelfetch.engine.plan import planned, take_inventory
from modelfetch.errors import StoreError
from modelfetch.store import Disk, Store
from modelfetch.store.layout import Layout
from modelfetch.store.safe_paths import HAS_HANDLES, SafePaths
from tests.engine.fakes import Laboratory, body, flipped, last, model, sha256
from tests.store.material import run_child

T = TypeVar("T")

LARGE, SMALL, WANTED, TORN = body(300_000, 1), body(1_000, 2), body(2_000, 3), body(50_000, 4)
MODEL = model("m", {"small.json": SMALL, "dir/large.bin": LARGE, "dir/deep/wanted.bin": WANTED})
LEFT = model("left", {"torn.bin": TORN})
DIGEST = sha256(LARGE)
ENTRY = f"20260101T000000.000000Z-{DIGEST}"
NAME_OF_THE_DEAD = "from modelfetch.store.temporary import temporary_name; print(temporary_name())"

PLACES = [
    *("partial", f"partial/{sha256(TORN)}", f"partial/{DIGEST}", "partial/GROUP"),
    *("quarantine", f"quarantine/{ENTRY}"),
    *("blobs", "blobs/sha256", f"blobs/sha256/{DIGEST[:2]}"),
    *("models", "models/m", "models/m/1", "models/m/1/dir", "models/m/1/dir/deep"),
    *("models/GROUP", "models/other", "locks", "locks/GROUP"),
]
"""Directories of a cache; ``GROUP`` stands for the name of a dead run's temporary file."""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX links")


@pytest.fixture(scope="module")
def dead() -> str:
    return run_child(NAME_OF_THE_DEAD).strip()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, dead: str) -> Path:
    """A cache with something of everything: a model, bad bytes, and what killed runs left."""
    lab = Laboratory(tmp_path_factory.mktemp("template") / "cache")
    lab.install(MODEL, contents=[LARGE, SMALL, WANTED])
    lab.begin(TORN, "mirror a.example", 20_000)
    lab.begin(LARGE, "mirror a.example", 20_000)
    for folder in (lab.root / "partial" / dead, lab.root / "quarantine" / ENTRY):
        folder.mkdir(parents=True)
        (folder / "data").write_bytes(b"bad")
        (folder / "reason.json").write_bytes(b"{}")
    (lab.root / "models" / "other").mkdir()
    (lab.root / "models" / "other" / dead).touch()
    return lab.root


@pytest.fixture(
    params=[
        pytest.param(True, id="held open"),
        pytest.param(False, id="looked over", marks=pytest.mark.slow),
    ]
)
def lab(request: pytest.FixtureRequest, tmp_path: Path, template: Path) -> Laboratory:
    """A copy of it, reached in either of the two ways there are."""
    if request.param and not HAS_HANDLES:
        pytest.skip("no handles here")
    shutil.copytree(template, tmp_path / "cache")
    lab = Laboratory(tmp_path / "cache")
    disk = Disk(fsync=False, beneath=SafePaths(by_handle=request.param))
    lab.store = Store(lab.root, disk=disk)
    for content in (LARGE, SMALL, WANTED, TORN):
        lab.serve(content)
    return lab


def snapshot(directory: Path) -> dict[str, tuple[object, ...]]:
    """Everything below a directory that must not change."""
    looks = {path: path.lstat() for path in [directory, *directory.rglob("*")]}
    return {
        str(path): (found.st_mode, found.st_nlink, found.st_mtime_ns, found.st_ino, found.st_size)
        for path, found in looks.items()
    }


def plant(path: Path, victim: Path) -> None:
    """Put a link where a directory is; it leads to one that looks just alike."""
    if path.is_dir():
        shutil.copytree(path, victim)
        shutil.rmtree(path)
    else:
        victim.mkdir()
        for name in ("data", "journal", "reason.json"):
            (victim / name).write_bytes(b"precious")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(victim)


def rot(lab: Laboratory) -> None:
    """Let a file and its blob go bad, so that there is something to do."""
    for path in (lab.place(MODEL, "dir/large.bin"), Layout(lab.store.root).blob(DIGEST)):
        if path.exists():
            path.unlink()
            path.write_bytes(flipped(LARGE, 5))


def run_ensure(lab: Laboratory) -> int:
    return last(lab.ensure(MODEL, LEFT)).exit_code


def run_force(lab: Laboratory) -> int:
    return last(lab.ensure(MODEL, force=True)).exit_code


def run_repair(lab: Laboratory) -> int:
    return last(lab.verify(MODEL, repair=True)).exit_code


def run_remove(lab: Laboratory) -> int:
    lab.store.remove("m", [*MODEL.files, *LEFT.files])
    return 0


def run_sweep(lab: Laboratory) -> int:
    lab.store.sweep()
    return 0


def run_plan(lab: Laboratory) -> int:
    runtime = lab.runtime()
    for manifest in (MODEL, LEFT):
        planned(runtime, take_inventory(runtime, manifest))
    return 0


def run_list(lab: Laboratory) -> int:
    for manifest in (MODEL, LEFT):
        lab.store.kept(manifest, lab.store.receipt(manifest))
    list(lab.store.receipts())
    return 0


VERBS = [run_ensure, run_force, run_repair, run_remove, run_sweep, run_plan, run_list]
VERBS_AT_PLACES = [
    pytest.param(place, verb, id=f"{place}-{verb.__name__}", marks=pytest.mark.slow if number % 3 else ())
    for number, (place, verb) in enumerate(product(PLACES, VERBS))
]
"""Every place and every verb comes up in the quick third."""


def code_of(verb: Callable[[Laboratory], int], lab: Laboratory) -> int:
    """How a command would end: with one clear line, where it fails."""
    try:
        return verb(lab)
    except StoreError as error:
        is_clear = "is a symbolic link, or not a directory" in error.message and "\n" not in error.message
        return error.exit_code if is_clear else 1


@pytest.mark.quick(18)
@pytest.mark.parametrize(("place", "verb"), VERBS_AT_PLACES)
def test_a_planted_link_leads_no_verb_out(
    lab: Laboratory, tmp_path: Path, dead: str, place: str, verb: Callable[[Laboratory], int]
) -> None:
    rot(lab)
    victim = tmp_path / "victim"
    plant(lab.root / place.replace("GROUP", dead), victim)
    before = snapshot(victim)
    assert code_of(verb, lab) in (0, 7)
    assert snapshot(victim) == before


@pytest.mark.parametrize("place", ["partial/GROUP", f"quarantine/{ENTRY}", "models/GROUP"])
def test_the_owner_is_told_of_what_is_left_alone(
    lab: Laboratory, tmp_path: Path, dead: str, place: str
) -> None:
    rot(lab)
    link = lab.root / place.replace("GROUP", dead)
    plant(link, tmp_path / "victim")
    assert run_repair(lab) == 0
    assert [line for line in lab.store.notices.take() if str(link) in line]
    assert link.is_symlink()


class SwappingDisk(Disk):
    """Puts a link where a directory was, right before one operation on something below it."""

    def __init__(self, beneath: SafePaths, directory: Path, victim: Path, nth: int) -> None:
        super().__init__(fsync=False, beneath=beneath)
        self._directory = directory
        self._victim = victim
        self._left = nth
        self.is_swapped = False

    def perform(self, operation: str, path: Path, call: Callable[[], T]) -> T:
        if not self.is_swapped and path.is_relative_to(self._directory):
            self._left -= 1
            if self._left < 0:
                self.is_swapped = True
                if self._directory.is_dir():
                    self._directory.rename(self._directory.with_name("aside"))
                self._directory.symlink_to(self._victim)
        return super().perform(operation, path, call)


SWAPPED = [
    *(f"partial/{sha256(TORN)}", "partial/GROUP", f"quarantine/{ENTRY}", f"blobs/sha256/{DIGEST[:2]}"),
    *("models/m/1/dir", "partial", "blobs/sha256"),
]
VERBS_AT_SWAPPED = [
    pytest.param(place, verb, id=f"{place}-{verb.__name__}", marks=() if is_quick else pytest.mark.slow)
    for number, place in enumerate(SWAPPED)
    for verb, is_quick in ((run_repair, number % 2 == 0), (run_remove, number % 2 == 1))
]
"""Every place comes up in the quick half, with one of the verbs."""


@pytest.mark.quick(2)
@pytest.mark.skipif(not HAS_HANDLES, reason="elsewhere a swap in that very moment goes unnoticed")
@pytest.mark.parametrize(("place", "verb"), VERBS_AT_SWAPPED)
def test_swapping_a_directory_for_a_link_between_check_and_use_does_not_help(
    tmp_path: Path, template: Path, dead: str, place: str, verb: Callable[[Laboratory], int]
) -> None:
    nth, is_swapped = 0, True
    while is_swapped:
        lab = Laboratory(tmp_path / str(nth) / "cache")
        shutil.copytree(template, lab.root)
        for content in (LARGE, SMALL, WANTED, TORN):
            lab.serve(content)
        rot(lab)
        directory, victim = lab.root / place.replace("GROUP", dead), tmp_path / str(nth) / "victim"
        shutil.copytree(directory, victim)
        before = snapshot(victim)
        disk = SwappingDisk(SafePaths(), directory, victim, nth)
        lab.store = Store(lab.root, disk=disk)
        assert code_of(verb, lab) in (0, 5, 7)
        assert snapshot(victim) == before
        nth, is_swapped = 2 * nth + 1, disk.is_swapped

"""The name by which other machines tell caches apart."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

import pytest

from modelfetch.store import flock, instance
from modelfetch.store.instance import instance_of, is_instance
from tests.descriptors import no_descriptors

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a number for each boot")


@pytest.fixture(params=["linux", "another system"])
def machine(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine whose numbers can be changed."""
    return Machine(tmp_path, monkeypatch, is_linux=request.param == "linux")


class Machine:
    """What tells one machine from another: the number of its boot, or that of a network card."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, *, is_linux: bool) -> None:
        if is_linux and sys.platform != "linux":
            pytest.skip("only Linux has a number for each boot")
        self._directory = directory
        self._monkeypatch = monkeypatch
        self._is_linux = is_linux
        if not is_linux:
            monkeypatch.setattr(sys, "platform", "darwin")
            monkeypatch.setattr(flock, "_MOUNTINFO", directory / "none")
            monkeypatch.setattr(flock, "_known", {})
        self.become(1)

    def become(self, number: int) -> None:
        """Be another machine."""
        boot = self._directory / f"boot_id {number}"  # another file: what was read of one is kept
        self._monkeypatch.setattr(instance, "_BOOT", boot)
        if self._is_linux:
            boot.write_text(f"{number}\n")
        self._monkeypatch.setattr(uuid, "getnode", lambda: number)


def test_each_cache_of_each_machine_has_a_name_of_its_own(machine: Machine, tmp_path: Path) -> None:
    names = []
    for number in (1, 2):
        machine.become(number)
        for cache in (tmp_path / "a", tmp_path / "b"):
            cache.mkdir(exist_ok=True)
            names.append(instance_of(cache))
            assert instance_of(cache) == names[-1]
    assert len({*names}) == 4
    assert all(map(is_instance, names))


def test_without_a_network_card_the_name_is_the_same_for_all_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python then makes up a number for each process, and says so in it."""
    names = set()
    for number in (1, 2):
        Machine(tmp_path, monkeypatch, is_linux=False).become(number | 1 << 40)
        names.add(instance_of(tmp_path))
    assert len(names) == 1


@on_linux
def test_a_cache_on_a_shared_disk_has_one_name_for_all_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text("36 35 98:0 / / rw - nfs4 server:/models rw\n")
    monkeypatch.setattr(flock, "_MOUNTINFO", mounts)
    monkeypatch.setattr(flock, "_known", {})
    machine = Machine(tmp_path, monkeypatch, is_linux=True)
    first = instance_of(tmp_path)
    machine.become(2)
    assert instance_of(tmp_path) == first


def test_a_cache_that_does_not_exist_yet_has_another_name_on_each_machine(
    machine: Machine, tmp_path: Path
) -> None:
    """New machines have no cache when their server starts, and most have the same path for it."""
    later, names = tmp_path / "later", []
    for number in (1, 2):
        machine.become(number)
        names.append(instance_of(later))
        assert instance_of(later) == names[-1]
    assert len({*names}) == 2
    assert all(map(is_instance, names))


@pytest.mark.parametrize(
    "text", ["", "3f9a0c11d2e4b7a", "3F9A0C11D2E4B7A6", "3f9a0c11d2e4b7a6\n", "../../../../../.."]
)
def test_what_is_no_name_is_refused(text: str) -> None:
    assert not is_instance(text)


@on_linux
def test_a_lack_of_descriptors_does_not_make_it_another_machine(tmp_path: Path) -> None:
    name = instance_of(tmp_path)
    with no_descriptors():
        assert instance_of(tmp_path) == name

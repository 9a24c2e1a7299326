"""Bundles in several files: written in one step, read as one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelfetch.bundle.bundled_models import models_of
from modelfetch.bundle.verifier import BundleError, TarBundle, check, open_bundle, volumes_of
from modelfetch.bundle.volumes import Volumes
from modelfetch.errors import UsageError
from tests.bundle.material import parts

DATA = bytes(range(256)) * 10


def write(path: Path, size: int | None, data: bytes = DATA) -> list[Path]:
    with Volumes(path, size, len(data)) as volumes:
        for start in range(0, len(data), 700):
            volumes.write(data[start : start + 700])
        volumes.finish()
        return volumes.paths


def test_volumes_are_slices_of_the_file(tmp_path: Path) -> None:
    write(tmp_path / "whole", None)
    paths = write(tmp_path / "b.tar", 1000)
    assert [path.name for path in paths] == ["b.tar.001", "b.tar.002", "b.tar.003"]
    assert b"".join(path.read_bytes() for path in paths) == DATA == (tmp_path / "whole").read_bytes()
    assert len(os.listdir(tmp_path)) == 4, "no temporary file is left"
    assert volumes_of(tmp_path / "b.tar") == volumes_of(paths[0]) == paths


def test_what_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    with Volumes(tmp_path / "b.tar", 1000, len(DATA)) as volumes:
        volumes.write(DATA[:2100])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["b.tar", "b.tar.001", "b.tar.002", "b.tar.004"])
def test_existing_files_are_never_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists already"):
        write(tmp_path / "b.tar", 1000)
    assert os.listdir(tmp_path) == [name]


def test_a_name_that_is_taken_meanwhile_keeps_its_file(tmp_path: Path) -> None:
    with Volumes(tmp_path / "b.tar", 1000, len(DATA)) as volumes:
        volumes.write(DATA)
        (tmp_path / "b.tar.002").write_bytes(b"mine")
        with pytest.raises(UsageError, match="exists already"):
            volumes.finish()
    assert os.listdir(tmp_path) == ["b.tar.002"]
    assert (tmp_path / "b.tar.002").read_bytes() == b"mine"


@pytest.mark.parametrize("size", [100, 2])
def test_too_small_or_too_many_volumes_are_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(UsageError):
        Volumes(tmp_path / "b.tar", size, 1_000_000_000)


def test_more_than_999_volumes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1954 volumes"):
        Volumes(tmp_path / "b.tar", 512, 1_000_000)


@pytest.mark.parametrize("size", [512, 777, 1024, 5000])
def test_a_split_bundle_is_read_as_one(tmp_path: Path, size: int) -> None:
    write(tmp_path / "b.tar", size, parts().tar())
    bundle = open_bundle(tmp_path / "b.tar")
    assert check(bundle) == []
    assert [model.manifest.name for model in models_of(bundle)] == ["tiny"]
    bundle.close()


def test_a_missing_last_volume_is_a_cut(tmp_path: Path) -> None:
    write(tmp_path / "b.tar", 1000, parts().tar())[-1].unlink()
    bundle = open_bundle(tmp_path / "b.tar.001")
    assert isinstance(bundle, TarBundle)
    assert bundle.is_cut
    assert "cut off" in check(bundle)[0]
    bundle.close()


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("name", ["b.tar", "b.tar.001"])
def test_a_missing_volume_before_another_one_is_named(tmp_path: Path, number: int, name: str) -> None:
    write(tmp_path / "b.tar", 1000, parts().tar())[number - 1].unlink()
    missing = FileNotFoundError if (name, number) == ("b.tar.001", 1) else BundleError
    with pytest.raises(missing, match=f"b.tar.00{number}"):
        open_bundle(tmp_path / name)

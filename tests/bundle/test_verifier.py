"""The verifier as a program of its own, and any damage to a bundle."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.bundle import bundled_models, verifier
from modelfetch.bundle.documents import FILEPATH
from modelfetch.bundle.verifier import Bundle, BundleError, check, main, open_bundle, read_document
from modelfetch.errors import ModelfetchError
from tests.bundle.material import compact, parts, read

GOOD = parts().tar()
with tempfile.TemporaryDirectory() as _place:
    (Path(_place) / "b.tar").write_bytes(GOOD)
    MANIFESTS = [model.manifest for model in read(Path(_place) / "b.tar")]
SOURCE = inspect.getsource(verifier)


def test_it_is_a_program_for_python_3_8_and_later_that_needs_nothing_else() -> None:
    tree = ast.parse(SOURCE, feature_version=(3, 8))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in imports if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["--help"]])
def test_a_wrong_call_shows_the_right_one(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "usage: python3 -I -S verify.py" in capsys.readouterr().err


@given(position=st.integers(0, len(GOOD) - 1), bit=st.integers(0, 7), cut=st.none() | st.integers(0, 9999))
def test_a_flipped_bit_is_a_fault_or_does_not_matter(position: int, bit: int, cut: int | None) -> None:
    """Whatever is changed, there is a verdict, and never a good one on wrong bytes."""
    data = bytearray(GOOD)
    data[position] ^= 1 << bit
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "b.tar"
        path.write_bytes(data[:cut])
        try:
            models = read(path)
            bundle = open_bundle(path)
        except ModelfetchError:
            return
        faults = check(bundle)
        bundle.close()
    # Only annotations of the index are covered by no digest; they change nothing that is imported.
    assert faults or [model.manifest for model in models] == MANIFESTS


def test_of_many_volumes_one_is_open_at_a_time(tmp_path: Path) -> None:
    volumes = [tmp_path / f"b.tar.{number + 1:03}" for number in range(-(-len(GOOD) // 512))]
    for number, path in enumerate(volumes):
        path.write_bytes(GOOD[number * 512 : (number + 1) * 512])
    before = len(os.listdir("/proc/self/fd"))
    with closing(open_bundle(tmp_path / "b.tar")) as bundle:
        assert check(bundle) == []
        assert len(os.listdir("/proc/self/fd")) == before + 1
        volumes[-5].unlink()
        with pytest.raises(BundleError, match="is missing"):
            check(bundle)


def test_a_manifest_that_the_index_repeats_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = parts()
    made.index["manifests"] *= 500
    made.members["index.json"] = compact(made.index)
    (tmp_path / "b.tar").write_bytes(made.tar())
    documents: list[str] = []

    def counted(bundle: Bundle, name: str) -> Mapping[str, Any]:
        documents.append(name)
        return read_document(bundle, name)

    monkeypatch.setattr(verifier, "read_document", counted)
    monkeypatch.setattr(bundled_models, "read_document", counted)
    with closing(open_bundle(tmp_path / "b.tar")) as bundle:
        assert check(bundle) == []
    assert len(documents) == 3
    with pytest.raises(ModelfetchError, match="the same name"):
        read(tmp_path / "b.tar")
    assert len(documents) == 7


@pytest.mark.slow
def test_a_path_that_the_terminal_cannot_show_is_escaped(tmp_path: Path) -> None:
    made = parts()
    made.manifest["layers"][0]["annotations"][FILEPATH] = "\u4e2d"
    made.manifest["layers"][0]["size"] += 1
    (tmp_path / "b.tar").write_bytes(made.seal().tar())
    environment = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    run = subprocess.run(
        [sys.executable, "-S", verifier.__file__, tmp_path / "b.tar"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (5, "")
    assert "\\u4e2d of tiny:1" in run.stdout

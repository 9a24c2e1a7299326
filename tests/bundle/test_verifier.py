"""The verifier as a program of its own, and any damage to a bundle."""

from __future__ import annotations

import ast
import inspect
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.bundle import verifier
from modelfetch.bundle.verifier import check, main, open_bundle
from modelfetch.errors import ModelfetchError
from tests.bundle.material import parts, read

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

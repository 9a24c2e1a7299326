"""Names and versions of pins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.errors import UsageError
from modelfetch.model.manifest import FileSpec
from modelfetch.model.paths import why_bad_name, why_bad_version
from modelfetch.pins.naming import checked_name, format_of, model_name, version_of


@pytest.mark.parametrize(
    ("text", "variant", "name"),
    [
        ("whisper-base", "", "whisper-base"),
        ("Qwen2.5-0.5B-Instruct-GGUF", "Q4_K_M", "qwen2.5-0.5b-instruct-q4_k_m"),
        ("Qwen2.5 (large)", "", "qwen2.5-large"),
        ("__x__", "", "x"),
        ("con", "", "model-con"),
        ("模型", "", "model"),
        ("m-GGUF", "m-extra.gguf", "m-extra"),
    ],
)
def test_names(text: str, variant: str, name: str) -> None:
    assert model_name(text, variant) == name


@given(st.text(), st.text())
def test_every_text_becomes_a_name(text: str, variant: str) -> None:
    assert why_bad_name(model_name(text, variant)) == ""


def test_a_wrong_name_is_refused_with_a_proposal() -> None:
    with pytest.raises(UsageError) as caught:
        checked_name("My Model")
    assert "--name my-model" in caught.value.hint


@pytest.mark.parametrize(
    ("revision", "version"),
    [
        ("1846881b6b3a3024392c1eea3ad983695bc23925", "1846881b6b3a"),
        (f"sha256:{'ab' * 32}", "abababababab"),
        ("v1.0", "v1.0"),
        ("V1.0", "v1.0"),
        ("", "cdcdcdcdcdcd"),
        ("../..", "cdcdcdcdcdcd"),
        ("a/b", "cdcdcdcdcdcd"),
    ],
)
def test_versions(revision: str, version: str) -> None:
    assert version_of(revision, "cd" * 32) == version


@given(st.text())
def test_every_revision_becomes_a_version(revision: str) -> None:
    assert why_bad_version(version_of(revision, "cd" * 32)) == ""


def test_the_format_is_that_of_the_largest_file() -> None:
    files = [FileSpec("a.json", 5, ""), FileSpec("x/m.ONNX", 9, ""), FileSpec("b.bin", 1, "")]
    assert format_of(files) == "onnx"
    assert format_of(files[2:]) is None

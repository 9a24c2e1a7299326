"""The variants of a GGUF repository."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from modelfetch.pins.variants import VariantsError, companions_of, variants_of
from tests.pins.fakes import plain, stated

PATHS = (
    "m-Q4_K_M.gguf",
    "m-Q4_K.gguf",
    "m-q8_0.gguf",
    "m-IQ2_XXS.gguf",
    "BF16/m-BF16-00001-of-00002.gguf",
    "BF16/m-BF16-00002-of-00002.gguf",
    "m-UD-Q2_K_XL.gguf",
    "other.gguf",
    "mmproj-F16.gguf",
    "m.imatrix.gguf",
)


def test_each_quantization_is_a_variant_smallest_first() -> None:
    files = [stated(path, b"x" * (20 - number)) for number, path in enumerate(PATHS)]
    found = variants_of([*files, plain("README.md")])
    assert [variant.label for variant in found] == [
        "other.gguf",
        "UD-Q2_K_XL",
        "IQ2_XXS",
        "q8_0",
        "Q4_K",
        "Q4_K_M",
        "BF16",
    ]
    assert found[-1].size == 16 + 15
    assert companions_of(files) == ["mmproj-F16.gguf"]


def test_the_pattern_of_a_variant_matches_no_other() -> None:
    found = variants_of(map(stated, PATHS))
    for variant in found:
        for other in found:
            is_matched = any(fnmatchcase(path, variant.pattern) for path in other.paths)
            assert is_matched == (other is variant)


def test_very_many_variants_are_named_by_their_paths_and_listed_in_part() -> None:
    found = variants_of(stated(f"m-Q4_{number}Z.gguf") for number in range(1000))
    assert {variant.pattern for variant in found} == {path for variant in found for path in variant.paths}
    message = VariantsError("hf:org/repo", found).message
    assert "has 1000 variants" in message
    assert len(message.splitlines()) < 300
    assert message.endswith("  and 800 more")


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("Qwen2.5-0.5B-Instruct-Q4_K_M.gguf", "Q4_K_M"),
        ("llama-3.2-1b-instruct.Q8_0.gguf", "Q8_0"),
        ("model-f16.gguf", "f16"),
        ("Q5_1/model.gguf", "Q5_1"),
        ("gpt-oss-20b-mxfp4.gguf", "mxfp4"),
        ("x-TQ1_0.gguf", "TQ1_0"),
        ("plain.gguf", "plain.gguf"),
    ],
)
def test_labels(path: str, label: str) -> None:
    assert variants_of([stated(path)])[0].label == label


def test_the_error_has_the_list_with_sizes_and_the_command() -> None:
    found = variants_of([stated("m-Q4_0.gguf", b"x" * 2000), stated("m-Q8_0.gguf", b"x" * 4000)])
    error = VariantsError("hf:org/Repo", found, ["mmproj-F16.gguf"])
    assert error.message.splitlines() == [
        "hf:org/Repo has 2 variants; choose one:",
        "  Q4_0  2.00 kB",
        "  Q8_0  4.00 kB",
        "  for images the model also needs a projector (--include '*mmproj*'): 'mmproj-F16.gguf'",
    ]
    assert error.hint == "For example: `modelfetch add hf:org/Repo --include '*Q4_0*'`."


def test_the_example_is_the_usual_quantization_under_a_name_of_its_own() -> None:
    found = variants_of([stated("x-Q2_K.gguf", b"12345"), stated("x-Q4_K_M.gguf", bytes(7000))])
    error = VariantsError("hf:org/X-GGUF", found, repo="X-GGUF")
    assert error.message.splitlines()[1:] == ["  Q2_K        5 B", "  Q4_K_M  7.00 kB"]
    command = "modelfetch add hf:org/X-GGUF --include '*Q4_K_M*' --name x-q4_k_m"
    assert error.hint == f"For example: `{command}`."


def test_a_size_that_is_not_stated_is_shown_as_unknown() -> None:
    error = VariantsError("x", variants_of([stated("a.gguf", size=None), stated("b.gguf", size=None)]))
    assert error.message.count("size unknown") == 2

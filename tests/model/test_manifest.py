"""Properties of a manifest: size, identity, files, license."""

import hashlib
from dataclasses import FrozenInstanceError, replace

import pytest

from modelfetch.errors import UsageError
from modelfetch.model.manifest import FileSpec, HuggingFaceRepo, Manifest, ModelScopeRepo, is_permissive

MODEL = Manifest(
    name="m",
    version="1",
    files=(FileSpec("b/模型.bin", 3, "b" * 64), FileSpec("a.json", 2, "a" * 64)),
)


def test_the_size_is_that_of_all_files() -> None:
    assert MODEL.size == 5
    assert replace(MODEL, files=()).size == 0


def test_the_identity_is_the_hash_of_the_sorted_facts() -> None:
    canonical = f'[["a.json",2,"{"a" * 64}"],["b/模型.bin",3,"{"b" * 64}"]]'
    assert MODEL.identity == hashlib.sha256(canonical.encode()).hexdigest()


def test_the_identity_ignores_everything_but_the_files() -> None:
    other = replace(
        MODEL,
        name="n",
        version="2",
        title="t",
        license="MIT",
        huggingface=HuggingFaceRepo("o/r", "0" * 40),
        mirrors=("https://example.org/{path}",),
        files=tuple(
            replace(file, urls=("https://example.org/x",), cid="bafkqaaa") for file in MODEL.files[::-1]
        ),
    )
    assert other.identity == MODEL.identity


@pytest.mark.parametrize("change", [{"path": "c"}, {"size": 4}, {"sha256": "c" * 64}])
def test_the_identity_changes_with_any_fact_of_a_file(change: dict[str, str]) -> None:
    first, second = MODEL.files
    assert replace(MODEL, files=(replace(first, **change), second)).identity != MODEL.identity  # type: ignore[arg-type]


def test_a_file_is_found_by_its_path() -> None:
    assert MODEL.file("a.json").size == 2


def test_an_unknown_file_is_a_usage_error_with_a_guess() -> None:
    with pytest.raises(UsageError, match=r"m has no file 'a.jsn'\. Did you mean 'a.json'\?") as caught:
        MODEL.file("a.jsn")
    assert "show m" in caught.value.hint


def test_the_sources_of_the_whole_model_are_listed() -> None:
    full = replace(
        MODEL,
        huggingface=HuggingFaceRepo("o/r", "0" * 40),
        modelscope=ModelScopeRepo("o/r", "master"),
        oci="ghcr.io/o/r",
        ipfs_cid="bafkqaaa",
        mirrors=("https://example.org/{path}",),
    )
    assert dict(full.named_sources()) == {
        "huggingface": f"o/r @ {'0' * 40}",
        "modelscope": "o/r @ master",
        "oci": "ghcr.io/o/r",
        "ipfs": "bafkqaaa",
        "mirror": "https://example.org/{path}",
    }
    assert list(MODEL.named_sources()) == []


def test_values_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        MODEL.name = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    "identifier", ["MIT", "Apache-2.0", "BSD-3-Clause", "ISC", "CC0-1.0", "Unlicense", "Zlib"]
)
def test_permissive_licenses_need_no_notice(identifier: str) -> None:
    assert is_permissive(identifier)


@pytest.mark.parametrize(
    "identifier",
    [
        "",
        "mit",
        "MIT ",
        "MIT License",
        "Apache-2.0 OR GPL-3.0",
        "CC-BY-4.0",
        "AGPL-3.0",
        "MIT (repository); other data",
    ],
)
def test_no_other_license_is_taken_for_permissive(identifier: str) -> None:
    assert not is_permissive(identifier)

"""Which references mean an existing pin."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelfetch.errors import UsageError
from modelfetch.model.manifest import FileSpec, HuggingFaceRepo, Manifest, ModelScopeRepo, PinOrigin
from modelfetch.model.parse_reference import parse_reference
from modelfetch.pins.matching import Wanted, at_revision, is_pin_of, is_source_of
from tests.pins.fakes import COMMIT, HF, MS


def manifest(ref: str, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> Manifest:
    return Manifest(
        "m",
        "1",
        (FileSpec("a", 1, "00" * 32),),
        upstream=PinOrigin(ref, include, exclude),
        huggingface=HuggingFaceRepo("org/Repo", COMMIT),
    )


@pytest.mark.parametrize(
    ("ref", "text"),
    [
        ("hf:org/Repo", "hf:org/Repo"),
        ("hf:org/Repo", "org/Repo"),
        ("hf:org/Repo", "hf:org/Repo@main"),
        ("hf:org/Repo@main", "hf:org/Repo"),
        ("hf:org/Repo@v1", "hf:org/Repo@v1"),
        ("hf:org/Repo", "https://huggingface.co/org/Repo"),
        ("hf:org/Repo", "https://huggingface.co/org/Repo/tree/main"),
        ("hf:datasets/org/Repo", "https://huggingface.co/datasets/org/Repo"),
        ("ms:org/Repo", "ms:org/Repo@master"),
        ("https://a.example/m.onnx", "https://a.example/m.onnx"),
    ],
)
def test_every_spelling_finds_the_pin(ref: str, text: str) -> None:
    wanted = Wanted(parse_reference(text, exists=lambda _: False))
    assert is_pin_of(manifest(ref), wanted)
    assert wanted.needle in ref.encode()


@pytest.mark.parametrize(
    ("ref", "text"),
    [
        ("hf:org/Repo", "hf:org/Repo@v1"),
        ("hf:org/Repo", "hf:datasets/org/Repo"),
        ("hf:org/Repo", "ms:org/Repo"),
        ("hf:org/Repo", "hf:org/Repo2"),
        ("ms:org/Repo", "ms:org/Repo@main"),
    ],
)
def test_what_is_another_reference_does_not(ref: str, text: str) -> None:
    assert not is_pin_of(manifest(ref), Wanted(parse_reference(text, exists=lambda _: False)))


@pytest.mark.parametrize(
    ("ref", "include"),
    [
        ("hf:org/Repo@main", ("a/b/*",)),
        ("hf:org/Repo", ("a/b/*",)),
        ("hf:org/Repo@main/a", ("b/*",)),
        ("hf:org/Repo@main/a/b", ()),
        ("hf:org/Repo@main", ("a/b",)),
    ],
)
def test_a_page_finds_the_pin_of_its_folder_whatever_part_is_the_branch(
    ref: str, include: tuple[str, ...]
) -> None:
    page = replace(HF, revision="main", tail="a/b")
    assert is_pin_of(manifest(ref, include), Wanted(page))
    assert not is_pin_of(manifest(ref, ("c/*",)), Wanted(page)) or not include


def test_patterns_are_compared_where_they_matter() -> None:
    some = manifest("hf:org/Repo", ("*.onnx",))
    assert is_pin_of(some, Wanted(HF))
    assert is_pin_of(some, Wanted(HF, (), (("*.onnx",), ())))
    assert not is_pin_of(some, Wanted(HF, (), ((), ())))
    assert not is_pin_of(some, Wanted(HF, (), (("*.onnx",), ("x",))))


def test_further_sources_must_be_there() -> None:
    one = manifest("hf:org/Repo")
    assert not is_pin_of(one, Wanted(HF, (MS,)))
    assert is_pin_of(replace(one, modelscope=ModelScopeRepo("org/Repo", "master")), Wanted(HF, (MS,)))


@pytest.mark.parametrize(
    ("ref", "text", "expected"),
    [
        ("hf:org/Repo", "ms:org/Repo", True),
        ("hf:org/Repo@v1", "ms:org/Repo@master", True),
        ("hf:org/Repo", "ms:org/Repo@v1", False),
        ("hf:org/Repo", "ms:datasets/org/Repo", False),
        ("ms:org/Repo", "hf:org/Repo", True),
        ("ms:org/Repo", f"hf:org/Repo@{COMMIT}", True),
        ("ms:org/Repo", "hf:org/Repo@v1", False),
        ("ms:org/Repo", "hf:org/Other", False),
        ("hf:old/name", "hf:org/Repo@main", True),
        ("hf:old/name@v1", "hf:org/Repo@v1", True),
        ("hf:old/name@v1", "hf:org/Repo", False),
        ("hf:old/name", f"hf:org/Repo@{COMMIT}", False),
        ("gh:o/r", "https://a.example/m.onnx", False),
    ],
)
def test_a_pin_is_found_by_a_repository_that_it_names(ref: str, text: str, expected: bool) -> None:
    pin = replace(manifest(ref, ("*.onnx",)), modelscope=ModelScopeRepo("org/Repo", "master"))
    wanted = Wanted(parse_reference(text, exists=lambda _: False))
    assert is_source_of(pin, wanted) == expected
    assert not is_source_of(pin, replace(wanted, patterns=((), ())))
    assert not is_source_of(replace(pin, upstream=None), wanted)


@pytest.mark.parametrize(
    ("text", "revision", "expected"),
    [
        ("hf:o/r@main", "v2", "hf:o/r@v2"),
        ("gh:o/r@v1:*.onnx", "v2", "gh:o/r@v2:*.onnx"),
        ("oci:r.example/m:1", "2", "oci:r.example/m:2"),
        ("oci:r.example/m:1", f"sha256:{'0' * 64}", f"oci:r.example/m@sha256:{'0' * 64}"),
        ("ollama:m:1b", "7b", "ollama:m:7b"),
    ],
)
def test_a_revision_replaces_the_one_of_the_reference(text: str, revision: str, expected: str) -> None:
    assert at_revision(parse_reference(text), revision).text == expected


def test_what_has_no_revisions_says_so() -> None:
    with pytest.raises(UsageError, match="has no revisions"):
        at_revision(parse_reference("https://a.example/m.onnx"), "v1")


@pytest.mark.quick(every=2)
@pytest.mark.parametrize("text", ["hf:org/repo", "ms:org/repo", "gh:o/r", "oci:r.example/m", "ollama:m"])
@pytest.mark.parametrize("revision", ["", "../../blobs/x", "a?b=c", "a b", "a@b:c@", "-x", "\x1b[31m"])
def test_what_cannot_be_a_revision_gets_into_no_url(text: str, revision: str) -> None:
    with pytest.raises(UsageError):
        at_revision(parse_reference(text), revision)

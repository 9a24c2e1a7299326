"""Which file names are accepted, and which stand beside each other."""

import json
import ntpath
import sys
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.model.paths import (
    caseless,
    clashes,
    why_bad_label,
    why_bad_name,
    why_bad_version,
    why_unplaceable,
    why_unsafe,
    why_unsafe_remote,
)

NAMES: dict[str, dict[str, list[str]]] = json.loads(
    (Path(__file__).parents[1] / "data" / "hostile_names.json").read_text("utf-8")
)


def test_the_corpus_is_as_large_as_promised() -> None:
    assert sum(map(len, NAMES["refused"].values())) >= 300
    assert sum(map(len, NAMES["accepted"].values())) >= 200


@pytest.mark.parametrize("group", NAMES["refused"])
def test_hostile_names_are_refused_with_a_printable_reason(group: str) -> None:
    reasons = {name: why_unsafe(name) for name in NAMES["refused"][group]}
    assert [name for name, reason in reasons.items() if not reason] == []
    assert all(reason.isprintable() and len(reason) < 200 for reason in reasons.values())


@pytest.mark.parametrize("group", NAMES["accepted"])
def test_names_of_published_models_are_accepted(group: str) -> None:
    assert {name: why_unsafe(name) for name in NAMES["accepted"][group] if why_unsafe(name)} == {}


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "is empty"),
        ("a/../b", "must be relative"),
        ("a b", "contains ' ' U+0020"),
        ("a\x1bb", "contains U+001B"),
        ("a\u202eb", "contains U+202E"),
        ("a\ud800b", "contains U+D800"),
        ("e\u0301", "NFC"),
        ("nul.onnx", "device on Windows"),
        ("x" * 256, "longer than 255 bytes"),
        ("/".join(["x" * 100] * 11), "longer than 1024 bytes"),
        ("/".join("x" * 33), "more than 32 names deep"),
        ("/".join("x" * 100_000), "longer than 1024 bytes"),
    ],
)
def test_the_reason_says_what_is_wrong(path: str, reason: str) -> None:
    assert reason in why_unsafe(path)


def _is_reserved(path: str) -> bool:
    """What Python says of a path on Windows; from 3.13 on another function says it."""
    if sys.version_info >= (3, 13):
        return ntpath.isreserved(path)
    return PureWindowsPath(path).is_reserved()


@given(st.text(st.characters() | st.sampled_from("./\\:-~a1")))
def test_whatever_is_accepted_stays_inside_its_directory_on_every_system(path: str) -> None:
    if why_unsafe(path):
        return
    for flavour in (PurePosixPath, PureWindowsPath):
        pure = flavour(path)
        assert not pure.is_absolute()
        assert not pure.drive
        assert pure.as_posix() == path
        assert ".." not in pure.parts
    assert not _is_reserved(path)
    assert unicodedata.normalize("NFC", path) == path


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("a", "a", "listed twice"),
        ("README.md", "readme.md", "differs only in case"),
        ("stra\u00dfe", "STRASSE", "differs only in case"),
        ("\u00e9.bin", "\u00c9.bin", "differs only in case"),
        ("\u00e9.bin", "e\u0301.bin", "differs only in case or accents"),
        ("k.bin", "\u212a.bin", "differs only in case"),
        ("\u0130.bin", "i\u0307.bin", "differs only in case or accents"),
        ("\u017f.bin", "S.bin", "differs only in case"),
        ("a", "a/b", "lies in 'a', which is itself a file"),
        ("a/b/c", "a/b", "directory of another file"),
        ("a/b", "A/B/c", "lies in 'a/b', which is itself a file"),
        ("onnx/a", "ONNX/b", "elsewhere spelled 'onnx'"),
    ],
)
def test_paths_that_are_one_file_somewhere_clash(first: str, second: str, reason: str) -> None:
    [(index, clause)] = clashes([first, "other/file", second])
    assert index == 2
    assert reason in clause


def test_paths_that_differ_everywhere_do_not_clash() -> None:
    paths = ["a", "b", "ab", "c/a", "c/b", "c/d/a", "i.bin", "\u0131.bin", "", ""]
    assert list(clashes(paths)) == []


@pytest.mark.slow
def test_many_deep_paths_are_compared_in_linear_time() -> None:
    paths = [f"{index}/" + "d/" * 30 + "x" for index in range(2000)]
    assert list(clashes(paths)) == []


@given(st.text(), st.text())
def test_caseless_keys_agree_for_equal_text_in_any_form(text: str, other: str) -> None:
    assert caseless(text) == caseless(unicodedata.normalize("NFD", text)) == caseless(caseless(text))
    assert (caseless(text + other)).startswith(caseless(text)[:1])


@pytest.mark.parametrize("path", ["a/b c (1).bin", "onnx/model.onnx", "x=1,y~2.ckpt", "[a]/é.bin", "con"])
def test_a_remote_path_may_be_called_as_its_publisher_likes(path: str) -> None:
    assert why_unsafe_remote(path) == ""


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/a",
        "a//b",
        "../a",
        "a/..",
        "a/./b",
        "a/",
        "a\\b",
        "a\nb",
        "a\x1bb",
        "a\u202eb",
        "a\ud800b",
        "a" * 1025,
    ],
)
def test_a_remote_path_still_has_one_meaning(path: str) -> None:
    assert why_unsafe_remote(path) != ""


@pytest.mark.parametrize(
    "name", ["a", "0", "whisper-base", "qwen2.5-0.5b-instruct-q4_k_m", "a" * 128, "x..y", "a-"]
)
def test_names_of_models_are_accepted(name: str) -> None:
    assert why_bad_name(name) == ""
    assert why_bad_version(name) == ""


@pytest.mark.parametrize(
    "name",
    [
        "",
        "A",
        "-a",
        ".a",
        "_a",
        "a/b",
        "a\\b",
        "a b",
        "é",
        "a\n",
        "a" * 129,
        "con",
        "nul.v1",
        "com1",
        "a.",
        "..",
        "١",
    ],
)
def test_what_cannot_be_a_directory_everywhere_is_no_name(name: str) -> None:
    assert why_bad_name(name) != ""
    assert why_bad_version(name) != ""


def test_a_version_is_never_called_like_a_receipt() -> None:
    assert why_bad_name("v1.json") == ""
    assert "receipt" in why_bad_version("v1.json")


@pytest.mark.parametrize(
    ("path", "on_windows"),
    [
        ("Text Encoder/gemma (2b).bin", True),
        ("C1_or_C2?_premise.json", False),
        ("a:b", False),
        ("nul.json", False),
        ("dir /x", False),
        ("dir./x", False),
        ("\u00e9t\u00e9/\u6a21\u578b.bin", True),
    ],
)
def test_names_of_repositories_are_taken_as_far_as_the_system_does(path: str, on_windows: bool) -> None:
    assert why_unplaceable(path, windows=False) == ""
    assert (why_unplaceable(path, windows=True) == "") is on_windows


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "a/../b", "a//b", "a\\b", "a\nb", "a\0b", ".", "x" * 256, "a/\u202eb", "a/"]
)
def test_no_name_of_a_repository_leads_out_or_hides_anything(path: str) -> None:
    assert why_unplaceable(path, windows=False) != ""


@pytest.mark.parametrize("label", ["1", "1+0123456789ab", f"v-1.0+{'a' * 64}"])
def test_a_directory_may_have_an_identity_behind_its_version(label: str) -> None:
    assert why_bad_label(label) == ""


@pytest.mark.parametrize(
    "label",
    ["", "+0123456789ab", "1+", "1+0123456789a", "1+0123456789AB", "1++0123456789ab", "1+../../../x"],
)
def test_nothing_else_may(label: str) -> None:
    assert why_bad_label(label) != ""


def test_no_version_can_be_mistaken_for_the_directory_of_another_manifest() -> None:
    assert why_bad_version("1+0123456789ab") != ""
    assert why_bad_name("m+1") != ""

"""Which files of a listing a pin has."""

from __future__ import annotations

import shlex

import pytest

from modelfetch.errors import UsageError
from modelfetch.model.parse import FILES_LIMIT
from modelfetch.pins.select import Patterns, incomplete, select
from tests.pins.fakes import hf_listing, stated

SHARDS = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
INDEX = "model.safetensors.index.json"


def selected(
    paths: list[str],
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    implied: tuple[str, ...] = (),
    *,
    is_repeat: bool = False,
) -> list[str]:
    listing = hf_listing(*map(stated, paths), include=implied)
    return [file.path for file in select(listing, listing.files, Patterns(include, exclude, is_repeat))]


def refused(*arguments: object, **more: object) -> UsageError:
    with pytest.raises(UsageError) as caught:
        selected(*arguments, **more)  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ((), (), ["a.json", "b/c.json", "b/d.bin"]),
        (("*.json",), (), ["a.json", "b/c.json"]),
        (("b/*",), (), ["b/c.json", "b/d.bin"]),
        (("b/",), (), ["b/c.json", "b/d.bin"]),
        ((), ("*.json",), ["b/d.bin"]),
        (("*.json",), ("b/*",), ["a.json"]),
        (("a.json", "*.bin"), (), ["a.json", "b/d.bin"]),
        (("[ab].json",), (), ["a.json"]),
    ],
)
def test_patterns_match_whole_paths(
    include: tuple[str, ...], exclude: tuple[str, ...], expected: list[str]
) -> None:
    assert selected(["b/d.bin", "a.json", "b/c.json"], include, exclude) == expected


def test_what_the_reference_implies_is_narrowed_by_exclude() -> None:
    assert selected(["a", "onnx/a", "onnx/b"], exclude=("*/b",), implied=("onnx/*",)) == ["onnx/a"]


@pytest.mark.parametrize(
    "patterns", [{"include": ("*.bim",)}, {"exclude": ("*.bim",)}, {"implied": ("x/*",)}]
)
def test_a_pattern_that_matches_nothing_is_an_error_that_names_it(
    patterns: dict[str, tuple[str, ...]],
) -> None:
    error = refused(["weights.bin"], **patterns)
    assert repr(next(iter(patterns.values()))[0]) in error.message
    assert "'weights.bin'" in error.hint


def test_a_pattern_is_suggested() -> None:
    assert "Did you mean 'config.json'?" in refused(["config.json"], ("confg.json",)).message


def test_a_pattern_of_an_earlier_revision_may_exclude_nothing() -> None:
    assert selected(["a"], exclude=("gone",), is_repeat=True) == ["a"]


def test_a_path_of_an_earlier_revision_may_be_gone() -> None:
    assert selected(["a"], ("a", "gone"), is_repeat=True) == ["a"]
    assert "'gone'" in refused(["a"], ("a", "gone")).message
    assert "'gone'" in refused(["a"], ("gone",), is_repeat=True).message
    assert "'*Q4*'" in refused(["a"], ("a", "*Q4*"), is_repeat=True).message


def test_settings_of_git_are_left_out_unless_named() -> None:
    paths = [".gitattributes", "a", "b/.gitattributes"]
    assert selected(paths) == ["a"]
    assert selected(paths, ("*",)) == ["a"]
    assert selected(paths, (".gitattributes", "a")) == [".gitattributes", "a"]


def test_one_part_selects_all_and_their_index() -> None:
    assert selected([*SHARDS, INDEX, "x"], (SHARDS[1],)) == sorted([*SHARDS, INDEX])
    gguf = [f"q/m-Q8_0-0000{number}-of-00002.gguf" for number in (1, 2)]
    assert selected([*gguf, "q/m-Q4_0.gguf"], ("*00002-of*",)) == gguf


def test_an_index_alone_selects_no_part() -> None:
    assert selected([*SHARDS, INDEX, "config.json"], ("*.json",)) == ["config.json", INDEX]


@pytest.mark.parametrize("excluded", [SHARDS[2], INDEX])
def test_a_part_cannot_be_left_out_alone(excluded: str) -> None:
    error = refused([*SHARDS, INDEX], (), (excluded,))
    assert f"'{excluded}' cannot be left out" in error.message
    assert "kept whole" in error.message


def test_all_parts_can_be_left_out() -> None:
    assert selected([*SHARDS, INDEX, "model.bin"], (), ("*safetensors*",)) == ["model.bin"]


def test_a_part_that_the_hub_does_not_list_is_noticed() -> None:
    assert incomplete(map(stated, SHARDS)) == []
    assert "only 2 are listed" in incomplete(map(stated, SHARDS[:2]))[0]


def test_unsafe_paths_are_reported_all_at_once_with_a_way_out() -> None:
    error = refused(["ok", "../x", "a b.png", "Model", "model", "x[1]/con"])
    assert error.message.splitlines()[0] == "hf:org/Repo has 4 paths that cannot be used on every system:"
    for words in ("'../x' must be relative", "' ' U+0020", "'model' differs only in case", "'x[1]/con'"):
        assert words in error.message
    assert "--exclude '../x'" in error.hint
    assert "--exclude 'x[[]1]/con'" in error.hint


def test_a_path_cannot_add_a_command_to_the_way_out() -> None:
    error = refused(["ok", "a'; id; 'b", "x" * 100_000])
    assert shlex.split(error.hint)[-4:] == ["--exclude", "a'; id; 'b", "--exclude", "x" * 200 + "*"]


def test_the_way_out_works() -> None:
    assert selected(["ok", "a b.png", "x[1]/con"], (), ("a b.png", "x[[]1]/con")) == ["ok"]


def test_nothing_to_pin_is_an_error() -> None:
    assert "no file to pin" in refused([".gitattributes"]).message
    assert "no file to pin" in refused([]).message


@pytest.mark.slow
def test_there_is_a_limit_of_files() -> None:
    error = refused([f"d/{number}" for number in range(FILES_LIMIT + 1)])
    assert "20,001 files" in error.message
    assert "--include" in error.hint

"""What several hubs state about the same files."""

from __future__ import annotations

import pytest

from modelfetch.errors import IntegrityError, UnavailableError, UsageError
from modelfetch.pins.combine import Combined, agreements, combine, unique_files
from modelfetch.upstreams.base import Listing
from tests.pins.fakes import hf_listing, ms_listing, plain, sha256, stated


def combined(*listings: Listing) -> list[Combined]:
    return combine(unique_files(listings[0]), listings)


def test_stated_beats_computed() -> None:
    hub = hf_listing(stated("w"), plain("c", b"{}"))
    other = ms_listing(stated("w", urls=("https://a.example/w",)), stated("c", b"{}"))
    weights, config = combined(hub, other)
    assert weights.stated_by == ("huggingface", "modelscope")
    assert weights.file.urls == ("https://a.example/w",)
    assert config.stated_by == ("modelscope",)
    assert config.file.sha256 == sha256(b"{}")
    assert config.file.git_blob is not None


def test_a_file_on_which_they_disagree_names_both_digests() -> None:
    with pytest.raises(IntegrityError) as caught:
        combined(hf_listing(stated("w", b"one"), stated("x")), ms_listing(stated("w", b"two"), stated("x")))
    lines = caught.value.message.splitlines()
    assert lines[0] == "the references do not agree on 1 file:"
    for words in ("'w'", "hf:org/Repo has", sha256(b"one"), "ms:org/Repo has", sha256(b"two")):
        assert words in lines[1]
    assert "--exclude 'w'" in caught.value.hint


def test_a_size_alone_is_enough_to_disagree() -> None:
    with pytest.raises(IntegrityError) as caught:
        combined(hf_listing(plain("README.md", b"long text")), ms_listing(stated("README.md", b"text")))
    assert "git blob id" in caught.value.message
    assert "9 bytes" in caught.value.message
    assert "4 bytes" in caught.value.message


def test_two_hubs_are_compared_with_each_other_where_the_first_states_nothing() -> None:
    third = ms_listing(stated("c", b"!}"), reference=hf_listing().reference)
    with pytest.raises(IntegrityError):
        combined(hf_listing(plain("c", b"{}")), ms_listing(stated("c", b"{}")), third)


def test_gaps_and_agreements_are_counted() -> None:
    hub = hf_listing(stated("a"), stated("b"), plain("c"), plain("d"))
    other = ms_listing(stated("a"), stated("c", b"{}"))
    [line] = agreements(combined(hub, other), [hub, other])
    words = "ms:org/Repo agrees with hf:org/Repo on 1 file by SHA-256 and on 1 file by size alone"
    assert line == f"{words}; it does not have 2 of 4 files"


def test_a_reference_without_any_of_the_files_is_refused() -> None:
    with pytest.raises(UsageError, match="has none of the files of hf:org/Repo"):
        combined(hf_listing(stated("a")), ms_listing(stated("b")))


def test_a_path_listed_twice_with_the_same_content_is_one_file() -> None:
    assert unique_files(hf_listing(stated("a"), stated("a"))) == [stated("a")]


def test_a_path_listed_twice_with_other_content_is_refused() -> None:
    with pytest.raises(UnavailableError, match="lists 'a' twice"):
        unique_files(hf_listing(stated("a"), stated("a", b"other")))

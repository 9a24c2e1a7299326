"""Text from elsewhere, made safe to show; guesses at what was meant."""

import json
import re
import shlex
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.model.text import (
    did_you_mean,
    inert,
    media_type,
    quote,
    sanitize,
    shell_quoted,
    shell_word,
)
from tests.patience import IN_TIME


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("日本語 é 📦", "日本語 é 📦"),
        ("a\nb\tc", "a b c"),
        ("a\r\nb", "a b"),
        ("a\u2028b\u2029c\x85d", "a b c d"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("\x1b]0;title\x07x", "]0;titlex"),
        ("\x9b2J\x7f", "2J"),
        ("safe\u202etxt.exe", "safetxt.exe"),
        ("a\u200b\u200d\ufeff\u2066b", "ab"),
        ("a\ud800b", "ab"),
        ("a\u3164\ufe0f\u115fb", "ab"),
        ("a\u2065\ufff0\U000e0000\U000e0200b", "ab"),
        ("", ""),
        ("##vso[task.setvariable variable=x]y", "# #vso[task.setvariable variable=x]y"),
        ("a ##[error]b", "a # #[error]b"),
        ("#\x1b#teamcity[x]", "# #teamcity[x]"),
        ("####[x]", "### #[x]"),
        ("::error::x", ": :error::x"),
        ("\n ::set-output name=a::b", "  : :set-output name=a::b"),
        ("\u200b::warning::x", ": :warning::x"),
        ("a::b ## c # [d]", "a::b ## c # [d]"),
    ],
)
def test_only_what_can_be_seen_is_shown_on_one_line(text: str, shown: str) -> None:
    assert sanitize(text) == shown


@given(st.text(st.characters()))
def test_nothing_that_steers_a_terminal_survives(text: str) -> None:
    shown = sanitize(text)
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert sanitize(shown) == shown


COMMAND = re.compile(r"##\w*\[|^\s*::")


@given(st.text(st.sampled_from("#:[]vso teamcity\n\x1b\u200b\u2028")))
def test_nothing_that_steers_a_ci_system_survives(text: str) -> None:
    shown = sanitize(text)
    assert not COMMAND.search(shown)
    assert sanitize(shown) == shown


@given(st.text(st.sampled_from('#:[]vso"\\\x7f')))
def test_an_inert_line_of_json_has_the_same_value(text: str) -> None:
    line = inert(json.dumps({"a": text}))
    assert not COMMAND.search(line)
    assert "\x7f" not in line
    assert json.loads(line) == {"a": text}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("text/html; charset=utf-8", "text/html"),
        (" Application/JSON ", "application/json"),
        ("image/svg+xml", "image/svg+xml"),
        ("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.manifest.v1+json"),
        *(
            (text, "")
            for text in ("", "html", "text/", "/html", "text/html/x", "text/##[error]", "::error::/x")
        ),
        *((text, "") for text in ("text/ht ml", "text/html\x1b[2J", f"text/{'x' * 64}", "tëxt/html")),
    ],
)
def test_a_media_type_is_shown_where_it_looks_like_one(text: str, shown: str) -> None:
    assert media_type(text) == shown


def test_a_quotation_is_safe_and_short() -> None:
    assert quote("x") == "'x'"
    assert quote("a\x1bb") == "'ab'"
    assert quote("abcdef", limit=3) == "'abc…'"
    assert quote("abc", limit=3) == "'abc'"


@pytest.mark.parametrize(
    ("word", "guess"),
    [
        ("whispr-base", " Did you mean 'whisper-base'?"),
        ("Whisper-Base", " Did you mean 'whisper-base'?"),
        ("licence", " Did you mean 'license'?"),
        ("zzz", ""),
        ("", ""),
    ],
)
def test_a_guess_is_a_sentence_or_nothing(word: str, guess: str) -> None:
    assert did_you_mean(word, ["whisper-base", "license", "tts-models"]) == guess


def test_a_guess_shows_the_choice_as_it_is_spelled_but_safe() -> None:
    assert did_you_mean("readme", ["README\x1b"]) == " Did you mean 'README'?"


@given(st.text(max_size=30))
def test_a_word_of_a_command_is_one_word_for_a_shell(text: str) -> None:
    shown = sanitize(text)
    assert shlex.split(shell_quoted(text)) == [shown]
    assert shlex.split(shell_word(text)) == [shown]


def test_a_word_is_quoted_only_if_it_has_to_be() -> None:
    assert shell_word("hf:org/Repo@main") == "hf:org/Repo@main"
    assert shell_word("a'; id; 'b") == """'a'"'"'; id; '"'"'b'"""


def test_no_guess_is_made_about_a_huge_word() -> None:
    begun = time.monotonic()
    assert did_you_mean("a" * 1_000_000, ["a" * 60]) == ""
    assert time.monotonic() - begun < IN_TIME

"""Text from elsewhere, made safe to show; guesses at what was meant."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.model.text import did_you_mean, quote, sanitise
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
        ("", ""),
    ],
)
def test_only_what_can_be_seen_is_shown_on_one_line(text: str, shown: str) -> None:
    assert sanitise(text) == shown


@given(st.text(st.characters()))
def test_nothing_that_steers_a_terminal_survives(text: str) -> None:
    shown = sanitise(text)
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert sanitise(shown) == shown


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


def test_no_guess_is_made_about_a_huge_word() -> None:
    begun = time.monotonic()
    assert did_you_mean("a" * 1_000_000, ["a" * 60]) == ""
    assert time.monotonic() - begun < IN_TIME

"""Reading plain TOML: the values are those of ``tomllib``, or the document is left to it."""

from __future__ import annotations

import random
import tomllib

import pytest

from modelfetch.catalog.builtin import BUILTIN
from modelfetch.model.plain_toml import parse_plain

DOCUMENT = """# A comment: "quoted" = [1]
schema = 1
"other/name" = "with = and # and é"
empty  = ""
flag   = false
list   = ["a", "b = c"]

[table]
x-y_2  = 0

[[files]]
path   = "config.json"
executable = true
urls   = [
  "https://example.org/a",
  "https://example.org/b",
]

[[files]]
path   = "b"
urls   = [
]
"""


def test_every_built_in_manifest_is_read_without_tomllib() -> None:
    for path in BUILTIN.glob("*.toml"):
        text = path.read_text("utf-8")
        assert parse_plain(text) == tomllib.loads(text), path.name


def test_every_form_has_the_values_of_tomllib() -> None:
    assert parse_plain(DOCUMENT) == tomllib.loads(DOCUMENT)
    assert parse_plain("") == {}


@pytest.mark.quick(every=5)
@pytest.mark.parametrize(
    "text",
    [
        *('a = "x" # comment', 'a = "\\n"', "a = 'x'", 'a = """x"""', 'a = """', 'a = "', "a = ", "a", "a ="),
        *("a = 01", "a = -1", "a = 1_000", "a = 1.0", "a = 0x1", "a = ٣", "a = 1234567890123456789"),
        *("a.b = 1", "é = 1", " = 1", '"" a = 1', "a b = 1", "a = true ", "a = TRUE", "a = 2026-01-01"),
        *("[a.b]", "[ a ]", "[a", "[]", "[[a]", "[a]]", "[[]]", "[[a.b]]", "[a] # comment"),
        *("a = 1\na = 2", "a = 1\n[a]", "[a]\n[a]", "[a]\n[[a]]", "[[a]]\n[a]", "a = [\n]\n[[a]]"),
        *("a = []", "a = [ ]", 'a = ["x",]', 'a = ["x" ]', 'a = ["x", 1]', "a = [[]]", 'a = ["x","y"]'),
        *('a = ["x\\n"]', 'a = [\n"x"\n]', "a = [\n1,\n]", "a = [\n", 'a = [\n"x",'),
        *('a = [\n"x", "y",\n]', 'a = ["]', "a = nan"),
        *("a = {}", "a = 1\r\n", "\ta = 1", "a = 1\t", "# \x00", "\x1f", 'a = "\x7f"', "\ufeffa = 1"),
    ],
)  # fmt: skip
def test_any_other_form_is_left_to_tomllib(text: str) -> None:
    assert parse_plain(text) is None


def test_no_change_of_a_document_is_read_in_another_way() -> None:
    """Whatever is read here is valid, and means the same."""
    draw, read = random.Random(7), 0
    for _ in range(1500):
        text = DOCUMENT
        for _ in range(draw.randrange(1, 4)):
            at = draw.randrange(len(text))
            text = text[:at] + draw.choice(["", *'"[]=#,\n 0a.\\-', DOCUMENT[at : at + 9]]) + text[at + 1 :]
        found = parse_plain(text)
        if found is not None:
            read += 1
            assert found == tomllib.loads(text), text
    assert read > 100

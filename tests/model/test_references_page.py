"""The page about references says what the parser does: its forms, pasted addresses and messages."""

from __future__ import annotations

import pytest

from modelfetch.errors import UsageError
from modelfetch.model.parse_reference import parse_reference
from modelfetch.model.reference import RepoReference
from tests.test_docs import REFERENCE, section, tables, terms

PAGE = REFERENCE / "references.md"
SHA = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
CID = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
WORDS = {
    "REGISTRY/NAME": "ghcr.io/org/name",
    "DIGEST": SHA,
    "CID": CID,
    "HOST": "example.org",
    "BUCKET": "bucket",
    "CONTAINER": "container",
    "GLOB": "*.bin",
}
"""Values of the placeholders; others stand for themselves, as letters."""


def table(title: str) -> list[list[str]]:
    [found] = tables(section(PAGE, title))
    return found


def filled(form: str) -> str:
    for word, value in WORDS.items():
        form = form.replace(word, value)
    return form


@pytest.mark.parametrize("form", [term for row in table("Forms") for term in terms(row[0])])
def test_forms_are_accepted(form: str) -> None:
    assert parse_reference(filled(form), exists=lambda _: False).text


@pytest.mark.parametrize("row", table("Addresses from a browser"), ids=lambda row: str(row[0]))
def test_addresses_stand_for_what_the_page_says(row: list[str]) -> None:
    [pasted], [canonical], files = terms(row[0]), terms(row[1]), "".join(terms(row[2]))
    found = parse_reference(pasted, exists=lambda _: False)
    assert found.text == canonical
    assert (found.tail if isinstance(found, RepoReference) else "") == files
    assert files or row[2] == "all"


@pytest.mark.parametrize("row", table("Errors"), ids=lambda row: str(row[0]))
def test_errors_are_those_of_the_page(row: list[str]) -> None:
    [wrong] = terms(row[0])
    with pytest.raises(UsageError) as caught:
        parse_reference(wrong, exists=lambda _: False)
    assert [caught.value.message, caught.value.hint] == [cell.replace("\\*", "*") for cell in row[1:]]

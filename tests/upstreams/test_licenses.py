"""Licenses: SPDX only where exactly one identifier is meant."""

from __future__ import annotations

from typing import Any

import pytest

from modelfetch.model.manifest import is_permissive
from modelfetch.upstreams.huggingface_card import stated_license, title_of
from modelfetch.upstreams.licenses import license_of


@pytest.mark.quick(every=4)
@pytest.mark.parametrize(
    ("stated", "license"),
    [
        ("apache-2.0", "Apache-2.0"),
        ("mit", "MIT"),
        ("MIT", "MIT"),
        ("bsl-1.0", "BSL-1.0"),
        ("cc-by-4.0", "CC-BY-4.0"),
        ("cc0-1.0", "CC0-1.0"),
        ("gpl-3.0", "gpl-3.0"),
        ("gpl", "gpl"),
        ("cc", "cc"),
        ("bsd", "bsd"),
        ("openrail", "openrail"),
        ("openrail++", "openrail++"),
        ("llama3.1", "llama3.1"),
        ("gemma", "gemma"),
        ("unknown", "unknown"),
        ("other", "other"),
        (["mit", "apache-2.0"], "MIT, Apache-2.0"),
        (["mit", 7, ""], "MIT"),
        ([], ""),
        (None, ""),
        (7, ""),
        ("x" * 1000, "x" * 200),
        ("a\x1b[31m\nb", "a[31m b"),
    ],
)
def test_licenses(stated: object, license: str) -> None:  # noqa: A002
    assert license_of(stated) == license


def test_only_permissive_licenses_become_permissive() -> None:
    assert is_permissive(license_of("apache-2.0"))
    assert not is_permissive(license_of("other", "MIT"))
    assert not is_permissive(license_of(["mit", "gpl-3.0"]))


@pytest.mark.parametrize(
    ("details", "license", "title"),
    [
        ({"cardData": {"license": "mit"}, "tags": ["license:gpl-3.0"]}, "MIT", "repo"),
        ({"cardData": {}, "tags": [1, "x", "license:apache-2.0"]}, "Apache-2.0", "repo"),
        ({"cardData": {"license": "other", "license_name": "my-license"}}, "other (my-license)", "repo"),
        ({"cardData": {"pretty_name": " A\nB "}}, "", "A B"),
        ({"cardData": {"title": 7}, "tags": "license:mit"}, "", "repo"),
        ({"cardData": "mit"}, "", "repo"),
        ({}, "", "repo"),
    ],
)
def test_cards(details: dict[str, Any], license: str, title: str) -> None:  # noqa: A002
    assert (stated_license(details), title_of(details, "org/repo")) == (license, title)

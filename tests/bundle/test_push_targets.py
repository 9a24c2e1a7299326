"""Where a push goes: repositories and tags."""

from __future__ import annotations

import pytest

from modelfetch.bundle.push_targets import target_of, targets
from modelfetch.errors import UsageError


@pytest.mark.parametrize(
    ("text", "models", "expected"),
    [
        ("oci:r.example/a/b", [("m", "1")], ["r.example/a/b:1"]),
        ("oci:r.example:5000/a", [("m", "1.2-x")], ["r.example:5000/a:1.2-x"]),
        ("oci:r.example/a:latest", [("m", "1")], ["r.example/a:latest"]),
        ("oci:localhost:5000/a:new", [("m", "1")], ["localhost:5000/a:new"]),
        ("oci:r.example/a", [("m", "1"), ("n", "2")], ["r.example/a/m:1", "r.example/a/n:2"]),
        ("oci:org/repo", [("m", "1")], ["docker.io/org/repo:1"]),
    ],
)
def test_each_model_gets_a_repository_and_a_tag(
    text: str, models: list[tuple[str, str]], expected: list[str]
) -> None:
    assert [each.text for each in targets(target_of(text), models)] == expected


@pytest.mark.parametrize(
    ("text", "models"),
    [
        ("oci:r.example/a:t", [("m", "1"), ("n", "1")]),
        ("oci:r.example/a", [("m", "1+build")]),
        ("oci:r.example/a", [("m", "x" * 129)]),
        ("oci:r.example/a", [("M", "1"), ("n", "1")]),
        ("oci:r.example/a@sha256:" + "0" * 64, [("m", "1")]),
        ("r.example/a", [("m", "1")]),
        ("oci:r.example/A B", [("m", "1")]),
        ("", [("m", "1")]),
    ],
)
def test_what_a_registry_would_refuse_is_refused_before(text: str, models: list[tuple[str, str]]) -> None:
    with pytest.raises(UsageError):
        targets(target_of(text), models)

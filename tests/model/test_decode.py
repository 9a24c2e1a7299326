"""JSON from elsewhere becomes values, or is refused with the place that is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from modelfetch.model.decode import decode


@dataclass(frozen=True)
class Inner:
    name: str


@dataclass(frozen=True)
class Outer:
    text: str
    count: int
    seconds: float
    yes: bool
    word: Literal["a", "b"]
    inner: Inner | None
    speed: float | None
    words: tuple[str, ...]
    inners: tuple[Inner, ...] = ()


GOOD: dict[str, Any] = {
    "text": "x",
    "count": 3,
    "seconds": 1.5,
    "yes": True,
    "word": "b",
    "inner": {"name": "i"},
    "speed": None,
    "words": ["p", "q"],
    "inners": [{"name": "j", "new": 1}],
}


def test_every_field_is_taken_by_its_annotation() -> None:
    expected = Outer("x", 3, 1.5, True, "b", Inner("i"), None, ("p", "q"), (Inner("j"),))
    assert decode(Outer, GOOD) == expected


def test_unknown_keys_are_ignored_and_fields_with_defaults_are_optional() -> None:
    document = {key: value for key, value in GOOD.items() if key != "inners"} | {"new": {"a": 1}}
    assert decode(Outer, document).inners == ()


def test_a_whole_number_is_a_number_of_seconds_too() -> None:
    seconds = decode(Outer, GOOD | {"seconds": 2}).seconds
    assert (seconds, type(seconds)) == (2.0, float)


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text", 3),
        ("text", None),
        ("count", True),
        ("count", 1.0),
        ("count", -1),
        ("count", 2**63),
        ("count", "3"),
        ("seconds", float("nan")),
        ("seconds", float("inf")),
        ("seconds", -0.1),
        ("seconds", 10**400),
        ("seconds", None),
        ("yes", 1),
        ("word", "c"),
        ("word", ["a"]),
        ("inner", []),
        ("inner", {"name": 1}),
        ("speed", "fast"),
        ("words", "pq"),
        ("words", ["p", 1]),
        ("inners", {"name": "j"}),
        ("inners", [None]),
    ],
)
def test_what_a_field_cannot_hold_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{field}\b"):
        decode(Outer, GOOD | {field: value})


@pytest.mark.parametrize("field", [name for name in GOOD if name != "inners"])
def test_what_must_be_given_must_be_given(field: str) -> None:
    document = {key: value for key, value in GOOD.items() if key != field}
    with pytest.raises(ValueError, match=rf"^{field} is missing$"):
        decode(Outer, document)


@pytest.mark.parametrize("document", [None, [], "x", 3])
def test_what_is_no_object_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match="not an object"):
        decode(Outer, document)

"""JSON Schemas of types."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.json_schema import nullable, one_of, schema_of


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Inner:
    size: int


@dataclass(frozen=True, slots=True)
class Outer:
    kind: ClassVar[str] = "outer"
    inner: tuple[Inner, ...]
    note: str | None = None


@dataclasses.dataclass(frozen=True)
class Standard:
    name: str


INNER = {"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]}


@pytest.mark.parametrize(
    ("hint", "schema"),
    [
        (str, {"type": "string"}),
        (bool, {"type": "boolean"}),
        (float, {"type": "number"}),
        (Path, {"type": "string"}),
        (datetime, {"type": "string", "format": "date-time"}),
        (object, {}),
        (Any, {}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (Literal[1, "b"], {"enum": [1, "b"]}),
        (Color, {"type": "string", "enum": ["red", "blue"]}),
        (str | None, {"type": ["string", "null"]}),
        (Color | None, {"anyOf": [{"type": "string", "enum": ["red", "blue"]}, {"type": "null"}]}),
        (int | str, {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (frozenset[str], {"type": "array", "items": {"type": "string"}}),
        (tuple[int, ...] | None, {"type": ["array", "null"], "items": {"type": "integer"}}),
        (
            tuple[int, str],
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "string"}],
                "minItems": 2,
                "maxItems": 2,
            },
        ),
        (Mapping[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (dict[str, bool], {"type": "object", "additionalProperties": {"type": "boolean"}}),
        (Inner, INNER),
        (Standard, {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}),
        (
            Outer,
            {
                "type": "object",
                "properties": {
                    "inner": {"type": "array", "items": INNER},
                    "note": {"type": ["string", "null"]},
                },
                "required": ["inner", "note"],
            },
        ),
    ],
)
def test_every_kind_of_type_has_a_schema(hint: Any, schema: dict[str, Any]) -> None:
    assert schema_of(hint) == schema


@pytest.mark.parametrize("hint", [bytes, complex, type[int]])
def test_a_type_without_a_rule_is_refused(hint: Any) -> None:
    with pytest.raises(TypeError, match="no JSON Schema for"):
        schema_of(hint)


def test_a_schema_is_the_callers_own() -> None:
    schema_of(str)["description"] = "changed"
    assert schema_of(str) == {"type": "string"}


def test_one_kind_stays_as_it_is() -> None:
    assert one_of([{"type": "string"}]) == {"type": "string"}
    assert nullable(INNER) == {**INNER, "type": ["object", "null"]}

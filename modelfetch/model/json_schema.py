"""JSON Schemas (draft 2020-12) of types, for documents that are written from dataclasses. Pure functions.

A schema describes the value as it is written to JSON: tuples are arrays, enumerations are their values, and a
dataclass is an object that always has all its fields. Objects stay open: a reader must ignore properties that
it does not know, since a later version may add some. An example::

    >>> schema_of(tuple[int, ...] | None)
    {'type': ['array', 'null'], 'items': {'type': 'integer'}}
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

Schema: TypeAlias = dict[str, Any]
Describe: TypeAlias = Callable[[type, str], str]
"""Returns what a field of a dataclass means, or an empty string."""

_PLAIN: Final[Mapping[Any, Schema]] = {
    Any: {},
    object: {},
    None: {"type": "null"},
    type(None): {"type": "null"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    Path: {"type": "string"},
    datetime: {"type": "string", "format": "date-time"},
}


def schema_of(hint: Any, describe: Describe | None = None) -> Schema:
    """Return the schema of a type.

    Args:
        hint: A resolved annotation: ``str``, ``bool``, ``int``, ``float``, ``datetime``, a path, ``Literal``,
            an enumeration, a dataclass, a tuple, list, set or mapping of these, or a union of them.
        describe: Returns the description of a field of a dataclass.

    Raises:
        TypeError: There is no rule for this type.
    """
    origin = get_origin(hint)
    if hint in _PLAIN:
        return dict(_PLAIN[hint])
    if origin is Literal:
        return _enum(get_args(hint))
    if origin in (Union, types.UnionType):
        return one_of([schema_of(each, describe) for each in get_args(hint)])
    if isinstance(origin, type):
        return _container(origin, get_args(hint), describe)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum([member.value for member in hint])
    if is_dataclass(hint):
        return object_of(_properties(hint, describe))
    raise TypeError(f"no JSON Schema for {hint!r}")


def object_of(properties: Mapping[str, Schema], optional: Sequence[str] = ()) -> Schema:
    """Return the schema of an object; all properties are required, except the optional ones."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required}


def nullable(schema: Schema) -> Schema:
    """Return the schema of a value that may also be null."""
    return one_of([schema, schema_of(None)])


def one_of(schemas: Sequence[Schema]) -> Schema:
    """Return the schema of a value that is of any of several kinds.

    A kind that may be null, which is the frequent case, becomes one schema with two types.
    """
    rest = [schema for schema in schemas if schema != {"type": "null"}]
    if len(rest) == len(schemas) or len(rest) != 1 or "type" not in rest[0] or "enum" in rest[0]:
        return {"anyOf": list(schemas)} if len(schemas) > 1 else schemas[0]
    return {**rest[0], "type": [rest[0]["type"], "null"]}


def _properties(kind: Any, describe: Describe | None) -> dict[str, Schema]:
    hints = get_type_hints(kind)
    properties = {field.name: schema_of(hints[field.name], describe) for field in fields(kind)}
    if describe is not None:
        for name, schema in properties.items():
            if text := describe(kind, name):
                properties[name] = {"description": text, **schema}
    return properties


def _enum(values: Sequence[Any]) -> Schema:
    is_text = all(isinstance(value, str) for value in values)
    return {**({"type": "string"} if is_text else {}), "enum": list(values)}


def _container(origin: type, arguments: Sequence[Any], describe: Describe | None) -> Schema:
    if issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": schema_of(arguments[1], describe)}
    if issubclass(origin, tuple) and arguments[-1] is not ...:
        items = [schema_of(each, describe) for each in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if issubclass(origin, Sequence | Set):
        return {"type": "array", "items": schema_of(arguments[0], describe)}
    raise TypeError(f"no JSON Schema for {origin!r}")

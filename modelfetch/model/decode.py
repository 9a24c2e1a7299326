"""JSON objects from elsewhere made values: every field checked against its annotation. Pure."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Final, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")

LIMIT: Final = 2**63
"""Every number is below this, as every size is; more would only overflow where it is shown."""


def decode(kind: type[T], document: object, where: str = "") -> T:
    """Make a dataclass of a JSON object.

    Understood are texts, truth values, numbers (finite, and none of them negative), ``Literal``, dataclasses,
    tuples of one kind of item, and any of these or None. Keys that are no field are passed over: a newer
    writer may have more to say.

    Args:
        kind: The dataclass.
        document: The object.
        where: What the object is in a larger one, as ``error.hint``; messages begin with it.

    Raises:
        ValueError: It is no object, lacks a field without a default, or a value is not what the field holds.
    """
    if not isinstance(document, dict):
        raise ValueError(f"{where or 'it'} is not an object")  # noqa: TRY004 - of the data, not of the call
    values: dict[str, Any] = {}
    for name, form, is_required in _forms(cast("Any", kind)):
        place = f"{where}.{name}" if where else name
        if name in document:
            values[name] = _checked(place, form, document[name])
        elif is_required:
            raise ValueError(f"{place} is missing")
    return kind(**values)


@cache
def _forms(kind: Any) -> tuple[tuple[str, Any, bool], ...]:
    """The fields of a dataclass: name, resolved annotation, and whether it must be given."""
    hints = get_type_hints(kind)
    return tuple(
        (field.name, hints[field.name], field.default is MISSING and field.default_factory is MISSING)
        for field in fields(kind)
    )


def _checked(where: str, form: Any, value: object) -> Any:
    choices = get_args(form)
    match get_origin(form):
        case None:
            return _decoded(where, form, value) if is_dataclass(form) else _plain(where, form, value)
        case origin if origin is Literal:
            return _one_of(where, choices, value)
        case origin if origin is UnionType:
            return None if value is None else _checked(where, choices[0], value)
        case _:
            return _items(where, choices[0], value)


def _decoded(where: str, form: Any, value: object) -> object:
    return cast("object", decode(form, value, where))


def _one_of(where: str, choices: tuple[Any, ...], value: object) -> object:
    if value not in choices:
        raise ValueError(f"{where} is none of {', '.join(choices)}")
    return value


def _items(where: str, form: Any, value: object) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{where} is not a list")  # noqa: TRY004
    return tuple(_checked(where, form, item) for item in value)


def _plain(where: str, form: Any, value: object) -> object:
    if form in (str, bool):
        if not isinstance(value, form):
            raise ValueError(f"{where} is not {'a text' if form is str else 'true or false'}")
        return value
    is_number = isinstance(value, form | int) and not isinstance(value, bool)
    if is_number and 0 <= cast("float", value) < LIMIT:  # which what is not finite is not
        return form(value)
    raise ValueError(f"{where} is not a number such as it must be")

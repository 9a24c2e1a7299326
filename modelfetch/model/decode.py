"""Decoding of untrusted JSON objects into dataclasses. Pure functions.

Every value is checked against the annotation of its field, so that later code can rely on the types. For
example, a dataclass with ``size: int`` rejects ``{"size": "big"}`` with
``size is not a whole number from 0``.
"""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Final, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")

LIMIT: Final = 2**63
"""Upper bound of every number, as of every size; larger numbers would overflow when formatted."""

_NUMBERS: Final[dict[Any, str]] = {int: "a whole number from 0", float: "a number from 0"}


def decode(kind: type[T], document: object, where: str = "") -> T:
    """Convert a JSON object to a dataclass.

    Supported types of fields are ``str``, ``bool``, ``int`` and ``float`` (finite and not negative),
    ``Literal``, dataclasses, tuples, and each of these or None. Unknown keys are
    ignored, since a newer version may write more of them.

    Args:
        kind: The dataclass.
        document: The object.
        where: Path of the object in a larger one, such as ``error.hint``; messages start with it.

    Raises:
        ValueError: It is not an object, lacks a field without a default, or a value has the wrong type.
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
    """Return name, resolved annotation and whether it is required, of each field of a dataclass."""
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
        case _ if choices[-1] is not Ellipsis:
            return _fixed(where, choices, value)
        case _:
            return _items(where, choices[0], value)


def _decoded(where: str, form: Any, value: object) -> object:
    return cast("object", decode(form, value, where))


def _one_of(where: str, choices: tuple[Any, ...], value: object) -> object:
    if value not in choices:
        raise ValueError(f"{where} is not one of {', '.join(choices)}")
    return value


def _items(where: str, form: Any, value: object) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{where} is not a list")  # noqa: TRY004
    return tuple(_checked(where, form, item) for item in value)


def _fixed(where: str, forms: tuple[Any, ...], value: object) -> object:
    """Check a tuple with a form for each of its items."""
    if not isinstance(value, list) or len(value) != len(forms):
        raise ValueError(f"{where} is not a list of {len(forms)}")
    return tuple(_checked(where, form, item) for form, item in zip(forms, value, strict=True))


def _plain(where: str, form: Any, value: object) -> object:
    if form in (str, bool):
        if not isinstance(value, form):
            raise ValueError(f"{where} is not {'a string' if form is str else 'true or false'}")
        return value
    is_number = isinstance(value, form | int) and not isinstance(value, bool)
    if is_number and 0 <= cast("float", value) < LIMIT:  # false for infinity and NaN
        return form(value)
    raise ValueError(f"{where} is not {_NUMBERS[form]}")

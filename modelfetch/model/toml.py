"""Reading a TOML document by type, collecting all faults.

:class:`Table` reads the keys of one table. A wrong value adds a fault and reads as an empty value, so that
reading continues; :meth:`Faults.raise_any` raises them together. A fault names its key:
``files[3].size: must be an integer, not a string``.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

from modelfetch.errors import ManifestError
from modelfetch.model.plain_toml import parse_plain
from modelfetch.model.text import did_you_mean, quote, sanitize

Check = Callable[[str], str]
"""Returns what is wrong with a string, as a clause, or an empty string."""

FAULTS_SHOWN: Final = 1000
"""Most faults that are kept; further ones are only counted, which bounds the memory."""

_KEY_PARTS: Final = 32
"""Most parts of a dotted key; a manifest and a configuration file need two."""
_LONG_KEY: Final = (
    r"""(?:\.[ \t]*+(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+)""" + f"{{{_KEY_PARTS}}}"
)
"""A dotted key with too many parts: ``tomllib`` needs quadratic time and memory for them. Kept as text, since
few documents are checked for it."""

_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""Byte order marks of UTF-16, in which PowerShell writes files with ``>``."""

_TYPES: Final[dict[type, str]] = {
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    str: "a string",
    list: "an array",
    dict: "a table",
}


def parse_toml(text: str) -> dict[str, Any]:
    """Parse an untrusted TOML document; it may start with a byte order mark.

    Raises:
        ValueError: It is not TOML, or is nested or dotted too deeply; the message has line and column if they
            are known.
    """
    text = text.removeprefix("\ufeff")  # editors on Windows write a byte order mark
    plain = parse_plain(text)
    if plain is not None:
        return plain
    import tomllib  # here, as most documents are plain

    if long := re.search(_LONG_KEY, text):
        raise ValueError(f"dotted key of more than {_KEY_PARTS} parts (at {_position(text, long.start())})")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError as error:
        raise ValueError(sanitize(str(error))) from None


def why_not_text(error: UnicodeDecodeError) -> str:
    """Return why a TOML file is not UTF-8, as a clause."""
    if error.object.startswith(_UTF_16):
        return "is UTF-16 text; save it as UTF-8"
    line = error.object.count(b"\n", 0, error.start) + 1
    return f"is not UTF-8 (at line {line})"


def _position(text: str, index: int) -> str:
    line = text.count("\n", 0, index) + 1
    return f"line {line}, column {index - text.rfind(chr(10), 0, index)}"


class Faults:
    """Faults of one document, each as ``key: what is wrong``."""

    def __init__(self) -> None:
        self._found: list[str] = []
        self._count = 0

    def add(self, key: str, clause: str) -> None:
        """Add a fault of a key, given as ``files[3].sha256``."""
        self._count += 1
        if self._count <= FAULTS_SHOWN:
            self._found.append(f"{key}: {clause}")

    @property
    def is_full(self) -> bool:
        """Whether further faults are only counted."""
        return self._count >= FAULTS_SHOWN

    def raise_any(self, where: str) -> None:
        """Raise all faults, if there are any.

        Raises:
            ManifestError: At least one fault was added.
        """
        if more := self._count - len(self._found):
            self._found.append(f"and {more} more faults")
        if self._found:
            raise ManifestError(where, self._found)


class Table:
    """One table, whose keys are read by type.

    A missing or wrong value reads as an empty string or tuple, None or -1. Values may only be used after
    :meth:`Faults.raise_any`.
    """

    def __init__(self, data: dict[str, Any], name: str, known: Collection[str], faults: Faults) -> None:
        self._data = data
        self._name = name
        self._faults = faults
        for key in filter(lambda key: key not in known, data):
            guess = "" if faults.is_full else did_you_mean(key, known)
            self.fault(sanitize(key[:60]), f"unknown key.{guess}")

    def fault(self, key: str, clause: str) -> None:
        """Add a fault of a key of this table."""
        self._faults.add(f"{self._name}.{key}" if self._name else key, clause)

    def text(self, key: str, check: Check, *, default: str | None = None) -> str:
        """Read a string; it is required if there is no default."""
        value = self._value(key, str, is_required=default is None)
        if value is None:
            return default or ""
        return str(value) if self._passes(key, value, check) else ""

    def optional_text(self, key: str, check: Check) -> str | None:
        """Read an optional string."""
        return self.text(key, check) if key in self._data else None

    def texts(self, key: str, check: Check, *, is_required: bool = False) -> tuple[str, ...]:
        """Read an array of strings."""
        values = self._value(key, list, is_required=is_required) or []
        named = [(f"{key}[{index}]", value) for index, value in enumerate(values)]
        return tuple(
            value for name, value in named if self._is(name, value, str) and self._passes(name, value, check)
        )

    def integer(self, key: str, limit: int) -> int:
        """Read a required integer in ``range(limit)``; a boolean is not an integer."""
        value = self._value(key, int, is_required=True)
        if value is not None and 0 <= value < limit:
            return int(value)
        if value is not None:
            self.fault(key, f"must be at least 0 and below {limit}")
        return -1

    def flag(self, key: str) -> bool:
        """Read an optional boolean; false by default."""
        return bool(self._value(key, bool))

    def table(self, key: str, known: Collection[str]) -> Table | None:
        """Read an optional table."""
        value = self._value(key, dict)
        return None if value is None else Table(value, key, known, self._faults)

    def tables(self, key: str, known: Collection[str], limit: int) -> Iterator[Table]:
        """Read a required array of one to ``limit`` tables."""
        values = self._value(key, list, is_required=True)
        if values is not None and not 0 < len(values) <= limit:
            self.fault(key, f"must have 1 to {limit} entries, not {len(values)}")
            return
        for index, value in enumerate(values or []):
            name = f"{key}[{index}]"
            if self._is(name, value, dict):
                yield Table(value, name, known, self._faults)

    def _value(self, key: str, kind: type, *, is_required: bool = False) -> Any:
        """Return the value of a key if it has the right type, else None."""
        if key not in self._data:
            if is_required:
                self.fault(key, "missing")
            return None
        value = self._data[key]
        return value if self._is(key, value, kind) else None

    def _is(self, key: str, value: object, kind: type) -> bool:
        if type(value) is kind:
            return True
        self.fault(key, f"must be {_TYPES[kind]}, not {_TYPES.get(type(value), 'a date or time')}")
        return False

    def _passes(self, key: str, value: str, check: Check) -> bool:
        clause = check(value)
        if clause:
            # An address may hold a password or a signature, so messages do not repeat it.
            is_address = "://" in value or "@" in value
            self.fault(key, clause if is_address else f"{quote(value)} {clause}")
        return not clause

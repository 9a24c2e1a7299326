"""The forms a setting's value may have: how each is read from text, checked, and described.

A value comes as text (environment, ``config set``, a flag) or as what TOML holds. :meth:`Form.plain` turns
text into what TOML would hold, :meth:`Form.check` turns that into the value the program uses; so every way in
passes one and the same check.

What one row of the table of settings says.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePath
from typing import Final, Literal, Protocol

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import did_you_mean, quote
from modelfetch.model.units import SIZE_LIMIT, parse_size
from modelfetch.settings.redaction import redact

Value = bool | int | float | str | tuple[str, ...] | None
"""A setting's value as the program uses it; sizes are int bytes, None means without limit."""

Plain = bool | int | float | str | list[str]
"""A setting's value as TOML holds it."""

NONE: Final = "none"
"""The word for no limit, and in text for the empty list."""

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_TRUTH: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


class Form(Protocol):
    """What a value must look like."""

    @property
    def expected(self) -> str:
        """The form in words, to follow "expected"."""

    def plain(self, text: str) -> Plain:
        """Read text as what TOML would hold; text without such a meaning is returned as it is."""

    def check(self, value: object) -> Value:
        """Turn what TOML holds into the value.

        Raises:
            ValueError: The value has another form; the message says which was expected.
        """


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number within bounds, both included."""

    least: int
    most: int

    @property
    def expected(self) -> str:
        """The form in words."""
        return f"a whole number from {self.least} to {self.most}"

    def plain(self, text: str) -> Plain:
        """Read ``4``."""
        return int(text) if _INTEGER.fullmatch(text) else text

    def check(self, value: object) -> Value:
        """Check type and bounds."""
        if isinstance(value, int) and not isinstance(value, bool) and self.least <= value <= self.most:
            return value
        raise mismatch(self, value)


@dataclass(frozen=True, slots=True)
class Number:
    """A number from ``least`` (or only above it) to ``most``."""

    least: float
    most: float
    above: bool = False

    @property
    def expected(self) -> str:
        """The form in words."""
        start = f"above {self.least:g}, at most" if self.above else f"from {self.least:g} to"
        return f"a number {start} {self.most:g}"

    def plain(self, text: str) -> Plain:
        """Read ``4`` and ``0.5``."""
        if _INTEGER.fullmatch(text):
            return int(text)
        try:
            return float(text)
        except ValueError:
            return text

    def check(self, value: object) -> Value:
        """Check type and bounds; not a number (nan) is within no bounds."""
        if isinstance(value, int | float) and not isinstance(value, bool) and self._has(value):
            return float(value)
        raise mismatch(self, value)

    def _has(self, value: float) -> bool:
        return (self.least < value if self.above else self.least <= value) and value <= self.most


@dataclass(frozen=True, slots=True)
class Flag:
    """Yes or no."""

    expected: str = "true or false"

    def plain(self, text: str) -> Plain:
        """Read ``true``, ``1``, ``yes``, ``on`` and their opposites."""
        return _TRUTH.get(text.casefold(), text)

    def check(self, value: object) -> Value:
        """Check the type."""
        if isinstance(value, bool):
            return value
        raise mismatch(self, value)


@dataclass(frozen=True, slots=True)
class Size:
    """A number of bytes."""

    expected: str = "a size such as 500 (bytes), '8M' or '20 GiB'"

    def plain(self, text: str) -> Plain:
        """Read ``500``; text with a unit stays text, which people can read again later."""
        return int(text) if _INTEGER.fullmatch(text) else text

    def check(self, value: object) -> Value:
        """Turn it into bytes."""
        return _bytes(self, value)


@dataclass(frozen=True, slots=True)
class Rate:
    """A number of bytes per second, or with ``limitless`` also none at all."""

    limitless: bool = False

    @property
    def expected(self) -> str:
        """The form in words."""
        return f"bytes per second such as 500, '1 KiB' or '8M'{f', or {NONE!r}' if self.limitless else ''}"

    def plain(self, text: str) -> Plain:
        """Read ``500``; text with a unit stays text."""
        return int(text) if _INTEGER.fullmatch(text) else text

    def check(self, value: object) -> Value:
        """Turn it into bytes per second; ``none``, and for a limit 0 too, mean without limit."""
        if self.limitless and isinstance(value, str) and value.casefold() == NONE:
            return None
        rate = _bytes(self, value.removesuffix("/s") if isinstance(value, str) else value)
        return None if self.limitless and rate == 0 else rate


@dataclass(frozen=True, slots=True)
class Kinds:
    """A list of known words, at least one, in an order that matters."""

    choices: tuple[str, ...]

    @property
    def expected(self) -> str:
        """The form in words."""
        return f"a list of one or more of {', '.join(self.choices)}"

    def plain(self, text: str) -> Plain:
        """Read ``local,mirror``."""
        return _items(text)

    def check(self, value: object) -> Value:
        """Check every word."""
        words = _texts(self, value)
        for word in words:
            if word not in self.choices:
                raise ValueError(
                    f"expected {self.expected}, not {quote(word)}.{did_you_mean(word, self.choices)}"
                )
        if not words:
            raise ValueError(f"expected {self.expected}, not an empty list")
        return words


@dataclass(frozen=True, slots=True)
class Address:
    """One address; ``read`` checks it and gives it its normal form."""

    expected: str
    read: Callable[[str], str]

    def plain(self, text: str) -> Plain:
        """Text is text."""
        return text

    def check(self, value: object) -> Value:
        """Check the address."""
        if isinstance(value, str):
            return self.read(value)
        raise mismatch(self, value)


@dataclass(frozen=True, slots=True)
class Addresses:
    """A list of addresses, which may be empty; ``read`` checks each and gives it its normal form."""

    expected: str
    read: Callable[[str], str]

    def plain(self, text: str) -> Plain:
        """Read ``https://a.example,https://b.example``."""
        return _items(text)

    def check(self, value: object) -> Value:
        """Check every address; one given twice counts once."""
        return tuple(dict.fromkeys(self.read(text) for text in _texts(self, value)))


@dataclass(frozen=True, slots=True)
class Directory:
    """The path of a directory, which need not exist yet."""

    expected: str = "the path of a directory"

    def plain(self, text: str) -> Plain:
        """Text is text."""
        return text

    def check(self, value: object) -> Value:
        """Check the type."""
        if isinstance(value, str | PurePath) and "\0" not in str(value):
            return str(value)
        raise mismatch(self, value)


def mismatch(form: Form, value: object) -> ValueError:
    """Say what was expected and what came instead, without showing a secret an address may hold."""
    return ValueError(f"expected {form.expected}, not {_described(value)}")


def _bytes(form: Form, value: object) -> int:
    try:
        size = parse_size(value) if isinstance(value, str) else value
    except ValueError:
        raise mismatch(form, value) from None
    if isinstance(size, int) and not isinstance(size, bool) and 0 <= size < SIZE_LIMIT:
        return size
    raise mismatch(form, value)


def _texts(form: Form, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise mismatch(form, value)
    strange = [item for item in value if not isinstance(item, str)]
    if strange:
        raise ValueError(f"expected {form.expected}, not a list that holds {_described(strange[0])}")
    return tuple(dict.fromkeys(item.strip() for item in value))


def _items(text: str) -> list[str]:
    if text.casefold() == NONE:
        return []
    return [item for part in text.split(",") if (item := part.strip())]


_TOML_NAMES: Final[dict[type, str]] = {dict: "a table", list: "a list", tuple: "a list"}


def _described(value: object) -> str:
    """Describe a rejected value in a message: plain values by their text, others by their type."""
    match value:
        case str():
            return quote(_without_secrets(value))
        case bool():
            return str(value).lower()
        case int() if abs(value) >= SIZE_LIMIT:
            # Written out it could fill pages, and Python refuses to convert more than 4300 digits.
            return "a number of more than 63 bits"
        case int():
            return str(value)
        case float():
            return f"{value:g}"
        case _:
            return _TOML_NAMES.get(type(value), f"a {type(value).__name__}")


def _without_secrets(text: str) -> str:
    """Mask what an address may hold, also in text that only resembles one."""
    return redact(text) if "://" in text or "@" in text else text


Reach = Literal["any", "at most", "at least", "never"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table."""

    section: str
    """The TOML table it stands in; empty for what no file may set."""
    key: str
    """Its key there."""
    form: Form
    """What its value must look like."""
    written: Plain
    """The default, as one would write it in TOML."""
    meaning: str
    """What it does, with the unit, in one line."""
    reason: str
    """Why the default is what it is."""
    flag: str = ""
    """The command-line option that sets it, if there is one."""
    project: Reach = "any"
    """Which values a project's file may give it, compared with the user's own."""
    is_idle: bool = False
    """Whether nothing reads it yet: it is known, so that a configuration is valid for later versions, too."""

    @property
    def name(self) -> str:
        """Its name on the command line and in messages: ``network.files``."""
        return f"{self.section}.{self.key}" if self.section else self.key

    @property
    def variable(self) -> str:
        """The environment variable that sets it: ``MODELFETCH_NETWORK_FILES``."""
        return f"MODELFETCH_{self.name}".replace(".", "_").upper()

    @property
    def default(self) -> Value:
        """The default as the program uses it."""
        return self.form.check(self.written)

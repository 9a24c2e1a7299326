"""Types of the table of settings: a setting, and the form of its value.

A value arrives as text (environment, ``config set``, a flag) or as a TOML value (a file). Both take the same
way, so that the rules are the same everywhere: :meth:`Form.from_text` turns text into the TOML value that
means the same, and :meth:`Form.validate` turns a TOML value into the value the program uses. For example, the
form :class:`Rate` reads the text ``8M/s`` as the string ``"8M/s"`` and validates that as 8000000.

Messages of a form say what was expected and what was given instead; they never show a secret of an address.
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
"""A setting's value as the program uses it; sizes are bytes, None means no limit."""

TomlValue = bool | int | float | str | list[str]
"""A setting's value as written in TOML."""

NONE: Final = "none"
"""No limit; in text, also the empty list."""

_INTEGER: Final = r"[+-]?[0-9]{1,18}"
"""At most 18 digits, which always fit into 63 bits; longer ones are not read as integers."""

_TRUTH: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


class Form(Protocol):
    """The type of a setting's value and its limits."""

    @property
    def expected(self) -> str:
        """Describe the form, to follow the word "expected" in messages and for the reference page."""

    def from_text(self, text: str) -> TomlValue:
        """Convert text to the TOML value; text that does not fit is returned unchanged, for ``validate``."""

    def validate(self, value: object) -> Value:
        """Convert a TOML value to the value the program uses.

        Raises:
            ValueError: The value does not have this form; the message says what was expected.
        """


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number from ``least`` to ``most``."""

    least: int
    most: int

    @property
    def expected(self) -> str:
        """Describe the form."""
        return f"a whole number from {self.least} to {self.most}"

    def from_text(self, text: str) -> TomlValue:
        """Read ``4``."""
        return int(text) if re.fullmatch(_INTEGER, text) else text

    def validate(self, value: object) -> Value:
        """Check type and bounds."""
        if isinstance(value, int) and not isinstance(value, bool) and self.least <= value <= self.most:
            return value
        raise mismatch(self, value)


@dataclass(frozen=True, slots=True)
class Number:
    """A number from ``least`` to ``most``; with ``above``, ``least`` itself is too small."""

    least: float
    most: float
    above: bool = False

    @property
    def expected(self) -> str:
        """Describe the form."""
        start = f"above {self.least:g}, at most" if self.above else f"from {self.least:g} to"
        return f"a number {start} {self.most:g}"

    def from_text(self, text: str) -> TomlValue:
        """Read ``4`` and ``0.5``."""
        if re.fullmatch(_INTEGER, text):
            return int(text)
        try:
            return float(text)
        except ValueError:
            return text

    def validate(self, value: object) -> Value:
        """Check type and bounds; NaN is outside of every range."""
        if isinstance(value, int | float) and not isinstance(value, bool) and self._has(value):
            return float(value)
        raise mismatch(self, value)

    def _has(self, value: float) -> bool:
        return (self.least < value if self.above else self.least <= value) and value <= self.most


@dataclass(frozen=True, slots=True)
class Flag:
    """Yes or no."""

    expected: str = "true or false"

    def from_text(self, text: str) -> TomlValue:
        """Read ``true``, ``1``, ``yes``, ``on`` and their opposites."""
        return _TRUTH.get(text.casefold(), text)

    def validate(self, value: object) -> Value:
        """Check the type."""
        if isinstance(value, bool):
            return value
        raise mismatch(self, value)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several known words."""

    choices: tuple[str, ...]

    @property
    def expected(self) -> str:
        """Describe the form."""
        return f"one of {', '.join(self.choices)}"

    def from_text(self, text: str) -> TomlValue:
        """Return the text."""
        return text

    def validate(self, value: object) -> Value:
        """Check that the word is known."""
        if not isinstance(value, str):
            raise mismatch(self, value)
        if value not in self.choices:
            raise ValueError(f"{mismatch(self, value)}.{did_you_mean(value, self.choices)}")
        return value


@dataclass(frozen=True, slots=True)
class Size:
    """A number of bytes."""

    expected: str = "a size such as 500 (bytes), '8M' or '20 GiB'"

    def from_text(self, text: str) -> TomlValue:
        """Read ``500``; text with a unit stays text, so that ``config set`` writes the unit to the file."""
        return int(text) if re.fullmatch(_INTEGER, text) else text

    def validate(self, value: object) -> Value:
        """Convert to bytes."""
        return _bytes(self, value)


@dataclass(frozen=True, slots=True)
class Rate:
    """A number of bytes per second; with ``limitless``, also no limit."""

    limitless: bool = False

    @property
    def expected(self) -> str:
        """Describe the form."""
        return f"bytes per second such as 500, '1 KiB' or '8M'{f', or {NONE!r}' if self.limitless else ''}"

    def from_text(self, text: str) -> TomlValue:
        """Read ``500``; text with a unit stays text."""
        return int(text) if re.fullmatch(_INTEGER, text) else text

    def validate(self, value: object) -> Value:
        """Convert to bytes per second; ``none`` (and 0, with ``limitless``) means no limit: None."""
        if self.limitless and isinstance(value, str) and value.casefold() == NONE:
            return None
        rate = _bytes(self, value.removesuffix("/s") if isinstance(value, str) else value)
        return None if self.limitless and rate == 0 else rate


@dataclass(frozen=True, slots=True)
class Kinds:
    """A list of one or more known words; their order matters."""

    choices: tuple[str, ...]

    @property
    def expected(self) -> str:
        """Describe the form."""
        return f"a list of one or more of {', '.join(self.choices)}"

    def from_text(self, text: str) -> TomlValue:
        """Read ``local,mirror``."""
        return _items(text)

    def validate(self, value: object) -> Value:
        """Check that every word is known; a repeated word counts once."""
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
    """One address; ``read`` checks and normalizes it."""

    expected: str
    read: Callable[[str], str]

    def from_text(self, text: str) -> TomlValue:
        """Return the text."""
        return text

    def validate(self, value: object) -> Value:
        """Check and normalize the address."""
        if isinstance(value, str):
            return self.read(value)
        raise mismatch(self, value)


@dataclass(frozen=True, slots=True)
class Addresses:
    """A list of addresses, which may be empty; ``read`` checks and normalizes each."""

    expected: str
    read: Callable[[str], str]

    def from_text(self, text: str) -> TomlValue:
        """Read ``https://a.example,https://b.example``."""
        return _items(text)

    def validate(self, value: object) -> Value:
        """Check and normalize every address; a repeated one counts once."""
        return tuple(dict.fromkeys(self.read(text) for text in _texts(self, value)))


@dataclass(frozen=True, slots=True)
class Directories:
    """A list of directories, which may be empty; none need exist."""

    expected: str = "a list of directories, each absolute or in ~"

    def from_text(self, text: str) -> TomlValue:
        """Read ``/data/models,~/models``."""
        return _items(text)

    def validate(self, value: object) -> Value:
        """Check that no directory depends on the working directory; a repeated one counts once."""
        directories = _texts(self, value)
        for text in directories:
            if not (PurePath(text).is_absolute() or text.startswith("~")) or "\0" in text:
                raise mismatch(self, text)
        return directories


@dataclass(frozen=True, slots=True)
class Directory:
    """The path of a directory, which need not exist yet."""

    expected: str = "the path of a directory"

    def from_text(self, text: str) -> TomlValue:
        """Return the text."""
        return text

    def validate(self, value: object) -> Value:
        """Check the type."""
        if isinstance(value, str | PurePath) and "\0" not in str(value):
            return str(value)
        raise mismatch(self, value)


def mismatch(form: Form, value: object) -> ValueError:
    """Create the error for a value of another form; it does not show the secrets of an address."""
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
    """Mask credentials and query, also in text that only resembles an address."""
    return redact(text) if "://" in text or "@" in text else text


Reach = Literal["any", "at most", "at least", "never"]
"""Values a project's file may set: any, only up to or down to the user's own value, or none."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table of settings."""

    section: str
    """Its TOML table; empty for a setting that no file may set."""
    key: str
    """Its key in the TOML table."""
    form: Form
    """Type and limits of its value."""
    toml_default: TomlValue
    """The default as written in TOML: ``"1 KiB"``, not 1024."""
    meaning: str
    """What it does, with the unit, in one line of Markdown."""
    reason: str
    """Why this default."""
    flag: str = ""
    """The command-line option that sets it, or empty."""
    project: Reach = "any"
    """Which values a project's file may set, compared with the user's own value."""
    is_idle: bool = False
    """Whether it has no effect yet; it is accepted so that one configuration suits later versions too."""

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
        """The default as the program uses it: 1024 for ``"1 KiB"``."""
        return self.form.validate(self.toml_default)

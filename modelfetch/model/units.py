"""Parsing and formatting of sizes, rates, durations and times.

Sizes are formatted in decimal SI units (1 kB = 1000 B), as vendors of disks and networks do. Binary units are
accepted as input by their IEC names only (``KiB``, ``MiB``, ...).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from modelfetch.model.text import quote
from modelfetch.warm import format_size

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = [
    "SIZE_LIMIT",
    "format_duration",
    "format_range",
    "format_rate",
    "format_size",
    "format_time",
    "parse_duration",
    "parse_size",
    "parse_time",
]

_SCALE: Final[dict[str, int]] = {
    "": 1,
    **{unit: 1000**power for power, unit in enumerate("kmgtpe", start=1)},
    **{f"{unit}i": 1024**power for power, unit in enumerate("kmgtpe", start=1)},
}
# These two are compiled on first use (as all patterns that are kept as text): few runs read a size or a span.
_SIZE: Final = r"(?ai)([0-9]{1,19}(?:\.[0-9]{1,19})?) ?(?:([kmgtpe]i?)b?|b)?"

_SPAN: Final = r"(?ai)([0-9]{1,6}(?:\.[0-9]{1,6})?) ?([smhdw])"
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

_MIB: Final = 1 << 20
SIZE_LIMIT: Final = 2**63
"""Upper bound of every size: file offsets are signed 64-bit numbers on POSIX and Windows."""


def format_range(start: int, end: int) -> str:
    """Format a range of bytes in MiB, the size of a chunk: ``17.0-18.0 MiB``. The end is rounded up."""
    return f"{start / _MIB:.1f}-{-(-10 * end // _MIB) / 10:.1f} MiB"


def format_rate(bytes_per_s: float) -> str:
    """Format a rate in bytes per second: ``12.3 MB/s``."""
    return f"{format_size(round(bytes_per_s))}/s"


def format_duration(s: float) -> str:
    """Format a duration in seconds with its two largest units: ``3s``, ``1m 32s``, ``2h 05m``, ``3d 04h``."""
    minutes, seconds = divmod(round(s), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours:02}h"
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {seconds:02}s" if minutes else f"{seconds}s"


def parse_duration(text: str) -> float:
    """Parse a time span: ``90s``, ``45m``, ``24h``, ``7d``, ``2w``.

    Returns:
        Seconds.

    Raises:
        ValueError: The text is not a time span.
    """
    match = re.fullmatch(_SPAN, text.strip())
    if match is None:
        raise ValueError(f"{quote(text)} is not a time span; write for example 90s, 45m, 24h, 7d or 2w")
    return float(match[1]) * _SECONDS[match[2].lower()]


def _number(digits: str) -> int | Decimal:
    if "." not in digits:
        return int(digits)
    from decimal import Decimal  # takes a millisecond to import, and the defaults need no fractions

    return Decimal(digits)


def parse_size(text: str) -> int:
    """Parse a number of bytes: ``500``, ``8M`` and ``8 MB`` (decimal), ``1 KiB`` (binary), ``1.5GB``.

    The case of units does not matter. A fraction of a byte is rounded.

    Raises:
        ValueError: The text is not a size, or the size is not below 2**63 bytes.
    """
    match = re.fullmatch(_SIZE, text.strip())
    if match is None:
        raise ValueError(f"{quote(text)} is not a size; write for example 500, 8M, 1.5 GB or 20 GiB")
    size = round(_number(match[1]) * _SCALE[(match[2] or "").lower()])
    if size >= SIZE_LIMIT:
        raise ValueError(f"{quote(text)} is too large; the limit is 8 EiB")
    return size


def format_time(at: datetime) -> str:
    """Format a time that is known to the second, as documents have it: UTC, ``2026-11-20T06:00:00Z``."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def parse_time(text: Any) -> datetime:
    """Parse an untrusted ISO 8601 time with a time zone.

    Raises:
        ValueError: It is not a time.
        TypeError: It is not a string, has no time zone, or is in the first or last possible year, from which
            it could not be converted to every time zone.
    """
    at = datetime.fromisoformat(text)
    if at.tzinfo is None or not 1 < at.year < 9999:
        raise TypeError
    return at

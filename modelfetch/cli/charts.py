"""Small charts of plain blocks, for terminals and pipes alike. Pure but for the width of the terminal."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Final

WIDEST: Final = 60
"""Characters of the longest bar: enough to compare, little enough to read the figure behind it."""
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
"""From nothing to a full block, in eighths (Unicode, Block Elements)."""


def by_day(amounts: Iterable[tuple[date, int]]) -> list[tuple[date, int]]:
    """Add amounts up by day; days in between on which nothing happened are there with 0."""
    sums: Counter[date] = Counter()
    for day, amount in amounts:
        sums[day] += amount
    if not sums:
        return []
    first, last = min(sums), max(sums)
    days = (first + timedelta(days=n) for n in range((last - first).days + 1))
    return [(day, sums[day]) for day in days]


def bars(rows: Sequence[tuple[str, float, str]]) -> list[str]:
    """Draw a bar a line: label, bar, figure; as wide as stdout allows, in signs it can show."""
    room = shutil.get_terminal_size().columns - max((len(a) + len(c) + 5 for a, _, c in rows), default=0)
    return draw(rows, max(8, min(WIDEST, room)), is_ascii=not _has_blocks(sys.stdout.encoding))


def draw(rows: Sequence[tuple[str, float, str]], width: int, *, is_ascii: bool) -> list[str]:
    """Draw bars of at most ``width`` characters, the largest value as the longest."""
    most = max((value for _, value, _ in rows), default=0) or 1
    label = max((len(name) for name, _, _ in rows), default=0)
    return [
        f"{name:<{label}}  {_bar(value / most * width, is_ascii=is_ascii):<{width}}  {figure}".rstrip()
        for name, value, figure in rows
    ]


def _bar(length: float, *, is_ascii: bool) -> str:
    """What is not nothing is at least a trace."""
    if is_ascii:
        return "#" * max(round(length), length > 0)
    whole, eighths = divmod(max(round(8 * length), length > 0), 8)
    return "█" * whole + _EIGHTHS[eighths].strip()


def _has_blocks(encoding: str | None) -> bool:
    try:
        _EIGHTHS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True

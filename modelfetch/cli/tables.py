"""Tables on stdout: fitted to a terminal, whole in a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from modelfetch.model.text import sanitise
from modelfetch.values import dataclass

GAP = 2
"""Spaces between columns."""
SHORTEST = 12
"""Characters to which a flexible column may be cut: enough to recognise a name or the start of a digest."""


@dataclass(frozen=True, slots=True)
class Column:
    """How a column behaves."""

    name: str
    right: bool = False
    """Whether to align right, as numbers are."""
    flexible: bool = False
    """Whether it may be cut off where a terminal is too narrow; the widest is cut first."""


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under column names; control characters are taken out of the cells here."""
    cells = [[column.name for column in columns], *([sanitise(cell) for cell in row] for row in rows)]
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        _draw(columns, cells)
    else:
        for line in _lines(columns, cells, _natural(cells)):
            print(line)


def _draw(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
    """Print for a terminal: no wider than it, the names of the columns in the background."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False)
    widths = fit(_natural(cells), columns, console.width)
    for number, line in enumerate(_lines(columns, cells, widths)):
        console.print(Text(line, style="" if number else "dim"), soft_wrap=True)


def fit(widths: Sequence[int], columns: Sequence[Column], room: int) -> list[int]:
    """Cut the widest flexible column, again and again, until the table fits; others stay whole."""
    fitted = list(widths)
    flexible = [number for number, column in enumerate(columns) if column.flexible]
    for _ in range(sum(fitted) + GAP * (len(fitted) - 1) - room):
        widest = max(flexible, key=fitted.__getitem__, default=None)
        if widest is None or fitted[widest] <= SHORTEST:
            break
        fitted[widest] -= 1
    return fitted


def _natural(cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*cells, strict=True)]


def _lines(columns: Sequence[Column], cells: Sequence[Sequence[str]], widths: Sequence[int]) -> list[str]:
    return [(" " * GAP).join(map(_cell, row, columns, widths)).rstrip() for row in cells]


def _cell(text: str, column: Column, width: int) -> str:
    cut = text if len(text) <= width else text[: width - 1] + "…"
    return cut.rjust(width) if column.right else cut.ljust(width)

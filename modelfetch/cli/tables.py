"""Tables on stdout: fitted to a terminal by one rule, whole in a pipe.

Where a terminal is too narrow, first the data that is never cut goes below its rows, then columns are left
out, the least important first, and then the widest of those that may be are shortened in their middle. A row
is never wrapped, and a column's name never cut.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Sequence

from modelfetch.cli.output import put
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import sanitise

GAP = 2
"""Spaces between columns, and before what is below a row."""
SHORTEST = 12
"""Cells that are enough to recognise a name."""


@dataclass(frozen=True, slots=True)
class Column:
    """How a column behaves."""

    name: str
    right: bool = False
    """Whether to align right, as numbers are."""
    flexible: bool = False
    """Whether it may be shortened; the widest is shortened first."""
    least: int = SHORTEST
    """Cells to which it is shortened before others are left out."""
    prose: bool = False
    """Whether it is shortened at its end, and not in its middle as names are."""
    drop: int = 0
    """Where a terminal is too narrow, the column with the highest number is left out first; 0 stays."""
    whole: bool = False
    """Whether it is data that is never cut, such as a digest: without room it goes below its row."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What fits."""

    shown: tuple[int, ...]
    """The columns side by side, by number."""
    widths: tuple[int, ...]
    """Their cells."""
    below: tuple[int, ...]
    """The columns below each row."""


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under column names; control characters are taken out of the cells here."""
    cells = [[column.name for column in columns], *([sanitise(cell) for cell in row] for row in rows)]
    if not sys.stdout.isatty():
        layout = Layout(tuple(range(len(columns))), tuple(_natural(cells)), ())
        for row in lines(columns, cells, layout, 0):
            put(row)
        return
    room = _room()
    drawn = lines(columns, cells, arrange(columns, _natural(cells), room), room)
    _draw_head(drawn[0])
    for row in drawn[1:]:
        put(row)


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Print values behind their labels; on a terminal what is too long goes on below itself."""
    label = max((len(name) for name, _ in facts), default=0)
    for name, value in facts:
        said = sanitise(value)
        folded = _fold(said, _room() - label - 1) if sys.stdout.isatty() else [said]
        for number, line in enumerate(folded):
            put(f"{'' if number else name:<{label}} {line}")


def _room() -> int:
    return max(1, shutil.get_terminal_size().columns)


def _draw_head(line: str) -> None:
    """Print the names of the columns, in the background where the terminal has one."""
    if os.environ.get("TERM") == "dumb":
        put(line)
        return
    from rich.console import Console
    from rich.text import Text

    Console(file=sys.stdout, highlight=False).print(Text(line, style="dim"), soft_wrap=True)


def arrange(columns: Sequence[Column], natural: Sequence[int], room: int) -> Layout:
    """Decide what is shown where, and how wide.

    Args:
        columns: How they behave.
        natural: Cells that each would like to have.
        room: Cells of the terminal.
    """
    least = [
        min(cells, max(column.least, len(column.name))) if column.flexible else cells
        for column, cells in zip(columns, natural, strict=True)
    ]
    shown, below = list(range(len(columns))), []
    while _together([least[n] for n in shown]) > room:
        if whole := [n for n in shown if columns[n].whole]:
            below.append(whole[0])
            shown.remove(whole[0])
            continue
        last = max(shown, key=lambda n: columns[n].drop)
        if not columns[last].drop:
            break
        shown.remove(last)
    widths = _shrink([natural[n] for n in shown], [least[n] for n in shown], room)
    return Layout(tuple(shown), tuple(widths), tuple(below))


def _together(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _shrink(natural: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Take from the widest column that has more than the least, else from any: nothing wraps."""
    widths = list(natural)
    for _ in range(_together(widths) - room):
        able = [n for n in range(len(widths)) if widths[n] > least[n]]
        widest = max(able or range(len(widths)), key=widths.__getitem__)
        widths[widest] = max(1, widths[widest] - 1)
    return widths


def lines(columns: Sequence[Column], cells: Sequence[Sequence[str]], layout: Layout, room: int) -> list[str]:
    """Make the lines of a table; the first has the names of the columns."""
    fitted = []
    for number, width in zip(layout.shown, layout.widths, strict=True):
        column = columns[number]
        shortened = _shorten([row[number] for row in cells], width, prose=column.prose)
        fitted.append([_pad(cell, width, right=column.right) for cell in shortened])
    found: list[str] = []
    for number, row in enumerate(zip(*fitted, strict=True)):
        found.append((" " * GAP).join(row).rstrip())
        if number:
            parts = (part for n in layout.below for part in _halves(cells[number][n], room - GAP))
            found += [" " * GAP + part for part in parts]
    return found


def _halves(text: str, room: int) -> list[str]:
    """Divide data that is never cut into equal lines: as few as have room for it."""
    size = math.ceil(len(text) / max(1, math.ceil(len(text) / max(1, room))))
    return [text[start : start + size] for start in range(0, len(text), size or 1)]


def _shorten(texts: list[str], width: int, *, prose: bool) -> list[str]:
    if all(map(str.isascii, texts)) and max(map(len, texts)) <= width:  # spares an import
        return texts
    from modelfetch.reporters.bars_layout import cut_end, shorten_all

    ellipsis = "…" if _can_show("…") else "~"
    return (
        [cut_end(text, width, ellipsis) for text in texts] if prose else shorten_all(texts, width, ellipsis)
    )


def _can_show(sign: str) -> bool:
    try:
        sign.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _pad(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - _cells(text))
    return space + text if right else text + space


def _natural(cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(_cells, column)) for column in zip(*cells, strict=True)]


def _cells(text: str) -> int:
    """The cells of a terminal that a text takes: two for a letter of Chinese, say."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _fold(text: str, room: int) -> list[str]:
    """Break a text between words, and within one that is too long by itself."""
    found = [""]
    for word in text.split(" "):
        joined = f"{found[-1]} {word}" if found[-1] else word
        if _cells(joined) <= room:
            found[-1] = joined
        else:
            found += _chopped(word, max(1, room))
    return [line for line in found if line] or [""]


def _chopped(word: str, room: int) -> list[str]:
    from rich.cells import chop_cells

    return chop_cells(word, room)

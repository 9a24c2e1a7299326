"""Tables on stdout: fitted to the width of a terminal, complete in a pipe.

If a terminal is too narrow, columns that must not be cut (digests) first go below their rows. Then columns
are left out, the least important ones first. Then the widest of the flexible columns are shortened: names in
the middle, text at the end. Columns that are read as a whole, such as values and reasons, continue on further
lines of their row instead. Column names are not cut::

    setting        value               from
    sources.order  local,peer,mirror,  environment
                   ipfs,huggingface    MODELFETCH_SOURCES_ORDER
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence

from modelfetch.cli.output import print_line
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import sanitize

GAP = 2
"""Spaces between columns, and before a line below a row."""
SHORTEST = 12
"""Least width of a shortened column, in cells: enough to recognize a name."""


@dataclass(frozen=True, slots=True)
class Column:
    """Name of a column, and how it is fitted."""

    name: str
    right: bool = False
    """Whether to align to the right, as numbers are."""
    flexible: bool = False
    """Whether it may be shortened; the widest is shortened first."""
    least: int = SHORTEST
    """Width in cells down to which it is shortened before other columns are left out."""
    most: int = 0
    """Width in cells to which it is shortened on every terminal; 0 for none. A pipe gets the whole value."""
    prose: bool = False
    """Whether it is text, which is shortened at its end; names are shortened in the middle."""
    fold: bool = False
    """Whether a text that is too long continues on further lines of its row, instead of being shortened."""
    drop: int = 0
    """Order of leaving out columns, highest first, if a terminal is too narrow; 0 is never left out."""
    whole: bool = False
    """Whether it must not be cut, such as a digest; without room it goes below its row."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns that fit."""

    shown: tuple[int, ...]
    """Indexes of the columns side by side."""
    widths: tuple[int, ...]
    """Their widths in cells."""
    below: tuple[int, ...]
    """Indexes of the columns below each row."""


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under column names; control characters are removed from the cells."""
    cells = [[column.name for column in columns], *([sanitize(cell) for cell in row] for row in rows)]
    if not sys.stdout.isatty():
        layout = Layout(tuple(range(len(columns))), tuple(_natural(cells)), ())
        for row in lines(columns, cells, layout, 0):
            print_line(row)
        return
    room = _room()
    drawn = lines(columns, cells, arrange(columns, _natural(cells), room), room)
    _draw_head(drawn[0])
    for row in drawn[1:]:
        print_line(row)


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Print labeled values; on a terminal a long value is wrapped behind its label."""
    label = max((len(name) for name, _ in facts), default=0)
    for name, value in facts:
        said = sanitize(value)
        folded = _fold(said, _room() - label - 1) if sys.stdout.isatty() else [said]
        for number, line in enumerate(folded):
            print_line(f"{'' if number else name:<{label}} {line}")


def _room() -> int:
    import shutil  # on a terminal only

    return max(1, shutil.get_terminal_size().columns)


def _draw_head(line: str) -> None:
    """Print the column names, dimmed on terminals that support it."""
    if os.environ.get("TERM") == "dumb":
        print_line(line)
        return
    from rich.console import Console
    from rich.text import Text

    # soft_wrap: the line already fits, and Rich must not break it by its own idea of the width.
    Console(file=sys.stdout, highlight=False).print(Text(line, style="dim"), soft_wrap=True)


def arrange(columns: Sequence[Column], natural: Sequence[int], room: int) -> Layout:
    """Choose the columns to show, their widths, and the columns below the rows.

    Args:
        columns: The columns.
        natural: Width in cells that each column needs to show all of its values.
        room: Width of the terminal in cells.
    """
    natural = [min(cells, column.most or cells) for column, cells in zip(columns, natural, strict=True)]
    least = [
        min(cells, max(column.least, len(column.name))) if column.flexible else cells
        for column, cells in zip(columns, natural, strict=True)
    ]
    shown, below = list(range(len(columns))), []
    # Columns are dropped only if even their least widths do not fit; a column with drop 0 never is.
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
    """Narrow the widest column above its least width, cell by cell; if none is left, any column."""
    widths = list(natural)
    for _ in range(_together(widths) - room):
        able = [n for n in range(len(widths)) if widths[n] > least[n]]
        widest = max(able or range(len(widths)), key=widths.__getitem__)
        widths[widest] = max(1, widths[widest] - 1)
    return widths


def lines(columns: Sequence[Column], cells: Sequence[Sequence[str]], layout: Layout, room: int) -> list[str]:
    """Build the lines of a table; the first line has the column names."""
    fitted: list[list[list[str]]] = []  # the lines of each cell, column by column
    for number, width in zip(layout.shown, layout.widths, strict=True):
        column, texts = columns[number], [row[number] for row in cells]
        parts = (
            [_fold(text, width) for text in texts]
            if column.fold
            else [[text] for text in _shorten(texts, width, prose=column.prose)]
        )
        fitted.append([[_pad(part, width, right=column.right) for part in cell] for cell in parts])
    empty = [" " * width for width in layout.widths]
    found: list[str] = []
    for number, row in enumerate(zip(*fitted, strict=True)):
        for line in range(max(map(len, row), default=0)):
            texts = [
                cell[line] if line < len(cell) else blank for cell, blank in zip(row, empty, strict=True)
            ]
            found.append((" " * GAP).join(texts).rstrip())
        if number:
            halves = (half for n in layout.below for half in _halves(cells[number][n], room - GAP))
            found += [" " * GAP + half for half in halves]
    return found


def _halves(text: str, room: int) -> list[str]:
    """Divide a value into as few lines of equal length as fit: a digest becomes two halves."""
    size = math.ceil(len(text) / max(1, math.ceil(len(text) / max(1, room))))
    return [text[start : start + size] for start in range(0, len(text), size or 1)]


def _shorten(texts: list[str], width: int, *, prose: bool) -> list[str]:
    # Nothing to shorten: do not import rich for it.
    if all(map(str.isascii, texts)) and max(map(len, texts)) <= width:
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
    """Width of a text in terminal cells: a Chinese character takes two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _fold(text: str, room: int) -> list[str]:
    """Wrap a text between words, and within a word that is longer than a line."""
    found = [""]
    for word in text.split(" "):
        joined = f"{found[-1]} {word}" if found[-1] else word
        if _cells(joined) <= room:
            found[-1] = joined
        else:
            found += _chopped(word, max(1, room))
    return [line for line in found if line] or [""]


def _chopped(word: str, room: int) -> list[str]:
    """Divide a long word behind commas and slashes, as in lists and paths, and elsewhere if it has none."""
    import re

    from rich.cells import chop_cells

    found = [""]
    for part in re.findall("[^,/]*[,/]*", word):
        if _cells(found[-1] + part) <= room:
            found[-1] += part
        else:
            found += chop_cells(part, room)
    return [line for line in found if line]

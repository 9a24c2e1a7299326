"""A terminal small enough to read: it understands what Rich's live display sends, and refuses the rest."""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])|([\r\n])|([^\x00-\x1f\x7f-\x9f]+)|(.)", re.DOTALL)


class Screen:
    """Lines of text under a cursor; what scrolls off the top is kept in ``history``."""

    def __init__(self, width: int, height: int) -> None:
        self._width = width
        self._height = height
        self._row = 0
        self._column = 0
        self.rows: list[str] = [""]
        self.history: list[str] = []
        self.has_cursor = True
        self.lost = 0
        """How often the cursor was asked to go above the screen: what was drawn there cannot be mended."""

    def feed(self, text: str) -> None:
        """Show what a program wrote.

        Raises:
            ValueError: It wrote a control this screen does not have.
        """
        for mode, numbers, letter, move, words, other in _TOKEN.findall(text):
            if other:
                raise ValueError(f"unexpected control {other!r}")
            if words:
                self._write(words)
            elif move:
                self._move(move)
            else:
                self._control(mode, numbers, letter)

    def _control(self, mode: str, numbers: str, letter: str) -> None:
        match mode, letter, numbers:
            case "", "m", _:
                pass
            case "", "A", _:
                self.lost += max(0, int(numbers or 1) - self._row)
                self._row = max(0, self._row - int(numbers or 1))
            case "", "K", "2":
                self.rows[self._row] = ""
            case "?", "h" | "l", "25":
                self.has_cursor = letter == "h"
            case _:
                raise ValueError(f"unexpected control {mode}{numbers}{letter}")

    def _move(self, move: str) -> None:
        self._column = 0  # a terminal's line discipline makes a carriage return of a newline, too
        if move == "\n":
            self._row += 1
            if self._row == len(self.rows):
                self.rows.append("")
            if len(self.rows) > self._height:
                self.history.append(self.rows.pop(0))
                self._row -= 1

    def _write(self, words: str) -> None:
        row = self.rows[self._row].ljust(self._column)
        self.rows[self._row] = row[: self._column] + words + row[self._column + len(words) :]
        self._column += len(words)
        if self._column > self._width:
            raise ValueError(f"wider than {self._width}: {self.rows[self._row]!r}")

    @property
    def text(self) -> list[str]:
        """Everything ever shown and not erased, without the empty lines at the end."""
        return "\n".join(row.rstrip() for row in [*self.history, *self.rows]).rstrip("\n").split("\n")

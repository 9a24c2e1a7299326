"""Leaving out what says least of names that are too long, in cells of a terminal. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from rich.cells import cell_len, chop_cells

_TELLING: Final = 4
"""Cells in front of a name that are worth filling with the start of its directory."""
_NUMBER: Final = re.compile(r"\d+")


def shorten(path: str, cells: int, ellipsis: str) -> str:
    """Shorten a path in its middle: first its directories, and only then the file's own name."""
    if cell_len(path) <= cells:
        return path
    name = path.rpartition("/")[2]
    front = cells - cell_len(ellipsis) - cell_len(name)
    if front >= _TELLING:
        return f"{_head(path, front - 1)}{ellipsis}/{name}"
    if front >= 0:
        return f"{ellipsis}{'/' * min(1, front)}{name}"
    return _middle(name, cells, ellipsis)


def cut(text: str, cells: int, ellipsis: str) -> str:
    """Leave out the middle of a text that is too long."""
    return text if cell_len(text) <= cells else _middle(text, cells, ellipsis)


def cut_end(text: str, cells: int, ellipsis: str) -> str:
    """Leave out the end of a text that is too long."""
    if cell_len(text) <= cells:
        return text
    return _head(text, cells - cell_len(ellipsis)).rstrip() + ellipsis[: max(0, cells)]


def _middle(text: str, cells: int, ellipsis: str) -> str:
    room = max(0, cells - cell_len(ellipsis))
    back = room // 2
    return _head(text, room - back) + ellipsis[: max(0, cells)] + _tail(text, back)


def shorten_all(paths: Sequence[str], cells: int, ellipsis: str) -> list[str]:
    """Shorten paths that are shown one below the other, so that what tells them apart stays.

    Of ``model-00001-of-00030.safetensors`` and its sisters, that is the first number. What is alike but for
    its numbers is shortened together, and so is what would look the same.
    """
    shown = {path: shorten(path, cells, ellipsis) for path in paths}
    for alike in (_by_shape, shown.__getitem__):
        for group in _groups(shown, alike):
            if len(group) > 1 and max(map(cell_len, group)) > cells:
                front = _common(group)
                back = _common([path[front:][::-1] for path in group])
                shown |= {path: _around(path, front, len(path) - back, cells, ellipsis) for path in group}
    return [shown[path] for path in paths]


def _by_shape(path: str) -> str:
    return _NUMBER.sub("0", path)


def _groups(paths: Iterable[str], key: Callable[[str], str]) -> list[list[str]]:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        groups[key(path)].append(path)
    return list(groups.values())


def _common(texts: Sequence[str]) -> int:
    """How many characters are the same at the beginning of all."""
    columns = enumerate(zip(*texts, strict=False))
    return next((n for n, letters in columns if len(set(letters)) > 1), min(map(len, texts)))


def _around(path: str, start: int, end: int, cells: int, ellipsis: str) -> str:
    """Shorten a text, but for a part of it."""
    if cell_len(path) <= cells:
        return path
    head, part, tail = path[:start], path[start:end], path[end:]
    room = cells - cell_len(part)
    least = cell_len(ellipsis)
    if room < 2 * least:  # what differs is itself too long
        return shorten(path, cells, ellipsis)
    if cell_len(head) + least <= room:
        return head + part + cut(tail, room - cell_len(head), ellipsis)
    if cell_len(tail) + least <= room:
        return cut(head, room - cell_len(tail), ellipsis) + part + tail
    return cut(head, room // 2, ellipsis) + part + cut(tail, room - room // 2, ellipsis)


def _head(text: str, cells: int) -> str:
    return chop_cells(text, cells)[0] if cells > 0 and text else ""


def _tail(text: str, cells: int) -> str:
    return _head(text[::-1], cells)[::-1]

"""What the bars show, before it is drawn: a snapshot of a run, and how columns share a width.

Pure values: the drawing thread reads a snapshot while the run goes on changing its state.

Leaving out what says least of names that are too long, in cells of a terminal. Pure.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len, chop_cells

from modelfetch.lazy_dataclass import dataclass
from modelfetch.reporters import words

if TYPE_CHECKING:
    from modelfetch.engine.state import RunState
    from modelfetch.engine.totals import FileState, Phase

GAP: Final = 2
MARK: Final = 2
"""Cells of the sign before a name, and of the space behind it."""
PERCENT: Final = 4
SIZES: Final = 12
"""``33.0/82.5 MB``."""
SPEED: Final = 9
"""``12.3 MB/s``."""
ETA: Final = 7
"""``12h 05m``."""
LABELLED_ETA: Final = 10
"""``ETA 1m 32s``."""
KIND: Final = 11
"""``huggingface``."""
ORIGIN: Final = 32
"""Kind and host of a source."""
BAR: Final = (8, 14, 40)
"""Shortest bar worth drawing; shortest where there is room for every column; longest."""
NAME: Final = 12
"""Cells of a name, at least: ``3 of 9 files``."""


@dataclass(frozen=True, slots=True)
class Row:
    """One file at one moment."""

    name: str
    phase: Phase
    received: int
    kept: int
    size: int
    percent: float
    speed: float | None
    eta: float | None
    source: str
    host: str
    word: str
    """What the file waits for, in place of speed and ETA; empty while bytes come."""
    until: float | None
    """When the wait named by ``word`` is over."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A run at one moment."""

    rows: tuple[Row, ...]
    total: Row | None
    """The last line; None until something is planned."""
    done: int
    """Files that are done and have no row."""
    queued: int
    """Files that are not done and have no row."""
    waits: tuple[tuple[str, float], ...]
    """What is waited for, and since when."""

    @property
    def longest(self) -> int:
        """Cells of the longest name."""
        named = self.rows if self.total is None else (*self.rows, self.total)
        return max((cell_len(row.name) for row in named), default=0)


_MOVING: Final[dict[str, Phase]] = {"ensure": "fetching", "verify": "verifying"}
EMPTY: Final = Scene((), None, 0, 0, ())


def scene(state: RunState, height: int) -> Scene:
    """Take a snapshot that fits a height in lines."""
    waits = _waits(state)
    if not state.files:
        return Scene((), None, 0, 0, waits)
    files = _choose(state, max(1, height - len(waits) - 1))
    shown_done = sum(file.phase == "done" for file in files)
    hidden = len(state.files) - len(files)
    done = state.phases["done"] - shown_done
    return Scene(tuple(_row(file, state) for file in files), _total(state), done, hidden - done, waits)


def _waits(state: RunState) -> tuple[tuple[str, float], ...]:
    wait = state.waiting
    if wait is not None:
        return ((words.waiting(wait), state.now - wait.waited),)
    if state.files:
        return ()
    names = ", ".join(words.subject(state, "", name) for name in state.models)
    doing = "planning" if state.operation == "ensure" else "checking"
    return ((f"{doing} {names}".strip(), state.began or state.now),)


def _choose(state: RunState, room: int) -> list[FileState]:
    """Choose the files that get a row: all of them, or else those that move and those that failed."""
    if len(state.files) <= room:
        return list(state.files.values())
    failed = (file for file in state.files.values() if file.phase == "failed")
    return list(islice(chain(state.active.values(), failed), max(0, room - 1)))


def _row(file: FileState, state: RunState) -> Row:
    word, until = _word(file, state)
    return Row(
        name=words.subject(state, file.model, file.file),
        phase=file.phase,
        received=file.received,
        kept=min(file.kept, file.received),
        size=file.size,
        percent=file.percent,
        speed=file.speed,
        eta=file.eta,
        source=_source(file, state),
        host=words.place("", file.host),
        word=word,
        until=until,
    )


def _source(file: FileState, state: RunState) -> str:
    if file.source == "cache":
        return "" if state.operation == "verify" else "kept"
    return words.place(file.source, "")


def _word(file: FileState, state: RunState) -> tuple[str, float | None]:
    if file.key in state.waits:
        return "waiting", None
    if file.phase == "retrying":
        return "retrying", file.retry_at
    if file.phase == "verifying" and file.received == file.size:
        return "verifying", None
    if file.phase == "fetching" and file.attempt == 0:
        return "connecting", None
    if file.idle is not None:
        return words.idle(file.idle), None
    return "", None


def _total(state: RunState) -> Row:
    totals = state.totals
    return Row(
        name=f"{totals.files_done} of {words.plural(totals.files, 'file')}",
        phase="done" if totals.percent == 100 else _MOVING[state.operation],
        received=totals.received,
        kept=0,
        size=totals.size,
        percent=totals.percent,
        speed=totals.speed,
        eta=totals.eta,
        source="",
        host="",
        word="" if totals.idle is None else words.idle(totals.idle),
        until=None,
    )


@dataclass(frozen=True, slots=True)
class Columns:
    """Cells of each column; 0 leaves it out."""

    name: int
    bar: int
    percent: int
    sizes: int
    speed: int
    eta: int
    source: int

    @property
    def rates(self) -> int:
        """Cells of speed and ETA together."""
        return self.speed + GAP + self.eta if self.speed else 0


def columns(width: int, longest: int) -> Columns:
    """Share a width among the columns: the narrower, the fewer, and never wider than ``width``.

    Args:
        width: Cells of the terminal.
        longest: Cells of the longest name to show.
    """
    sizes, speed, eta, source = _figures(width)
    fixed = MARK + sum(GAP + cells for cells in (PERCENT, sizes, speed, eta, source) if cells)
    if not speed:
        return Columns(max(1, min(max(longest, NAME), width - fixed)), 0, PERCENT, 0, 0, 0, 0)
    shared = width - fixed - GAP
    name = max(NAME, min(longest, shared - (BAR[1] if source else BAR[0])))
    return Columns(name, min(BAR[2], shared - name), PERCENT, sizes, speed, eta, source)


def _figures(width: int) -> tuple[int, int, int, int]:
    """Cells for sizes, speed, ETA and source."""
    if width >= 120:
        return SIZES, SPEED, LABELLED_ETA, ORIGIN
    if width >= 96:
        return SIZES, SPEED, LABELLED_ETA, KIND
    if width >= 76:
        return SIZES, SPEED, ETA, 0
    return (0, SPEED, ETA, 0) if width >= 54 else (0, 0, 0, 0)


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

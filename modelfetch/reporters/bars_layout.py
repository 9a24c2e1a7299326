"""Layout of the bars: a snapshot of a run, widths of columns, and shortened names. Pure.

:func:`scene` copies what the bars show from the state of a run. The drawing thread reads this snapshot while
the run changes its state. :func:`columns` divides the width of the terminal among the columns: the narrower
it is, the fewer columns are shown. :func:`shorten_all` shortens names so that they can still be told apart::

    model-00001-of-00030.safetensors   ->   model-00001-of…ors
    model-00002-of-00030.safetensors   ->   model-00002-of…ors

All widths are in terminal cells: a Chinese character takes two.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len, chop_cells

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.source_kinds import CACHE, SourceKind
from modelfetch.reporters import terminal_text

if TYPE_CHECKING:
    from modelfetch.engine.state import RunState
    from modelfetch.engine.totals import FileState, Phase

GAP: Final = 2
"""Cells between two columns."""
MARK: Final = 2
"""Cells of the symbol before a name, and of the space behind it."""
PERCENT: Final = 4
"""``100%``."""
SIZES: Final = 12
"""``33.0/82.5 MB``."""
SPEED: Final = 9
"""``12.3 MB/s``."""
ETA: Final = 7
"""``12h 05m``."""
LABELED_ETA: Final = 10
"""``ETA 1m 32s``."""
KIND: Final = max(map(len, SourceKind))
"""The longest: ``huggingface``."""
ORIGIN: Final = 32
"""Kind and host of a source."""
BAR: Final = (8, 14, 40)
"""Shortest bar; shortest bar if the source is shown, too; longest bar."""
NAME: Final = 12
"""Least width of a name: that of the total, ``3 of 9 files``."""
_LEAST_DIRECTORY: Final = 4
"""Cells before a file name that must be free to show the start of its directory there."""
_NUMBER: Final = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Row:
    """One file, or the total, in a snapshot."""

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
    """What the file waits for, shown in place of speed and ETA; empty while data comes."""
    until: float | None
    """Monotonic time at which that wait ends, if it is known."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A snapshot of a run."""

    rows: tuple[Row, ...]
    total: Row | None
    """The last line; None until something is planned."""
    done: int
    """Number of files that are done and have no row."""
    queued: int
    """Number of files that are not done and have no row."""
    waits: tuple[tuple[str, float], ...]
    """What the run waits for, and the monotonic time since when."""

    @property
    def longest(self) -> int:
        """Width of the longest name."""
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
        return ((terminal_text.waiting(wait), state.now - wait.waited),)
    if state.files:
        return ()
    names = ", ".join(terminal_text.subject(state, "", name) for name in state.models)
    doing = "planning" if state.operation == "ensure" else "checking"
    return ((f"{doing} {names}".strip(), state.began or state.now),)


def _choose(state: RunState, room: int) -> list[FileState]:
    """Choose the files that get a row: all of them if they fit, else active and failed ones."""
    if len(state.files) <= room:
        return list(state.files.values())
    # One line less: the last one has the number of the files that have no row.
    failed = (file for file in state.files.values() if file.phase == "failed")
    return list(islice(chain(state.active.values(), failed), max(0, room - 1)))


def _row(file: FileState, state: RunState) -> Row:
    word, until = _word(file, state)
    return Row(
        name=terminal_text.subject(state, file.model, file.file),
        phase=file.phase,
        received=file.received,
        kept=min(file.kept, file.received),
        size=file.size,
        percent=file.percent,
        speed=file.speed,
        eta=file.eta,
        source=_source(file, state),
        host=terminal_text.place("", file.host),
        word=word,
        until=until,
    )


def _source(file: FileState, state: RunState) -> str:
    if file.source == CACHE:
        return "" if state.operation == "verify" else "kept"
    return terminal_text.place(file.source, "")


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
        return terminal_text.idle(file.idle), None
    return "", None


def _total(state: RunState) -> Row:
    totals = state.totals
    return Row(
        name=f"{totals.files_done} of {terminal_text.plural(totals.files, 'file')}",
        phase="done" if totals.percent == 100 else _MOVING[state.operation],
        received=totals.received,
        kept=0,
        size=totals.size,
        percent=totals.percent,
        speed=totals.speed,
        eta=totals.eta,
        source="",
        host="",
        word="" if totals.idle is None else terminal_text.idle(totals.idle),
        until=None,
    )


@dataclass(frozen=True, slots=True)
class Columns:
    """Width of each column; 0 means that it is left out."""

    name: int
    bar: int
    percent: int
    sizes: int
    speed: int
    eta: int
    source: int

    @property
    def rates(self) -> int:
        """Width of speed and ETA together."""
        return self.speed + GAP + self.eta if self.speed else 0


def columns(width: int, longest: int) -> Columns:
    """Divide a width among the columns; together they are not wider than ``width``.

    Args:
        width: Width of the terminal in cells.
        longest: Width of the longest name in cells.
    """
    sizes, speed, eta, source = _figures(width)
    fixed = MARK + sum(GAP + cells for cells in (PERCENT, sizes, speed, eta, source) if cells)
    if not speed:
        return Columns(max(1, min(max(longest, NAME), width - fixed)), 0, PERCENT, 0, 0, 0, 0)
    shared = width - fixed - GAP
    name = max(NAME, min(longest, shared - (BAR[1] if source else BAR[0])))
    return Columns(name, min(BAR[2], shared - name), PERCENT, sizes, speed, eta, source)


def _figures(width: int) -> tuple[int, int, int, int]:
    """Widths of sizes, speed, ETA and source; columns are left out as the terminal gets narrower."""
    # The callers subtract the margin for the echo of Ctrl-C. So a terminal of 80 columns shows sizes, one of
    # 100 the kind of the source, too, and one of 122 also its host.
    if width >= 120:
        return SIZES, SPEED, LABELED_ETA, ORIGIN
    if width >= 96:
        return SIZES, SPEED, LABELED_ETA, KIND
    if width >= 76:
        return SIZES, SPEED, ETA, 0
    return (0, SPEED, ETA, 0) if width >= 54 else (0, 0, 0, 0)


def shorten(path: str, cells: int, ellipsis: str) -> str:
    """Shorten a path in its middle: first its directories, then the name of the file."""
    if cell_len(path) <= cells:
        return path
    name = path.rpartition("/")[2]
    front = cells - cell_len(ellipsis) - cell_len(name)
    if front >= _LEAST_DIRECTORY:
        return f"{_head(path, front - 1)}{ellipsis}/{name}"
    if front >= 0:
        return f"{ellipsis}{'/' * min(1, front)}{name}"
    return _middle(name, cells, ellipsis)


def cut(text: str, cells: int, ellipsis: str) -> str:
    """Shorten a text in its middle, if it is too long."""
    return text if cell_len(text) <= cells else _middle(text, cells, ellipsis)


def cut_end(text: str, cells: int, ellipsis: str) -> str:
    """Shorten a text at its end, if it is too long."""
    if cell_len(text) <= cells:
        return text
    return _head(text, cells - cell_len(ellipsis)).rstrip() + ellipsis[: max(0, cells)]


def _middle(text: str, cells: int, ellipsis: str) -> str:
    room = max(0, cells - cell_len(ellipsis))
    back = room // 2  # the front gets the odd cell
    return _head(text, room - back) + ellipsis[: max(0, cells)] + _tail(text, back)


def shorten_all(paths: Sequence[str], cells: int, ellipsis: str) -> list[str]:
    """Shorten paths of a column so that they can still be told apart.

    In ``model-00001-of-00030.safetensors`` and its siblings, the first number must stay. So paths that differ
    in their numbers only are shortened as a group, and so are paths that would look equal when shortened.
    """
    shown = {path: shorten(path, cells, ellipsis) for path in paths}
    # First by shape, then by result: shortening alone can make paths of different shapes look equal.
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
    """Length of the common prefix of all texts, in characters."""
    columns = enumerate(zip(*texts, strict=False))
    return next((n for n, letters in columns if len(set(letters)) > 1), min(map(len, texts)))


def _around(path: str, start: int, end: int, cells: int, ellipsis: str) -> str:
    """Shorten a text before and behind the part from ``start`` to ``end``, which stays."""
    if cell_len(path) <= cells:
        return path
    head, part, tail = path[:start], path[start:end], path[end:]
    room = cells - cell_len(part)
    least = cell_len(ellipsis)
    if room < 2 * least:  # the part that differs is itself too long
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

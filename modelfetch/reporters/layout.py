"""What the bars show, before it is drawn: a snapshot of a run, and how columns share a width.

Pure values: the drawing thread reads a snapshot while the run goes on changing its state.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import Final

from rich.cells import cell_len

from modelfetch.engine.ledger import FileState, Phase
from modelfetch.engine.state import RunState
from modelfetch.reporters import words
from modelfetch.values import dataclass

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

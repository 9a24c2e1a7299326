"""Draw a snapshot of a run as lines of :class:`rich.text.Text`.

Lines are built from ``Text``, never from markup, so no part of a name can become a style or a link. No line
is wider than the terminal: a wrapped line would make the live area taller than Rich knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.cells import cell_len
from rich.text import Text

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.units import format_duration, format_rate, format_size
from modelfetch.reporters.bars_layout import GAP, ORIGIN, Columns, Row, Scene, columns, cut, shorten_all

if TYPE_CHECKING:
    from modelfetch.engine.totals import Phase
    from modelfetch.reporters.terminal_text import Symbols

_STYLES: Final[dict[Phase, str]] = {
    "queued": "dim",
    "fetching": "cyan",
    "verifying": "cyan",
    "retrying": "yellow",
    "done": "green",
    "failed": "red",
}
"""The basic colors: each terminal theme defines them, so they are readable on light and dark backgrounds."""

DIM: Final = "dim"
"""Style of less important text. Not the color bright black: some dark themes use it as their background."""
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
SPINS_PER_SECOND: Final = 10


@dataclass(frozen=True, slots=True)
class DrawOptions:
    """Parameters of a drawing besides the scene."""

    symbols: Symbols
    width: int
    height: int
    now: float
    """Monotonic time in seconds, for spinners and countdowns."""


def draw(scene: Scene, options: DrawOptions, longest: int) -> list[Text]:
    """Draw a scene in at most ``options.height`` lines; the last line is the total.

    Args:
        scene: The snapshot.
        options: Symbols, size of the terminal, and time.
        longest: Width of the longest name so far, in cells, so that columns keep their places.
    """
    cells = columns(options.width, longest)
    names = shorten_all([row.name for row in scene.rows], cells.name, options.symbols.ellipsis)
    lines = [_row(row, name, cells, options) for row, name in zip(scene.rows, names, strict=True)]
    if scene.done or scene.queued:
        lines.append(_hidden(scene, options))
    lines += [_wait(words, since, options) for words, since in scene.waits]
    if scene.total is not None:
        name = cut(scene.total.name, cells.name, options.symbols.ellipsis)
        lines.append(_row(scene.total, name, cells, options, "bold"))
    for line in lines:
        line.rstrip()
        line.truncate(options.width)
    return lines[-options.height :]  # the total is last, so it is never cut off


def _row(row: Row, name: str, cells: Columns, options: DrawOptions, emphasis: str = "") -> Text:
    style = _STYLES[row.phase]
    line = Text(no_wrap=True, overflow="crop")
    line.append(_mark(row.phase, options.symbols) + " ", style)
    text_style = DIM if row.phase == "queued" else emphasis
    line.append(_left(name, cells.name), text_style)
    if cells.bar:
        line.append(" " * GAP).append_text(_bar(row, cells.bar, options.symbols))
    _append(line, f"{int(row.percent)}%".rjust(cells.percent), text_style)
    if cells.sizes:
        _append(line, _sizes(row).rjust(cells.sizes), DIM if row.phase in ("queued", "done") else "")
    if cells.rates:
        line.append(" " * GAP).append_text(_rates(row, cells, options.now))
    if cells.source:
        _append(line, _origin(row, cells.source), DIM)
    return line


def _append(line: Text, words: str, style: str) -> None:
    line.append(" " * GAP).append(words, style)


def _mark(phase: Phase, symbols: Symbols) -> str:
    return str(getattr(symbols, phase))


def _left(words: str, cells: int) -> str:
    return words + " " * (cells - cell_len(words))


def _bar(row: Row, cells: int, symbols: Symbols) -> Text:
    """Draw a bar in steps of half a cell; bytes kept from an earlier run are dimmed."""
    style = _STYLES[row.phase]
    halves = _halves(row, cells)
    full, half = divmod(halves, 2)
    kept = min(full, _share(row.kept, row.size, cells)) if row.phase != "done" else 0
    bar = Text().append(symbols.bar * kept, f"dim {style}")
    bar.append(symbols.bar * (full - kept) + symbols.half * half, style)
    return bar.append(symbols.rest * (cells - full - half), DIM)


def _halves(row: Row, cells: int) -> int:
    if row.phase == "done":
        return cells * 2
    # A full bar means that the file is done, which includes its verification.
    return min(cells * 2 - 1, _share(row.received, row.size, cells * 2))


def _share(part: int, whole: int, cells: int) -> int:
    return part * cells // whole if whole else 0


def _sizes(row: Row) -> str:
    """Format ``33.0/82.5 MB``, or only the size for a file that is complete or not started."""
    size = format_size(row.size)
    if row.phase in ("done", "queued") and row.received in (0, row.size):
        return size
    number, _, unit = size.partition(" ")
    scale = 1000 ** _UNITS.index(unit) if unit in _UNITS else 1
    received = row.received / scale
    # Three significant digits, like the size behind it; whole bytes and zero have no decimals.
    places = 0 if scale == 1 or not received else max(0, 3 - len(f"{received:.0f}"))
    return f"{received:.{places}f}/{number} {unit}"


def _rates(row: Row, cells: Columns, now: float) -> Text:
    """Speed and ETA, or the reason why there are none."""
    if row.word:
        return Text(_left(_countdown(row, now), cells.rates), _STYLES[row.phase])
    is_done = row.phase == "done"
    speed = "" if row.speed is None or is_done else format_rate(row.speed)
    eta = "" if row.eta is None or is_done else format_duration(row.eta)
    label = "ETA " if eta and len(eta) + 4 <= cells.eta else ""
    return Text(speed.rjust(cells.speed) + " " * GAP + (label + eta).ljust(cells.eta))


def _countdown(row: Row, now: float) -> str:
    if row.until is None:
        return row.word
    left = max(0.0, row.until - now)
    return f"{row.word} in {format_duration(left)}" if left >= 1 else f"{row.word} now"


def _origin(row: Row, cells: int) -> str:
    if cells < ORIGIN:
        return row.source
    return row.source if row.host == row.source else f"{row.source} {row.host}".strip()


def _hidden(scene: Scene, options: DrawOptions) -> Text:
    done = f"{scene.done} done" if scene.done else ""
    queued = f"{scene.queued} queued" if scene.queued else ""
    joined = f" {options.symbols.dot} ".join(filter(None, (done, queued)))
    line = Text(
        f"{options.symbols.done if scene.done else options.symbols.queued} ", "green" if scene.done else DIM
    )
    return line.append(joined, DIM)


def _wait(words: str, since: float, options: DrawOptions) -> Text:
    frames = options.symbols.spinner
    line = Text().append(frames[int(options.now * SPINS_PER_SECOND) % len(frames)] + " ", "cyan")
    waited = options.now - since
    return line.append(f"{words} ({format_duration(waited)})" if waited >= 1 else words)

"""Bars for a terminal: a live area that never scrolls, and permanent lines above it.

The live area has a row for each active file and a total (:mod:`modelfetch.reporters.bars_layout` chooses
them, :mod:`modelfetch.reporters.bars_draw` draws them). Retries, failures and finished models are printed
above it and stay::

    ↻ onnx/encoder_model.onnx  mirror m.example: stalled; attempt 2 in 0.5s
    ↓ onnx/decoder_model.onnx  ━━━━━╸────   37%  10.7/28.8 MB  8.42 MB/s  ETA 2s  mirror
    ↓ 2 of 4 files             ━━━━━━────   41%  20.2/48.8 MB  19.1 MB/s  ETA 2s
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from modelfetch import tracing
from modelfetch.engine.events import ModelReady, Planned, Progress, RunFinished, SourceFailed
from modelfetch.errors import Fault
from modelfetch.model import source_kinds
from modelfetch.model.text import sanitize
from modelfetch.reporters import terminal_text
from modelfetch.reporters.bars_draw import DIM, DrawOptions, draw
from modelfetch.reporters.bars_layout import EMPTY, Scene, scene
from modelfetch.reporters.failure_notes import Kind, Note, Notes
from modelfetch.reporters.terminal_text import Symbols, symbols_for

if TYPE_CHECKING:
    from modelfetch.engine.record import Record
    from modelfetch.engine.state import RunState
    from modelfetch.notices import Notices

PER_SECOND: Final = 10
"""Redraws per second: motion looks smooth, and drawing takes 1 % of the CPU time of a download."""

_ECHO: Final = 2
"""Cells left free at the right: a terminal echoes Ctrl-C as ``^C``. If that wrapped, the live area would be a
line taller than Rich knows, and could not be cleared."""


class Area(Protocol):
    """A live area other than that of a terminal, which is a :class:`rich.live.Live`."""

    auto_refresh: bool
    """Whether it draws itself; else it is refreshed with every record."""

    def start(self) -> None:
        """Draw the bars from now on."""

    def refresh(self) -> None:
        """Draw the bars again."""

    def stop(self) -> None:
        """Remove the bars."""

    def print(self, line: RenderableType) -> None:
        """Add a permanent line above them."""


class Bars:
    """Draws a run with Rich.

    The thread of the run takes snapshots of the state. The thread of Rich draws the latest snapshot ten times
    a second, so spinners and countdowns move while no event comes.

    Args:
        out: The terminal.
        notices: Messages for the user that are not in the events.
        console: Replaces the console on ``out``.
        clock: Monotonic seconds.
        area: Makes the live area, given what draws the bars; by default a :class:`rich.live.Live`.
    """

    def __init__(
        self,
        out: TextIO,
        notices: Notices | None = None,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
        area: Callable[[Callable[[], Group]], Area] | None = None,
    ) -> None:
        self._console = console or Console(file=out, highlight=False, markup=False, emoji=False)
        self._symbols: Symbols = symbols_for(self._console.encoding)
        self._notes = Notes(self._symbols, notices)
        self._signs: dict[Kind, tuple[str, str]] = {
            "retry": (self._symbols.retrying, "yellow"),
            "fallback": (self._symbols.fallback, "yellow"),
            "lost": (self._symbols.failed, "red"),
            "detail": (" ", DIM),
        }
        self._clock = clock
        self._scene: Scene = EMPTY
        self._longest = 0
        self._drawn = float("-inf")
        self._live: Live | Area
        self._print_above: Callable[[RenderableType], None]
        if area is not None:
            self._live = area(self._picture)
            self._print_above = self._live.print
        else:
            self._live = self._terminal_area()
            self._print_above = self._console.print

    def _terminal_area(self) -> Live:
        return Live(
            get_renderable=self._picture,
            console=self._console,
            refresh_per_second=PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def report(self, record: Record) -> None:
        """Take a snapshot, and print the permanent lines of a record."""
        if isinstance(record.event, RunFinished):
            self._finish(record, record.event)
            return
        self._snapshot(record)
        self._start()
        self._print(record)

    def _start(self) -> None:
        """Start the live area; without a thread for it, it is drawn with every record."""
        if tracing.active is not None:
            tracing.active.redirect(self._verbose)
        try:
            self._live.start()
        except RuntimeError:  # the system allows no further thread; everything else of Rich is started
            self._live.auto_refresh = False
        if not self._live.auto_refresh:
            self._live.refresh()

    def close(self) -> None:
        """Clear the live area and show the cursor again."""
        self._scene = EMPTY
        self._live.stop()
        if tracing.active is not None:
            tracing.active.redirect(None)

    def _verbose(self, line: str) -> None:
        """Print a line of verbose output above the live area, unbroken, so that it can be copied."""
        self._console.print(Text(line, DIM), soft_wrap=True)

    def _snapshot(self, record: Record) -> None:
        now = self._clock()
        # Progress comes far more often than it is drawn; any other event changes what is shown at once.
        if isinstance(record.event, Progress) and now - self._drawn < 1 / PER_SECOND:
            return
        self._drawn = now
        taken = scene(record.state, self._height)
        self._longest = max(self._longest, taken.longest)
        self._scene = taken

    @property
    def _height(self) -> int:
        # One line less than the terminal, so that a full last line does not make it scroll.
        return max(1, self._console.height - 1)

    def _picture(self) -> Group:
        width = max(1, self._console.width - _ECHO)
        options = DrawOptions(self._symbols, width, self._height, self._clock())
        return Group(*draw(self._scene, options, self._longest))

    def _print(self, record: Record) -> None:
        """Print the permanent lines of one record above the live area."""
        event, state = record.event, record.state
        for note in self._notes.add(record):
            self._note(note, state)
        match event:
            case Planned() if state.operation == "ensure":
                self._planned(event)
            case SourceFailed(source=source_kinds.CACHE):
                is_notice = event.fault == Fault.UNLISTED
                sign, style = (
                    (self._symbols.fallback, "yellow") if is_notice else (self._symbols.failed, "red")
                )
                subject = terminal_text.subject(state, event.model, event.file)
                self._line(sign, style, subject, terminal_text.damage(event))
            case ModelReady():
                self._rest(state)
                self._line(
                    self._symbols.done, "green", terminal_text.ready(state.models[event.model], self._symbols)
                )
            case _:
                pass

    def _planned(self, event: Planned) -> None:
        if event.missing:
            name = Text().append(sanitize(event.model), "bold")
            self._print_above(name.append(f"  {terminal_text.plan(event)}", DIM))
        for said in terminal_text.license_lines(event):
            self._print_above(Text(said, "yellow"))

    def _finish(self, record: Record, event: RunFinished) -> None:
        self.close()
        state = record.state
        for note in self._notes.add(record):
            self._note(note, state)
        self._rest(state)
        if state.operation == "verify":
            is_good = event.outcome == "completed"
            sign, style = (self._symbols.done, "green") if is_good else (self._symbols.failed, "red")
            self._line(sign, style, terminal_text.verified(state, event))
        elif event.outcome == "failed" and state.files:
            self._line(self._symbols.failed, "red", terminal_text.kept(state))

    def _rest(self, state: RunState) -> None:
        for note in self._notes.rest():
            self._note(note, state)

    def _note(self, note: Note, state: RunState) -> None:
        sign, style = self._signs[note.kind]
        self._line(sign, style, terminal_text.subject(state, note.model, note.file), note.text)

    def _line(self, sign: str, style: str, *fields: str) -> None:
        """Print one permanent line; on a narrow terminal it wraps, indented behind its symbol."""
        text = Text("  ".join(sanitize(field) for field in fields if field))
        wrapped = text.wrap(self._console, max(1, self._console.width - 2))
        lines = [Text("  ").append_text(line) for line in wrapped]
        lines[0] = Text().append(f"{sign} ", style).append_text(wrapped[0])
        self._print_above(Text("\n").join(lines))

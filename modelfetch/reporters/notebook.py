"""Bars in a notebook: one output of the cell that is replaced while the run goes on.

The area is drawn by Rich as HTML, permanent lines above and the bars below, and handed to IPython under a
display id. So it needs no widgets, and what a saved notebook shows is the last picture: the permanent lines.
There is no thread: the area is drawn with the records of the run, at most five times a second.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from rich.console import Console, Group, RenderableType
from rich.jupyter import JUPYTER_HTML_FORMAT, JupyterRenderable

from modelfetch.reporters.bars import Bars

if TYPE_CHECKING:
    from modelfetch.notices import Notices

INTERVAL: Final = 0.2
"""Seconds between two pictures: each is a message from the kernel to the browser, with the whole area."""


class Handle(Protocol):
    """An output of a cell that can be replaced: ``IPython.display.DisplayHandle``."""

    def update(self, obj: JupyterRenderable, /) -> None:
        """Replace the output."""


Display = Callable[[JupyterRenderable], Handle]
"""Shows the first picture."""


def is_notebook() -> bool:
    """Whether this process runs the cells of a notebook, as Rich detects it."""
    return Console().is_jupyter


def notebook_bars(notices: Notices | None = None, display: Display | None = None) -> Bars:
    """Return a reporter that draws in the output of the current cell.

    Args:
        notices: Messages for the user that are not in the events.
        display: Shows the first picture; by default IPython does.
    """
    size = Console(force_jupyter=True)  # JUPYTER_COLUMNS and JUPYTER_LINES, or the defaults of Rich
    console = Console(
        file=_Discarding(),
        record=True,
        force_jupyter=False,  # it would show every line as an output of its own
        force_terminal=True,
        color_system="standard",
        width=size.width,
        height=size.height,
        highlight=False,
        markup=False,
        emoji=False,
    )
    return Bars(
        sys.stderr,
        notices,
        console=console,
        area=lambda picture: NotebookArea(console, picture, display or _display),
    )


class NotebookArea:
    """An output of a cell, as the :class:`.Area` of bars.

    Args:
        console: Records what is printed; its stream is discarded.
        picture: Draws the bars.
        display: Shows the first picture.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        console: Console,
        picture: Callable[[], Group],
        display: Display,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.auto_refresh = False
        """There is no thread, so :class:`.Bars` refreshes with every record."""
        self._console = console
        self._picture = picture
        self._display = display
        self._clock = clock
        self._lines: list[RenderableType] = []
        self._handle: Handle | None = None
        self._is_live = False
        self._drawn = float("-inf")

    def start(self) -> None:
        """Draw the bars below the permanent lines from now on."""
        self._is_live = True

    def refresh(self) -> None:
        """Replace the picture, unless that was done a moment ago."""
        if self._clock() - self._drawn >= INTERVAL:
            self._show(Group(*self._lines, self._picture()))

    def stop(self) -> None:
        """Remove the bars: only the permanent lines stay."""
        if self._is_live:
            self._is_live = False
            self._show(Group(*self._lines))

    def print(self, line: RenderableType) -> None:
        """Add a permanent line; without bars it is shown at once, else with the next picture."""
        self._lines.append(line)
        if not self._is_live:
            self._show(Group(*self._lines))

    def _show(self, content: Group) -> None:
        self._drawn = self._clock()
        self._console.print(content)
        text = self._console.export_text(clear=False)
        html = self._console.export_html(code_format=JUPYTER_HTML_FORMAT, inline_styles=True)
        shown = JupyterRenderable(html, text)
        if self._handle is None:
            self._handle = self._display(shown)
        else:
            self._handle.update(shown)


class _Discarding(io.StringIO):
    """The stream of a console of which only the recording is used."""

    def write(self, text: str, /) -> int:
        return len(text)


def _display(shown: JupyterRenderable) -> Handle:
    from IPython.display import display  # there if this is a notebook

    handle: Handle = display(shown, display_id=True)
    return handle

"""Reporters: bars for terminals and notebooks, lines for logs, JSON lines for programs, rows for the history.

A reporter reads records (:mod:`modelfetch.engine.stream`) and nothing else, so it works the same for a run on
this machine and for a job on a server. ``rich`` is imported only if bars are drawn, and not before the first
request was sent.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

from modelfetch.reporters.deferred import DeferredReporter
from modelfetch.reporters.lines import Lines
from modelfetch.reporters.terminal_text import error_lines, failure_lines, symbols_for

if TYPE_CHECKING:
    from modelfetch.engine.stream import Reporter
    from modelfetch.notices import Notices

__all__ = ["choose", "error_lines", "failure_lines", "symbols_for"]


def choose(
    *,
    json: bool,
    quiet: bool,
    stdout: TextIO,
    stderr: TextIO,
    environ: Mapping[str, str],
    notices: Notices | None = None,
    may_be_notebook: bool = False,
) -> tuple[Reporter, ...]:
    """Choose the reporters of a run.

    Args:
        json: Whether to print the events on stdout, one JSON object per line, and nothing else.
        quiet: Whether to report nothing.
        stdout: Stream for data.
        stderr: Stream for messages: bars on a terminal, else plain lines.
        environ: The environment; with ``CI`` set (and not ``0`` or ``false``) or ``TERM=dumb`` there are no
            bars. With ``GITHUB_ACTIONS`` set, the lines are in a group, and ``GITHUB_STEP_SUMMARY`` gets a
            table in every form of output.
        notices: Messages for the user that are not in the events.
        may_be_notebook: Whether the process may run the cells of a notebook; bars are then drawn there.
    """
    in_github = environ.get("GITHUB_ACTIONS") == "true"
    summary = environ.get("GITHUB_STEP_SUMMARY") if in_github else None
    further = (_summary(summary),) if summary else ()
    if json:
        from modelfetch.reporters.jsonl import JsonLines

        return (JsonLines(stdout), *further)
    if quiet:
        return further
    # Rich takes long to import, and a notebook has loaded IPython.
    if may_be_notebook and "IPython" in sys.modules and _is_notebook():
        return (DeferredReporter(lambda: _notebook_bars(notices)), *further)
    if can_draw(stderr, environ):
        return (DeferredReporter(lambda: _bars(stderr, notices)), *further)
    return (_grouped(stderr, notices) if in_github else Lines(stderr, notices), *further)


def _summary(path: str) -> Reporter:
    from modelfetch.reporters.github_actions import JobSummary

    return JobSummary(path)


def _grouped(stream: TextIO, notices: Notices | None) -> Reporter:
    from modelfetch.reporters.github_actions import GroupedLines

    return GroupedLines(stream, notices)


def _bars(stream: TextIO, notices: Notices | None) -> Reporter:
    from modelfetch.reporters.bars import Bars

    return Bars(stream, notices)


def _is_notebook() -> bool:
    from modelfetch.reporters.notebook import is_notebook

    return is_notebook()


def _notebook_bars(notices: Notices | None) -> Reporter:
    from modelfetch.reporters.notebook import notebook_bars

    return notebook_bars(notices)


def can_draw(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether a stream is a terminal on which lines can be drawn over."""
    is_ci = environ.get("CI", "").lower() not in ("", "0", "false")
    return stream.isatty() and not is_ci and environ.get("TERM", "") not in ("dumb", "unknown")

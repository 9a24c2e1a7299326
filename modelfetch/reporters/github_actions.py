"""Reports a run to GitHub Actions: its lines in a group of the log, and a table in the summary of the job.

The log of a step is long, and of a run that went well only the result matters. So the lines are put into a
group, which is shown closed, and the result follows the group::

    ::group::modelfetch: fetching silero-vad
    silero-vad  5.1  1 file, 2.33 MB; 1 to fetch, 2.33 MB
    silero-vad  silero_vad.onnx  done in 0.4s, from mirror m.example
    ::endgroup::
    silero-vad is ready - 2.33 MB in 0.5s (4.66 MB/s) - from mirror 1 file

A run that has nothing to say before its result has no group. The commands and files are those of "Workflow
commands for GitHub Actions" (docs.github.com): ``::group::``, ``::endgroup::``, ``GITHUB_STEP_SUMMARY``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TextIO

from modelfetch.engine.events import RunFinished
from modelfetch.errors import Fault
from modelfetch.model.text import sanitize
from modelfetch.model.units import format_size
from modelfetch.reporters.lines import Lines
from modelfetch.reporters.terminal_text import exact, plural

if TYPE_CHECKING:
    from modelfetch.engine.record import Record
    from modelfetch.engine.state import RunState
    from modelfetch.notices import Notices

_TITLES: Final = {"ensure": "fetching", "verify": "verifying"}
_MOST_NAMED: Final = 5
"""Models named in the title of a group; a line of the log is cut at the edge of the page."""
_MOST_ROWS: Final = 200
"""Rows of a table. GitHub drops a step's summary above 1 MiB, and a longer table is not readable."""


class GroupedLines(Lines):
    """Plain lines in a group; the result of each model follows when the group was closed."""

    def __init__(self, out: TextIO, notices: Notices | None = None) -> None:
        super().__init__(out, notices)
        self._results: list[str] = []
        self._title = ""
        self._is_open = False
        self._is_over = False

    def report(self, record: Record) -> None:
        """Write the lines for one record; keep what belongs behind the group."""
        if not self._title:
            self._title = _title(record.state)
        if isinstance(record.event, RunFinished):
            self._settle(record.event)
            self._end()
        super().report(record)

    def close(self) -> None:
        """Close the group if the run did not end."""
        super().close()
        self._end()

    def _result(self, text: str) -> None:
        if self._is_over:
            super()._result(text)
        else:
            self._results.append(text)

    def _write(self, line: str) -> None:
        if not (self._is_open or self._is_over):
            self._is_open = True
            self._command(f"::group::{self._title}")
        super()._write(line)

    def _end(self) -> None:
        if self._is_open:
            self._command("::endgroup::")
        self._is_open, self._is_over = False, True
        results, self._results = self._results, []
        for text in results:
            super()._result(text)

    def _command(self, text: str) -> None:
        """Write a command as it is; in all other lines such text was broken up."""
        super()._write(text)


def _title(state: RunState) -> str:
    names = list(state.models)
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return sanitize(f"modelfetch: {_TITLES[state.operation]} {', '.join(names[:_MOST_NAMED])}{more}")


class JobSummary:
    """Appends a table of the models, or of the files that are not right, to the summary of the job.

    Args:
        path: The file that GitHub names in ``GITHUB_STEP_SUMMARY``.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def report(self, record: Record) -> None:
        """Write the table at the end of the run."""
        if not isinstance(record.event, RunFinished):
            return
        text = "\n".join(_summary(record.event, record.state))
        try:
            # In the encoding of the runner, whatever the locale of the step is.
            with open(self._path, "a", encoding="utf-8") as file:  # noqa: PTH123 - appends
                file.write(text + "\n\n")
        except OSError:  # a summary is not worth a failed step, and the log has the same facts
            return

    def close(self) -> None:
        """Do nothing: the file is closed after each table."""


def _summary(event: RunFinished, state: RunState) -> list[str]:
    words = "Verified models" if state.operation == "verify" else "Models"
    lines = [f"### {words}: {event.outcome} in {exact(event.seconds)}", ""]
    models = [model for model in state.models.values() if model.ready is not None or model.plan is not None]
    if models:
        lines += ["| model | version | files | size | fetched | from |", "|---|---|--:|--:|--:|---|"]
        lines += [_row(name, state, event) for name in list(state.models)[:_MOST_ROWS]]
    bad = [file for file in event.files if file.status == "failed" and file.reason != Fault.UNLISTED]
    if bad:
        lines += ["", "| model | file | failed |", "|---|---|---|"]
        lines += [_cells(file.model, file.file, file.reason) for file in bad[:_MOST_ROWS]]
    if event.error is not None:
        lines += ["", _escaped(event.error.message)]
    return lines


def _row(name: str, state: RunState, event: RunFinished) -> str:
    model = state.models[name]
    version, files, size, fetched = "", 0, 0, "not ready"
    if model.plan is not None:
        version, files, size = model.plan.version, len(model.plan.files), model.plan.size
    if model.ready is not None:
        version, files, size = model.ready.version, model.ready.files, model.ready.size
        fetched = format_size(model.ready.fetched)
    elif state.operation == "verify":
        good = sum(file.model == name and file.status == "completed" for file in event.files)
        fetched = f"{good} right"
    sources = ", ".join(f"{kind} {plural(count, 'file')}" for kind, count in model.sources.most_common())
    return _cells(name, version, str(files), format_size(size), fetched, sources or "-")


def _cells(*cells: str) -> str:
    return "| " + " | ".join(map(_escaped, cells)) + " |"


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is: names of files and messages come from manifests and servers."""
    return "".join(f"\\{each}" if each in r"\`*_[]<>|#!&~@" else each for each in sanitize(text))

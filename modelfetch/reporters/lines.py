"""Plain lines for pipes and logs: no escape sequences, and every line can be read alone.

A line has the model, the file and what happened, with two spaces between fields::

    demo  config.json  done in 0.1s, from mirror m.example
    demo  onnx/encoder_model.onnx  33%  5.83 MB / 17.7 MB  7.17 MB/s  ETA 2s  mirror

Progress is reported every 10 percent or 10 seconds of a file, so that a log stays short.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TextIO

from modelfetch.engine.events import (
    FileCommitted,
    FileStarted,
    LockWaiting,
    ModelReady,
    Planned,
    Progress,
    RunFinished,
    SourceFailed,
)
from modelfetch.model import source_kinds
from modelfetch.model.text import sanitize
from modelfetch.model.units import format_duration, format_rate, format_size
from modelfetch.reporters import terminal_text
from modelfetch.reporters.failure_notes import Note, Notes
from modelfetch.reporters.terminal_text import ASCII

if TYPE_CHECKING:
    from modelfetch.engine.record import Record
    from modelfetch.engine.state import RunState
    from modelfetch.engine.totals import FileId, FileState
    from modelfetch.notices import Notices

MANY: Final = 100
SMALL: Final = 256 * 1024
"""In a run of at least ``MANY`` files, the start of files of at most ``SMALL`` bytes is not reported: their
end follows at once, and the extra lines would hide the others."""
EVERY_SECONDS: Final = 10.0
EVERY_PERCENT: Final = 10
"""Time and progress after which a file (or a wait for a lock) gets its next line, whichever comes first:
often enough to see progress, and few enough lines to read a log later."""

_LABELS: Final = {"retry": "retry: ", "fallback": "fallback: ", "lost": "failed: ", "detail": ""}


class Lines:
    """Writes a run as lines ``model  file  message``."""

    def __init__(self, out: TextIO, notices: Notices | None = None) -> None:
        self._out = out
        self._notes = Notes(ASCII, notices)
        self._marks: dict[FileId, tuple[float, float]] = {}
        """Time and percentage of the last line of each file or wait."""

    def report(self, record: Record) -> None:
        """Write the lines for one record; most records have none."""
        event, state = record.event, record.state
        for note in self._notes.add(record):
            self._note(note)
        match event:
            case LockWaiting():
                self._waiting(event, state)
            case Planned():
                self._planned(event, state)
            case FileStarted() | Progress() | FileCommitted() | SourceFailed(source=source_kinds.CACHE):
                self._file(event, state)
            case ModelReady():
                self._rest()
                self._say("", "", terminal_text.ready(state.models[event.model], ASCII))
            case RunFinished():
                self._finished(event, state)
            case _:
                pass

    def close(self) -> None:
        """Do nothing: the stream belongs to the caller, and every line is flushed."""

    def _planned(self, event: Planned, state: RunState) -> None:
        if state.operation == "verify":
            self._say(event.model, event.version, f"checking {terminal_text.contents(event)}")
            return
        self._say(event.model, event.version, terminal_text.plan(event))
        for line in terminal_text.license_lines(event):
            self._say(event.model, "", line)

    def _waiting(self, event: LockWaiting, state: RunState) -> None:
        percent = 100 * event.received / event.size if event.size else 0.0
        if self._is_due((event.model, event.file), state.now, percent):
            waited = f" ({format_duration(event.waited)} so far)"
            self._say(event.model, event.file, terminal_text.waiting(event) + waited)

    def _file(self, event: FileStarted | Progress | FileCommitted | SourceFailed, state: RunState) -> None:
        if isinstance(event, SourceFailed):
            self._say(event.model, event.file, terminal_text.bad(event))
            return
        file = state.files[event.model, event.file]
        said: list[str] = []  # nothing at 100 %: the line that the file is done follows
        if isinstance(event, FileCommitted):
            place = terminal_text.place(event.source, event.host)
            said = [f"done in {terminal_text.exact(event.seconds)}, from {place}"]
        elif isinstance(event, FileStarted):
            said = self._started(event, state)
        elif file.received < file.size and self._is_due(file.key, state.now, file.percent):
            said = _progress(file)
        if said:
            self._say(event.model, event.file, *said)

    def _started(self, event: FileStarted, state: RunState) -> list[str]:
        if state.operation == "verify" or _is_one_of_many(event, state):  # see MANY and SMALL
            return []
        self._marks[event.model, event.file] = state.now, state.files[event.model, event.file].percent
        if event.offset >= event.size > 0:  # all of it is in the cache: the line that it is done follows
            return []
        resumed = f", resumed at {format_size(event.offset)}" if event.offset else ""
        return [f"started, {format_size(event.size)}{resumed}"]

    def _is_due(self, key: FileId, now: float, percent: float) -> bool:
        at, before = self._marks.get(key, (float("-inf"), 0.0))
        is_due = now - at >= EVERY_SECONDS or percent // EVERY_PERCENT != before // EVERY_PERCENT
        if is_due:
            self._marks[key] = now, percent
        return is_due

    def _finished(self, event: RunFinished, state: RunState) -> None:
        self._rest()
        if state.operation == "verify":
            self._say("", "", terminal_text.verified(state, event))
        elif event.outcome == "failed" and state.files:
            self._say("", "", terminal_text.kept(state))

    def _rest(self) -> None:
        for note in self._notes.rest():
            self._note(note)

    def _note(self, note: Note) -> None:
        self._say(note.model, note.file, _LABELS[note.kind] + note.text)

    def _say(self, *fields: str) -> None:
        """Write one line."""
        line = "  ".join(sanitize(field) for field in fields if field)
        self._out.write(line + "\n")
        self._out.flush()


def _is_one_of_many(event: FileStarted, state: RunState) -> bool:
    return event.size <= SMALL and len(state.files) >= MANY


def _progress(file: FileState) -> list[str]:
    """Fields of a progress line; values that are not known yet are left out."""
    fields = [f"{int(file.percent)}%", f"{format_size(file.received)} / {format_size(file.size)}"]
    if file.idle is not None:
        fields.append(terminal_text.idle(file.idle))
    if file.speed is not None:
        fields.append(format_rate(file.speed))
    if file.eta is not None:
        fields.append(f"ETA {format_duration(file.eta)}")
    return [*fields, "" if file.source == source_kinds.CACHE else file.source]

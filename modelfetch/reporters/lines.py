"""Plain lines for pipes and logs: no escape sequences, and every line can be read alone.

A line has the model, the file and what happened, with two spaces between fields. A file has one line, when it
is done. The whole run has one line every ten seconds::

    whisper-base  1846881b6b3a  9 files, 295 MB; 9 to fetch, 295 MB
    whisper-base  config.json  done in 0.1s, from mirror m.example
    whisper-base  1 of 9 files  33%  97.4 MB / 295 MB  9.72 MB/s  ETA 20s  mirror
    whisper-base  onnx/encoder_model.onnx  done in 14s, from mirror m.example

A run that succeeds within two seconds has only its results. Lines are held back for that time, and written
after it, when the run fails, or before a line that must be seen: a failure of a source, a bad file, a license
or a notice. The time is that of the records, so that a run that is replayed gives the same lines.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TextIO

from modelfetch.engine.events import (
    Event,
    FileCommitted,
    LockWaiting,
    ModelReady,
    Planned,
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
    from modelfetch.engine.totals import FileId
    from modelfetch.notices import Notices

QUIET_SECONDS: Final = 2.0
"""A run that succeeds within this time reports its results only; the steps to them are of no interest."""
EVERY_SECONDS: Final = 10.0
"""Time between two lines about the whole run, and about a wait for a lock: a run that is stuck is noticed
soon, and the log of an hour has at most 360 of them. Percents would need lines for every file."""
MANY: Final = 100
SMALL: Final = 1024 * 1024
"""In a run of at least ``MANY`` files, those of at most ``SMALL`` bytes have no line of their own: those
are fetched in batches (``engine/batch.py``), hundreds in a second, and would hide all others. The lines about
the whole run and the result of their model count them."""

_LABELS: Final = {"retry": "retry: ", "fallback": "fallback: ", "lost": "failed: ", "detail": ""}


class Lines:
    """Writes a run as lines ``model  file  message``."""

    def __init__(self, out: TextIO, notices: Notices | None = None) -> None:
        self._out = out
        self._notes = Notes(ASCII, notices)
        self._is_quiet = True
        """Whether the run is shorter than :data:`QUIET_SECONDS` so far."""
        self._held: deque[tuple[str, str]] = deque()
        """The model and the text of each line that is held back."""
        self._summarized_at: float | None = None
        """Time of the last line about the whole run; at first, the start of the run."""
        self._waits: dict[FileId, float] = {}
        """Time of the last line about each wait for a lock."""

    def report(self, record: Record) -> None:
        """Write the lines for one record; most records have none."""
        if self._is_quiet and record.state.seconds >= QUIET_SECONDS:
            self._is_quiet = False
            self._write_held()
        for note in self._notes.add(record):
            self._note(note)
        self._event(record.event, record.state)
        self._summarize(record.state)

    def close(self) -> None:
        """Write what is held back if the run has no end; the stream belongs to the caller."""
        self._write_held()

    def _event(self, event: Event, state: RunState) -> None:
        match event:
            case LockWaiting():
                self._waiting(event, state)
            case Planned():
                self._planned(event, state)
            case FileCommitted():
                self._committed(event, state)
            case SourceFailed(source=source_kinds.CACHE):
                self._must_say(event.model, event.file, terminal_text.bad(event))
            case ModelReady():
                self._ready(event, state)
            case RunFinished():
                self._finished(event, state)
            case _:
                pass

    def _planned(self, event: Planned, state: RunState) -> None:
        if state.operation == "verify":
            self._say(event.model, event.version, f"checking {terminal_text.contents(event)}")
            return
        self._say(event.model, event.version, terminal_text.plan(event))
        for line in terminal_text.license_lines(event):
            self._must_say(event.model, "", line)

    def _waiting(self, event: LockWaiting, state: RunState) -> None:
        key = event.model, event.file
        if state.now - self._waits.get(key, float("-inf")) >= EVERY_SECONDS:
            self._waits[key] = state.now
            waited = f" ({format_duration(event.waited)} so far)"
            self._say(event.model, event.file, terminal_text.waiting(event) + waited)

    def _committed(self, event: FileCommitted, state: RunState) -> None:
        if event.size <= SMALL and len(state.files) >= MANY:
            return
        origins = terminal_text.origins(event)
        self._say(event.model, event.file, f"done in {terminal_text.exact(event.seconds)}, from {origins}")

    def _ready(self, event: ModelReady, state: RunState) -> None:
        self._rest()
        # Lines of a model are held only if it became ready within the time: its result replaces them.
        self._held = deque(line for line in self._held if line[0] != event.model)
        self._result(terminal_text.ready(state.models[event.model], ASCII))

    def _finished(self, event: RunFinished, state: RunState) -> None:
        self._rest()
        self._settle(event)
        if state.operation == "verify":
            self._result(terminal_text.verified(state, event))
        elif event.outcome == "failed" and state.files:
            self._result(terminal_text.kept(state))

    def _settle(self, event: RunFinished) -> None:
        """Write what is held back if the run failed, and else discard it."""
        if event.outcome != "failed":
            self._held.clear()
        self._write_held()

    def _summarize(self, state: RunState) -> None:
        """Write the line about the whole run when it is due; not while no file is under way."""
        if self._summarized_at is None:
            self._summarized_at = state.began
        elif state.now - self._summarized_at >= EVERY_SECONDS and state.active and state.finished is None:
            self._summarized_at = state.now
            self._say(*_summary(state))

    def _rest(self) -> None:
        for note in self._notes.rest():
            self._note(note)

    def _note(self, note: Note) -> None:
        self._must_say(note.model, note.file, _LABELS[note.kind] + note.text)

    def _say(self, *fields: str) -> None:
        """Write a line, or hold it back."""
        line = _line(fields)
        if self._is_quiet:
            self._held.append((fields[0], line))
        else:
            self._write(line)

    def _must_say(self, *fields: str) -> None:
        """Write a line at once, after those held back: they say what it is about."""
        self._write_held()
        self._write(_line(fields))

    def _result(self, text: str) -> None:
        """Write a result, which stays when the lines held back are discarded."""
        self._write(_line([text]))

    def _write_held(self) -> None:
        while self._held:  # removed first: after a Ctrl-C in between, none is written twice
            self._write(self._held.popleft()[1])

    def _write(self, line: str) -> None:
        self._out.write(line + "\n")
        self._out.flush()


def _line(fields: Sequence[str]) -> str:
    return "  ".join(sanitize(field) for field in fields if field)


def _summary(state: RunState) -> list[str]:
    """Fields of the line about the whole run; values that are not known yet are left out."""
    totals, failed = state.totals, state.phases["failed"]
    subject = next(iter(state.models)) if len(state.models) == 1 else f"{len(state.models)} models"
    fields = [
        subject,
        f"{totals.files_done} of {terminal_text.plural(totals.files, 'file')}",
        f"{failed} failed" if failed else "",
        f"{int(totals.percent)}%",
        f"{format_size(totals.received)} / {format_size(totals.size)}",
    ]
    if totals.idle is not None:
        fields.append(terminal_text.idle(totals.idle))
    if totals.speed is not None:
        fields.append(format_rate(totals.speed))
    if totals.eta is not None:
        fields.append(f"ETA {format_duration(totals.eta)}")
    return [*fields, ", ".join(_sources(state))]


def _sources(state: RunState) -> list[str]:
    """Kinds of the sources in use; those of completed files, if no file under way names its source."""
    active = [file.source for file in state.active.values()]
    completed = [kind for model in state.models.values() for kind in model.sources]
    used = [kind for kind in active if kind not in ("", source_kinds.CACHE)]
    return list(dict.fromkeys(used or completed))

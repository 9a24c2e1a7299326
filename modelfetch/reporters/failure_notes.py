"""Failures told as they happen, and told once.

A mirror that answers 404 does so for every file of a model. The first file is told in full, the others are
counted, and the count is told at the end. That hosts cannot be reached is told once one of them was: as long
as none is, it is the network that is missing, and the error at the end says so in one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import field, replace
from typing import TYPE_CHECKING, Literal, TypeGuard

from modelfetch.engine.events import (
    Event,
    FileCommitted,
    FileQuarantined,
    ModelReady,
    Progress,
    RetryScheduled,
    RunFinished,
    SourceFailed,
)
from modelfetch.errors import Fault, UnavailableError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import sanitise
from modelfetch.notices import Notices
from modelfetch.reporters import words

if TYPE_CHECKING:
    from modelfetch.engine.record import Record
    from modelfetch.engine.state import FileId, RunState
    from modelfetch.reporters.words import Symbols

Kind = Literal["retry", "fallback", "lost", "detail"]

Failure = tuple[Kind, str, str, str]
"""What makes two failures the same: kind of note, kind of source, host, fault."""


_HERE = frozenset({"", "cache", "local"})
"""Sources that need no network."""
_UNREACHED = frozenset(fault for fault in Fault if fault.is_unreached)


@dataclass(frozen=True, slots=True)
class Note:
    """One line about a failure."""

    kind: Kind
    model: str
    """Empty for a count over several models."""
    file: str
    """The file, or how many of them."""
    text: str


@dataclass(slots=True)
class _Told:
    """A failure that was told for one file, and how often it came back for others."""

    file: FileId
    summary: Note
    others: set[FileId] = field(default_factory=set)


class Notes:
    """Turns the failures of one run into as few lines as say everything."""

    def __init__(self, symbols: Symbols, notices: Notices | None = None) -> None:
        self._symbols = symbols
        self._notices = notices or Notices()
        self._told: dict[Failure, _Told] = {}
        self._held: list[RetryScheduled | SourceFailed] = []
        """About hosts that were not reached, while none was."""
        self._is_online = False

    def take(self, record: Record) -> Iterator[Note]:
        """Return what is to be told at once about this record, if anything."""
        yield from self._overheard()
        event = record.event
        if not self._is_online and _shows_network(event, record.state):
            self._is_online = True
            yield from self._release()
        if isinstance(event, RunFinished):
            yield from self._release(is_said=_says_unreached(event))
        elif not self._is_online and _is_unreached(event):
            self._held.append(event)
        else:
            yield from self._notes(event)

    def _release(self, *, is_said: bool = False) -> Iterator[Note]:
        """Tell what was held back, unless something else says it."""
        held, self._held = self._held, []
        for event in held if not is_said else ():
            yield from self._notes(event)

    def _notes(self, event: Event) -> Iterator[Note]:
        if isinstance(event, FileQuarantined):
            text = f"{words.quarantined(event)}: {sanitise(event.path)}"
            yield Note("detail", event.model, event.file, text)
        elif isinstance(event, ModelReady) and event.note:
            yield Note("detail", event.model, "", f"note: {sanitise(event.note)}")
        elif isinstance(event, RetryScheduled):
            note = Note("retry", event.model, event.file, words.retry(event))
            yield from self._once(event, note, words.cause(event))
        elif isinstance(event, SourceFailed) and event.source != "cache":
            kind: Kind = "fallback" if event.next_source else "lost"
            text = words.fallback(event, self._symbols)
            yield from self._once(event, Note(kind, event.model, event.file, text), text)

    def rest(self) -> Iterator[Note]:
        """Return what was counted and not told, and start anew."""
        yield from self._overheard()
        for told in self._told.values():
            if told.others:
                count = f"{self._symbols.more} and {words.plural(len(told.others), 'more file')}"
                yield replace(told.summary, model="", file=count)
        self._told.clear()

    def _overheard(self) -> Iterable[Note]:
        """What came up beside the stream."""
        lines = self._notices.take()
        return [Note("detail", "", "", sanitise(f"note: {text}")) for text in lines] if lines else ()

    def _once(self, event: RetryScheduled | SourceFailed, note: Note, summary: str) -> Iterator[Note]:
        file = event.model, event.file
        told = self._told.setdefault(
            (note.kind, event.source, event.host, event.fault), _Told(file, replace(note, text=summary))
        )
        if told.file != file:
            told.others.add(file)
            return
        yield note
        if isinstance(event, SourceFailed) and event.hint:
            yield Note("detail", event.model, "", sanitise(event.hint))


def _is_unreached(event: Event) -> TypeGuard[RetryScheduled | SourceFailed]:
    return isinstance(event, RetryScheduled | SourceFailed) and event.fault in _UNREACHED


def _says_unreached(finished: RunFinished) -> bool:
    return finished.error is not None and finished.error.code == UnavailableError.code


def _shows_network(event: Event, state: RunState) -> bool:
    """Whether an event proves that some host was reached."""
    match event:
        case RetryScheduled() | SourceFailed():
            return event.source not in _HERE and not _is_unreached(event)
        case Progress() if event.source not in _HERE:
            return event.received > state.files[event.model, event.file].kept
        case FileCommitted():
            return event.fetched > 0
        case _:
            return False

"""Notes about failures: each kind of failure is reported once when it happens, and counted after that.

A mirror that answers 404 does so for every file of a model. The first file gets a note, the others are
counted, and the count is reported at the end of the model. Notes about hosts that cannot be reached are held
back until any host was reached: before that, the network itself is missing, and the error at the end says so
in one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, Literal, TypeGuard

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
from modelfetch.lazy_dataclass import dataclass, field, replace
from modelfetch.model.source_kinds import CACHE, WITHOUT_NETWORK
from modelfetch.model.text import sanitize
from modelfetch.notices import Notices
from modelfetch.reporters import terminal_text

if TYPE_CHECKING:
    from modelfetch.engine.record import Record
    from modelfetch.engine.state import FileId, RunState
    from modelfetch.reporters.terminal_text import Symbols

Kind = Literal["retry", "fallback", "lost", "detail"]

Failure = tuple[Kind, str, str, str]
"""Failures with equal values are counted together: kind of note, kind of source, host, fault."""


_UNREACHED = frozenset(fault for fault in Fault if fault.is_unreached)


@dataclass(frozen=True, slots=True)
class Note:
    """One line about a failure, or a notice."""

    kind: Kind
    model: str
    """Empty for a count of files, which may belong to several models."""
    file: str
    """The file, or the number of files."""
    text: str


@dataclass(slots=True)
class _Reported:
    """A failure that was reported for one file, and the other files that had it."""

    file: FileId
    summary: Note
    others: set[FileId] = field(default_factory=set)


_SHOWN: Final = (FileQuarantined, ModelReady, RetryScheduled, SourceFailed)
"""The events that may have a note: few of them."""


class Notes:
    """Turns the failures of one run into notes, without repeating equal ones."""

    def __init__(self, symbols: Symbols, notices: Notices | None = None) -> None:
        self._symbols = symbols
        self._notices = notices or Notices()
        self._reported: dict[Failure, _Reported] = {}
        self._held: list[RetryScheduled | SourceFailed] = []
        """Events about unreachable hosts, as long as no host was reached."""
        self._is_online = False

    def add(self, record: Record) -> Iterator[Note]:
        """Read one record, and yield the notes to report now."""
        yield from self._take_notices()
        event = record.event
        if not self._is_online and _shows_network(event, record.state):
            self._is_online = True
            yield from self._release()
        if isinstance(event, RunFinished):
            yield from self._release(is_in_error=_says_unreached(event))
        elif not self._is_online and _is_unreached(event):
            self._held.append(event)
        elif isinstance(event, _SHOWN):
            yield from self._notes(event)

    def _release(self, *, is_in_error: bool = False) -> Iterator[Note]:
        """Yield the notes that were held back, unless the error of the run says the same."""
        held, self._held = self._held, []
        for event in held if not is_in_error else ():
            yield from self._notes(event)

    def _notes(self, event: Event) -> Iterator[Note]:
        if isinstance(event, FileQuarantined):
            text = f"{terminal_text.quarantined(event)}: {sanitize(event.path)}"
            yield Note("detail", event.model, event.file, text)
        elif isinstance(event, ModelReady) and event.note:
            yield Note("detail", event.model, "", f"note: {sanitize(event.note)}")
        elif isinstance(event, RetryScheduled):
            note = Note("retry", event.model, event.file, terminal_text.retry(event))
            yield from self._once(event, note, terminal_text.cause(event))
        elif isinstance(event, SourceFailed) and event.source != CACHE:
            kind: Kind = "fallback" if event.next_source else "lost"
            text = terminal_text.fallback(event, self._symbols)
            yield from self._once(event, Note(kind, event.model, event.file, text), text)

    def rest(self) -> Iterator[Note]:
        """Yield the counts that were not reported yet, and reset them."""
        yield from self._take_notices()
        for reported in self._reported.values():
            if reported.others:
                count = f"{self._symbols.more} and {terminal_text.plural(len(reported.others), 'more file')}"
                yield replace(reported.summary, model="", file=count)
        self._reported.clear()

    def _take_notices(self) -> Iterable[Note]:
        """Notices that are not in the events."""
        lines = self._notices.take()
        return [Note("detail", "", "", sanitize(f"note: {text}")) for text in lines] if lines else ()

    def _once(self, event: RetryScheduled | SourceFailed, note: Note, summary: str) -> Iterator[Note]:
        file = event.model, event.file
        reported = self._reported.setdefault(
            (note.kind, event.source, event.host, event.fault), _Reported(file, replace(note, text=summary))
        )
        # The file of the first note gets all of its notes, as each has another attempt or time.
        if reported.file != file:
            reported.others.add(file)
            return
        yield note
        if isinstance(event, SourceFailed) and event.hint:
            yield Note("detail", event.model, "", sanitize(event.hint))


def _is_unreached(event: Event) -> TypeGuard[RetryScheduled | SourceFailed]:
    return isinstance(event, RetryScheduled | SourceFailed) and event.fault in _UNREACHED


def _says_unreached(finished: RunFinished) -> bool:
    return finished.error is not None and finished.error.code == UnavailableError.code


def _shows_network(event: Event, state: RunState) -> bool:
    """Whether an event shows that a host was reached."""
    match event:
        case RetryScheduled() | SourceFailed():
            return event.source not in WITHOUT_NETWORK and not _is_unreached(event)
        case Progress() if event.source not in WITHOUT_NETWORK:
            return event.received > state.files[event.model, event.file].kept
        case FileCommitted():
            return event.fetched > 0
        case _:
            return False

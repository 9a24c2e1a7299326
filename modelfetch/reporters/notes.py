"""Failures told as they happen, and told once.

A mirror that answers 404 does so for every file of a model. The first file is told in full, the others are
counted, and the count is told at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field, replace
from typing import Literal

from modelfetch.engine.events import FileQuarantined, ModelReady, RetryScheduled, SourceFailed
from modelfetch.engine.record import Record
from modelfetch.engine.state import Key
from modelfetch.model.text import sanitise
from modelfetch.reporters import words
from modelfetch.reporters.symbols import Symbols
from modelfetch.values import dataclass

Kind = Literal["retry", "fallback", "lost", "detail"]

Failure = tuple[Kind, str, str, str]
"""What makes two failures the same: kind of note, kind of source, host, fault."""


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

    file: Key
    summary: Note
    others: set[Key] = field(default_factory=set)


class Notes:
    """Turns the failures of one run into as few lines as say everything."""

    def __init__(self, symbols: Symbols) -> None:
        self._symbols = symbols
        self._told: dict[Failure, _Told] = {}

    def take(self, record: Record) -> Iterator[Note]:
        """Return what is to be told at once about this record, if anything."""
        event = record.event
        if isinstance(event, FileQuarantined):
            text = f"the wrong bytes were put aside in {sanitise(event.path)}"
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
        for told in self._told.values():
            if told.others:
                count = f"{self._symbols.more} and {words.plural(len(told.others), 'more file')}"
                yield replace(told.summary, model="", file=count)
        self._told.clear()

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

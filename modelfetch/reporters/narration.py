"""One line of text for each event that matters to a user. Pure.

The lines are for people: they are the field ``human`` of a job's events and the output of ``log``. Programs
read the fields of the event instead. Text from servers and manifests is sanitized. Examples::

    📥 Downloading model: demo
    📊 Progress: 40.5% (19.8 MB / 48.8 MB)
    🔒 tokenizer.json: verified
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from modelfetch.engine.events import (
    FileCommitted,
    FileQuarantined,
    FileStarted,
    FileVerified,
    LockWaiting,
    ModelReady,
    Planned,
    RetryScheduled,
    RunFinished,
    RunStarted,
    SourceFailed,
)
from modelfetch.errors import Fault
from modelfetch.model.source_kinds import CACHE
from modelfetch.model.text import sanitize
from modelfetch.model.units import format_duration, format_size

if TYPE_CHECKING:
    from modelfetch.engine.record import Record
    from modelfetch.engine.totals import Totals

_UNITS: Final = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"))


_MODEL: Final = "model"


def narrate(record: Record, kind_of: Callable[[str], str] = lambda _: _MODEL) -> str:
    """Line for one record; empty for records without one.

    Args:
        record: The record.
        kind_of: Kind of the manifest of a model, by its name. The events do not have it, and a worker is not
            called a model.
    """
    if record.figures is not None:
        return _progress(record.figures.totals)
    format_line = _LINES[record.state.operation].get(type(record.event))
    if format_line is None:
        return ""
    if isinstance(record.event, RunStarted | Planned | ModelReady):
        return sanitize(format_line(record.event, _kind(record.event, kind_of)))
    return sanitize(format_line(record.event))


def _kind(event: RunStarted | Planned | ModelReady, kind_of: Callable[[str], str]) -> str:
    """Kind of all models of an event; several kinds are called models."""
    kinds = {kind_of(name) for name in (event.models if isinstance(event, RunStarted) else [event.model])}
    return kinds.pop() if len(kinds) == 1 else _MODEL


def _progress(totals: Totals) -> str:
    """Progress of the whole run; the percentage is rounded down, so that 100 means complete."""
    percent = math.floor(totals.percent * 10) / 10
    idle = "" if totals.idle is None else f", no data for {totals.idle:.0f} s"
    return f"📊 Progress: {percent:.1f}% ({_share(totals.received, totals.size)}){idle}"


def _share(received: int, size: int) -> str:
    """Both amounts in the unit of the larger one, so that they can be compared."""
    for scale, unit in _UNITS:
        if size >= scale:
            return f"{received / scale:.1f} {unit} / {size / scale:.1f} {unit}"
    return f"{received} B / {size} B"


def _started(verb: str, event: RunStarted, kind: str) -> str:
    return f"🔍 {verb} {kind}: {', '.join(event.models)}"


def _waiting(event: LockWaiting) -> str:
    got = f": {_share(event.received, event.size)}" if event.size else ""
    return f"⏳ Waiting for {event.holder or 'another process'} ({format_duration(event.waited)}){got}"


def _planned(event: Planned, kind: str) -> str:
    if any(file.state != "kept" for file in event.files):
        return f"📥 Downloading {kind}: {event.model}"
    return f"📦 {kind.capitalize()} already present: {event.model}"


def _file_started(event: FileStarted) -> str:
    resumed = f", resumed at {format_size(event.offset)}" if event.offset else ""
    return f"📄 {event.file}: {format_size(event.size)}{resumed}"


def _retry(event: RetryScheduled) -> str:
    where = _place(event.source, event.host)
    return f"🔁 {event.file}: {where}: {event.reason}; attempt {event.attempt} in {event.wait:.1f}s"


def _source_failed(event: SourceFailed) -> str:
    what = f"{event.file}: {_place(event.source, event.host)}: {event.reason}"
    if not event.next_source:
        return f"❌ {what}; no source left"
    return f"🔀 {what}; falling back to {_place(event.next_source, event.next_host)}"


def _found_bad(event: SourceFailed) -> str:
    sign = "🔎" if event.fault == Fault.UNLISTED else "❌"
    return f"{sign} {event.file}: {event.reason}" if event.source == CACHE else _source_failed(event)


def _verified(event: FileVerified) -> str:
    return f"🔒 {event.file}: verified"


def _quarantined(event: FileQuarantined) -> str:
    # A file that no manifest lists has no expected digest: its bytes are not wrong.
    what = "wrong bytes moved to quarantine" if event.expected else "moved to quarantine"
    return f"🚫 {event.file}: {what}: {event.path}"


def _committed(event: FileCommitted) -> str:
    if not event.parts:
        return f"📦 {event.file}: done, from {_place(event.source, event.host)}"
    from modelfetch.reporters.terminal_text import origins  # few files have several sources

    return f"📦 {event.file}: done, from {origins(event)}"


def _ready(event: ModelReady, kind: str) -> str:
    return f"✅ {kind.capitalize()} ready: {event.model} ({format_size(event.size)})"


def _finished(what: str, event: RunFinished) -> str:
    if event.outcome == "completed":
        return f"✅ {what} complete"
    if event.outcome == "cancelled":
        return f"❌ {what} cancelled"
    return f"❌ {what} failed: {event.error.message if event.error else 'unknown error'}"


def _place(source: str, host: str) -> str:
    return source if host == source else f"{source} {host}".strip()


LineFormatter = Callable[..., str]

_COMMON: Final[Mapping[type, LineFormatter]] = {
    LockWaiting: _waiting,
    RetryScheduled: _retry,
    FileVerified: _verified,
    FileQuarantined: _quarantined,
    FileCommitted: _committed,
    ModelReady: _ready,
}
_LINES: Final[Mapping[str, Mapping[type, LineFormatter]]] = {
    "ensure": {
        **_COMMON,
        RunStarted: partial(_started, "Looking for"),
        Planned: _planned,
        FileStarted: _file_started,
        SourceFailed: _source_failed,
        RunFinished: partial(_finished, "Download"),
    },
    "verify": {
        **_COMMON,
        RunStarted: partial(_started, "Verifying"),
        SourceFailed: _found_bad,
        RunFinished: partial(_finished, "Verification"),
    },
}
"""By operation and type of event; those that name models get their kind, too. Files that are present and
plans of a verification have no line."""

"""The envelope: an event with its run, number, time and figures, and its form in JSON.

It is put on once, at the outlet of the stream (:mod:`modelfetch.engine.stream`), so the engine itself needs
no numbers and no calendar. The JSON form is the contract described in ``docs/reference/events.md``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from modelfetch.engine.events import Event, Progress
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.decode import decode

if TYPE_CHECKING:
    from modelfetch.engine.state import FileState, RunState, Totals

VERSION: Final = 1
"""Version of the JSON form; a reader may rely on every field of its version."""

_KINDS: Final[Mapping[str, type[Event]]] = {kind.kind: kind for kind in get_args(Event)}


@dataclass(frozen=True, slots=True)
class Figures:
    """What the fold knew right after a :class:`~modelfetch.engine.events.Progress`."""

    speed: float | None
    """Bytes per second of this file, or None while unknown."""
    eta: float | None
    """Seconds until its last byte, or None while unknown."""
    idle: float | None
    """Seconds without a byte, from :data:`modelfetch.engine.totals.IDLE_SECONDS` on; then it has no speed and
    no ETA. None while bytes come."""
    percent: float
    totals: Totals

    @classmethod
    def after(cls, event: Progress, state: RunState) -> Figures:
        """Take the figures of one file, and of the run, out of the fold."""
        file = state.files[event.model, event.file]
        return cls(file.speed, file.eta, file.idle, file.percent, state.totals)


@dataclass(frozen=True, slots=True)
class Record:
    """One event of one run, as it leaves the engine."""

    run: str
    n: int
    """0 for the first; no number is missing."""
    at: datetime
    """When it left the engine, in UTC."""
    event: Event
    state: RunState
    """The run after this event. All records of a run share it, so read it before asking for the next one."""
    figures: Figures | None = None
    """For :class:`~modelfetch.engine.events.Progress` only."""
    now: float = 0.0
    """Seconds on the clock of the run, when it left the engine: for those who read it later."""


def to_json(record: Record) -> dict[str, Any]:
    """Give a record the form of ``--json``, ready for :func:`json.dumps`.

    Bytes, bytes per second and attempts are whole numbers; seconds have three decimals, percent one.
    """
    return {
        "v": VERSION,
        "run": record.run,
        "n": record.n,
        "at": timestamp(record.at),
        "event": record.event.kind,
        **{name: _plain(getattr(record.event, name)) for name in _names(cast("Any", type(record.event)))},
        **_derived(record.figures),
    }


def from_json(document: Mapping[str, Any]) -> Event | None:
    """Read the event of a record back: the inverse of :func:`to_json`.

    Fields that are not known here are passed over, and so is what was derived: whoever folds the event has
    that anew.

    Returns:
        The event; None when it is of a kind that is not known here.

    Raises:
        ValueError: The form has another version, or a field is missing or not what it should be.
    """
    if document.get("v") != VERSION:
        raise ValueError(f"not version {VERSION} of the form of events")
    kind = _KINDS.get(str(document.get("event")))
    return None if kind is None else decode(kind, document)


def _derived(figures: Figures | None) -> dict[str, Any]:
    if figures is None:
        return {}
    totals = figures.totals
    return {
        **rates(figures),
        "totals": {
            "received": totals.received,
            "size": totals.size,
            **rates(totals),
            "files": totals.files,
            "files_done": totals.files_done,
        },
    }


def timestamp(at: datetime) -> str:
    """Write a time in UTC as JSON has it here: ``2026-11-20T06:00:00.000Z``."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rates(figures: Figures | Totals | FileState) -> dict[str, Any]:
    """Give speed, ETA, idle time and percent the form they have in JSON."""
    return {
        "speed": None if figures.speed is None else round(figures.speed),
        "eta": None if figures.eta is None else round(figures.eta, 3),
        "idle": None if figures.idle is None else round(figures.idle, 3),
        # Cut, not rounded: 99.96 of something unfinished must not read 100.
        "percent": math.floor(figures.percent * 10) / 10,
    }


def _plain(value: Any) -> Any:
    """Make a value one that JSON has: tuples become lists, floats are finite and short."""
    if isinstance(value, str | int) or value is None:
        return value
    if isinstance(value, float):
        return round(value, 3) if math.isfinite(value) else None
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return {name: _plain(getattr(value, name)) for name in _names(cast("Any", type(value)))}


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    """The fields of a dataclass; looked up once, for there are thousands of events in a run."""
    return tuple(field.name for field in fields(kind))

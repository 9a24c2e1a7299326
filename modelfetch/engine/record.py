"""Records: an event with its run, number, time and figures, and its form in JSON.

Records are made in one place (:mod:`modelfetch.engine.stream`), so the engine itself needs no numbers and no
time of day. The JSON form is the contract described in ``docs/reference/events.md``.

Example::

    {"v": 1, "run": "3f9a1c02b7de", "n": 4, "at": "2026-11-20T06:00:00.000Z", "event": "file_kept",
     "model": "whisper", "file": "model.bin", "size": 1000}
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, get_args

from modelfetch.engine.events import Event, Progress
from modelfetch.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from modelfetch.engine.state import FileState, RunState, Totals

VERSION: Final = 1
"""Version of the JSON form; a reader may rely on every field of its version."""

_AS_THEY_ARE: Final = frozenset({str, int, bool, type(None)})
"""Types of values that are the same in JSON: nearly all. Asking for the class of each is slower."""
_KINDS: Final[Mapping[str, type[Event]]] = {kind.kind: kind for kind in get_args(Event)}


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a run right after a :class:`~modelfetch.engine.events.Progress`."""

    speed: float | None
    """Bytes per second of this file, or None while unknown."""
    eta: float | None
    """Seconds until its last byte, or None while unknown."""
    idle: float | None
    """Seconds without a byte, from :data:`modelfetch.engine.speed_and_eta.IDLE_SECONDS` on; then it has no
    speed and no ETA. None while bytes come."""
    percent: float
    totals: Totals

    @classmethod
    def after(cls, event: Progress, state: RunState) -> Figures:
        """Read the figures of the file of an event, and of the run, from the state of the run."""
        file = state.files[event.model, event.file]
        return cls(file.speed, file.eta, file.idle, file.percent, state.totals)


@dataclass(frozen=True, slots=True)
class Record:
    """One event of one run, as the reporters receive it."""

    run: str
    n: int
    """Number of the record in its run, from 0, without gaps."""
    at: datetime
    """Time when the engine reported it, in UTC."""
    event: Event
    state: RunState
    """The run after this event. All records of a run share it, so read it before the next record is made."""
    figures: Figures | None = None
    """Only for :class:`~modelfetch.engine.events.Progress`, else None."""
    now: float = 0.0
    """Time of the event on the clock of the run, in seconds, for reporters that read it later."""


def to_json(record: Record) -> dict[str, Any]:
    """Convert a record to the form of ``--json``, for :func:`json.dumps`.

    Bytes, bytes per second and attempts are whole numbers; seconds have three decimals, percent one.
    """
    return {
        "v": VERSION,
        "run": record.run,
        "n": record.n,
        "at": timestamp(record.at),
        "event": record.event.kind,
        **{name: _to_json_value(getattr(record.event, name)) for name in type(record.event).__match_args__},
        **_derived(record.figures),
    }


def from_json(document: Mapping[str, Any]) -> Event | None:
    """Read the event of a record: the inverse of :func:`to_json`.

    Unknown fields are ignored, and so are the derived figures: they follow from the events.

    Returns:
        The event, or None if its kind is unknown.

    Raises:
        ValueError: The version differs, or a field is missing or has a wrong type.
    """
    if document.get("v") != VERSION:
        raise ValueError(f"not version {VERSION} of the form of events")
    kind = _KINDS.get(str(document.get("event")))
    if kind is None:
        return None
    from modelfetch.model.decode import decode

    return decode(kind, document)


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
    """Format a time in UTC for JSON: ``2026-11-20T06:00:00.000Z``."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rates(figures: Figures | Totals | FileState) -> dict[str, Any]:
    """Convert speed, ETA, idle time and percent to JSON, rounded; percent has one decimal."""
    return {
        "speed": None if figures.speed is None else round(figures.speed),
        "eta": None if figures.eta is None else round(figures.eta, 3),
        "idle": None if figures.idle is None else round(figures.idle, 3),
        # Rounded down: 99.96 of something unfinished must not become 100.
        "percent": math.floor(figures.percent * 10) / 10,
    }


def _to_json_value(value: Any) -> Any:
    """Convert a value to JSON: tuples become lists, floats have three decimals, infinite ones become null."""
    if type(value) in _AS_THEY_ARE or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return round(value, 3) if math.isfinite(value) else None
    if isinstance(value, tuple | list):
        return [_to_json_value(item) for item in value]
    return {name: _to_json_value(getattr(value, name)) for name in type(value).__match_args__}

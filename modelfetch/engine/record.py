"""The envelope: an event with its run, number, time and figures, and its form in JSON.

It is put on once, at the outlet of the stream (:mod:`modelfetch.engine.stream`), so the engine itself needs
no numbers and no calendar. The JSON form is the contract described in ``docs/reference/events.md``.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from modelfetch.engine.events import Event, Progress
from modelfetch.engine.state import RunState, Totals

VERSION: Final = 1
"""Version of the JSON form; a reader may rely on every field of its version."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What the fold knew right after a :class:`~modelfetch.engine.events.Progress`."""

    speed: float | None
    """Bytes per second of this file, or None while unknown."""
    eta: float | None
    """Seconds until its last byte, or None while unknown."""
    percent: float
    totals: Totals

    @classmethod
    def after(cls, event: Progress, state: RunState) -> Figures:
        """Take the figures of one file, and of the run, out of the fold."""
        file = state.files[event.model, event.file]
        return cls(file.speed, file.eta, file.percent, state.totals)


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


def to_json(record: Record) -> dict[str, Any]:
    """Give a record the form of ``--json``, ready for :func:`json.dumps`.

    Bytes, bytes per second and attempts are whole numbers; seconds have three decimals, percent one.
    """
    return {
        "v": VERSION,
        "run": record.run,
        "n": record.n,
        "at": record.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "event": record.event.kind,
        **_plain(asdict(record.event)),
        **_derived(record.figures),
    }


def _derived(figures: Figures | None) -> dict[str, Any]:
    if figures is None:
        return {}
    totals = figures.totals
    return {
        **_rates(figures),
        "totals": {
            "received": totals.received,
            "size": totals.size,
            **_rates(totals),
            "files": totals.files,
            "files_done": totals.files_done,
        },
    }


def _rates(figures: Figures | Totals) -> dict[str, Any]:
    return {
        "speed": None if figures.speed is None else round(figures.speed),
        "eta": None if figures.eta is None else round(figures.eta, 3),
        # Cut, not rounded: 99.96 of something unfinished must not read 100.
        "percent": math.floor(figures.percent * 10) / 10,
    }


def _plain(value: Any) -> Any:
    """Make a value one that JSON has: tuples become lists, floats are finite and short."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 3) if math.isfinite(value) else None
    return value

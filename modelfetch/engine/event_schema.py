"""JSON Schemas of the events, made from their dataclasses.

They describe what :func:`~modelfetch.engine.record.to_json` writes: the envelope, the fields of the event,
and for ``progress`` the figures. ``docs/reference/events.md`` has the meaning of each field. An example,
shortened::

    >>> event_schemas()["file_kept"]["properties"]["event"]
    {'const': 'file_kept'}
"""

from __future__ import annotations

from typing import Final, get_args

from modelfetch.engine.events import Event, Progress
from modelfetch.engine.record import VERSION
from modelfetch.model.json_schema import Describe, Schema, nullable, object_of, schema_of

RATES: Final[dict[str, Schema]] = {
    "speed": nullable(schema_of(int)),
    "eta": nullable(schema_of(float)),
    "idle": nullable(schema_of(float)),
    "percent": {"type": "number", "minimum": 0, "maximum": 100},
}
"""What :func:`~modelfetch.engine.record.rates` writes: bytes per second, seconds, seconds, percent."""

_NUMBER: Final = schema_of(int)
TOTALS: Final = object_of(
    {"received": _NUMBER, "size": _NUMBER, **RATES, "files": _NUMBER, "files_done": _NUMBER}
)
"""The figures of a whole run."""


def event_schemas(describe: Describe | None = None) -> dict[str, Schema]:
    """Return the schema of each kind of event, by its name.

    Args:
        describe: Returns the description of a field of an event.
    """
    return {kind.kind: _schema(kind, describe) for kind in get_args(Event)}


def _schema(kind: type[Event], describe: Describe | None) -> Schema:
    own = schema_of(kind, describe)["properties"]
    figures = {**RATES, "totals": TOTALS} if kind is Progress else {}
    return object_of({**_envelope(kind.kind), **own, **figures})


def _envelope(name: str) -> dict[str, Schema]:
    return {
        "v": {"const": VERSION},
        "run": {"type": "string", "pattern": "^[0-9a-f]{12}$"},
        "n": {"type": "integer", "minimum": 0},
        "at": {"type": "string", "format": "date-time"},
        "event": {"const": name},
    }

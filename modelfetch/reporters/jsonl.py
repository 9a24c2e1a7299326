"""The stream for programs: one JSON object per line, as ``docs/reference/events.md`` describes it."""

from __future__ import annotations

import json
from typing import TextIO

from modelfetch.engine.record import Record, to_json
from modelfetch.model.text import inert


class JsonLines:
    """Writes each record at once.

    A reader that went away raises :class:`BrokenPipeError` from :meth:`report`.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def report(self, record: Record) -> None:
        """Write one line and flush it."""
        self._out.write(dumps(record) + "\n")
        self._out.flush()

    def close(self) -> None:
        """Do nothing: the stream belongs to the caller, and every line is out."""


def dumps(record: Record) -> str:
    """Write a record as one line of printable ASCII, whatever bytes a server or a manifest put into it."""
    return inert(json.dumps(to_json(record), allow_nan=False, separators=(",", ":")))

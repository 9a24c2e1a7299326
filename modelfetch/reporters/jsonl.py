"""Events for programs: one JSON object per line, in the format of ``docs/reference/events.md``.

Each line is flushed at once, so that a program can follow a run. Lines are printable ASCII: bytes that come
from servers and manifests are escaped. An example, shortened::

    {"v":1,"run":"a783b0705da3","n":2,"at":"2026-11-28T19:48:09.542Z","event":"file_started",...}
"""

from __future__ import annotations

import json
from typing import TextIO

from modelfetch.engine.record import Record, to_json
from modelfetch.model.text import inert


class JsonLines:
    """Writes each record at once.

    :meth:`report` raises :class:`BrokenPipeError` if the reader has closed the other end of the pipe.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def report(self, record: Record) -> None:
        """Write one line and flush it."""
        self._out.write(dumps(record) + "\n")
        self._out.flush()

    def close(self) -> None:
        """Do nothing: the stream belongs to the caller, and every line is flushed."""


def dumps(record: Record) -> str:
    """Format a record as one line of printable ASCII, whatever bytes came from a server or a manifest."""
    return inert(json.dumps(to_json(record), allow_nan=False, separators=(",", ":")))

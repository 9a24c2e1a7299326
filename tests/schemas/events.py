"""Makes ``docs/reference/schemas/events.json``: types from the dataclasses, descriptions from the reference.

After a change of an event or of ``docs/reference/events.md``::

    python -m tests.schemas
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, get_args

from modelfetch.engine.event_schema import event_schemas
from modelfetch.engine.events import ErrorInfo, Event, FileResult, PlannedFile
from tests.schemas.checking import DIALECT
from tests.test_docs import REFERENCE, section, tables, terms

_ENTRIES: dict[type, tuple[str, int]] = {
    PlannedFile: ("planned", 1),
    FileResult: ("run_finished", 1),
    ErrorInfo: ("run_finished", 2),
}
"""Where the objects within events are described: the section, and which of its tables."""
_ERROR = {"anyOf": [{"$ref": "error.json#/$defs/error"}, {"type": "null"}]}
_HUMAN = {"description": "Its narration line; only from a server, and from the history.", "type": "string"}


def document() -> dict[str, Any]:
    """The schema of one event."""
    kinds = event_schemas(_described)
    for kind, schema in kinds.items():
        properties = schema["properties"]
        for name, text in _table("The envelope", 0).items():
            properties[name] = {"description": text, **properties[name]}
        if kind == "progress":
            _describe_figures(properties)
        if kind == "run_finished":  # before a run, an error may have details
            properties["error"] = {"description": properties["error"]["description"], **_ERROR}
        properties["human"] = _HUMAN
    return {
        "$schema": DIALECT,
        "$id": "events.json",
        "title": "Event",
        "description": "One line of what ensure, verify, attach and bundle pull print with --json.",
        "anyOf": [{"$ref": f"#/$defs/{kind}"} for kind in kinds],
        "$defs": kinds,
    }


def _describe_figures(properties: dict[str, Any]) -> None:
    for name, text in _table("`progress`", 0).items():
        properties[name] = {"description": text, **properties[name]}
    totals = properties["totals"] = {**properties["totals"]}
    texts = _table("`progress`", 1)
    totals["properties"] = {
        name: {"description": texts[name], **schema} for name, schema in totals["properties"].items()
    }


def _described(kind: type, name: str) -> str:
    where = {each: (each.kind, 0) for each in get_args(Event)} | _ENTRIES
    heading, number = where[kind]
    return _table(f"`{heading}`", number)[name]


@cache
def _table(heading: str, number: int) -> dict[str, str]:
    """What a table of the reference says about each field."""
    rows = tables(section(REFERENCE / "events.md", heading))[number]
    return {term: _plain(row[1]) for row in rows for term in terms(row[0])}


def _plain(text: str) -> str:
    """A sentence without the marks of Markdown."""
    text = text.replace(", see below", "").replace(": one of those below", "")
    words = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", text).replace("`", "")
    first = words[:1] if text.startswith("`") else words[:1].upper()
    return f"{first}{words[1:]}{'' if words.endswith('.') else '.'}"


def text() -> str:
    """The file as it must be."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"

"""Validates what commands print with ``--json`` by the schemas of ``docs/reference/schemas``.

The published schemas are open, since a reader must ignore what a later version adds. Here each object is
closed first: a property that its schema does not have is an error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelfetch.cli.help import ALIASES
from modelfetch.cli.output import prints_events
from modelfetch.signal_exit_codes import SIGNAL_BASE

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DIRECTORY = Path(__file__).parents[2] / "docs" / "reference" / "schemas"
GROUPS = ("bundle", "config", "quarantine", "swarm")


@cache
def documents() -> dict[str, Any]:
    """Every schema as it is published, by its name."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(DIRECTORY.glob("*.json"))}


def closed(schema: Any) -> Any:
    """A schema whose objects may have no other properties than those it names."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        inner.setdefault("additionalProperties", False)
    return inner


@cache
def validator(reference: str) -> Draft202012Validator:
    """The validator of a closed schema, such as ``list.json`` or ``events.json#/$defs/planned``."""
    # Here, as most test workers never need them.
    from jsonschema import Draft202012Validator, FormatChecker
    from referencing import Resource
    from referencing.jsonschema import DRAFT202012

    formats = FormatChecker(formats=())
    formats.checks("date-time", ValueError)(_is_time)
    return Draft202012Validator(
        {"$ref": reference}, registry=_registry(Resource, DRAFT202012), format_checker=formats
    )


@cache
def _registry(resource: Any, dialect: Any) -> Any:
    from referencing import Registry

    found = ((f"{name}.json", resource(closed(document), dialect)) for name, document in documents().items())
    return Registry().with_resources(found).crawl()


def _is_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


def fault(reference: str, value: object) -> str:
    """The gravest fault of a value by a schema, with its place in the value; empty if there is none."""
    from jsonschema.exceptions import best_match

    error = best_match(validator(reference).iter_errors(value))
    return "" if error is None else f"{error.json_path}: {error.message}"


def schema_of_command(words: Sequence[str]) -> str:
    """The name of the schema of a command."""
    if prints_events(words):
        return "events"
    name = ALIASES.get(words[0], words[0])
    return "-".join((name, *words[1:2])) if name in GROUPS else name


def check_output(words: Sequence[str], code: int, out: str) -> None:
    """Check what a command printed on stdout, if it was called with ``--json``.

    Args:
        words: The arguments of the command.
        code: Its exit code.
        out: All of its stdout.
    """
    end = words.index("--") if "--" in words else len(words)
    if "--json" not in words[:end] or {"--help", "-h"} & {*words[:end]}:
        return
    if not out:  # a signal may come before anything is printed
        assert code > SIGNAL_BASE, f"{words} printed nothing, and ended with {code}"
        return
    name = schema_of_command(words)
    if name == "events":
        for line in out.splitlines():
            check_event(json.loads(line))
    else:
        _check_document(name, json.loads(out), code)


def check_event(event: dict[str, Any]) -> None:
    """Check one event."""
    found = fault(f"events.json#/$defs/{event.get('event')}", event)
    assert not found, f"{found} in {event}"


def _check_document(name: str, document: Any, code: int) -> None:
    if code and isinstance(document, dict) and document.keys() == {"error", "exit_code"}:
        assert document["exit_code"] == code
        name = "error"
    found = fault(f"{name}.json", document)
    assert not found, f"{found} in {document}"

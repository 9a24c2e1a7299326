"""JSON Schemas of the request bodies that :mod:`modelfetch.server.requests` parses.

They are as strict as the parser: a body that fits is accepted as far as its form goes, one that does not fit
is answered with 400. Unlike the documents of answers, bodies are closed: unknown keys are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from modelfetch.model.json_schema import Schema, nullable, object_of, schema_of
from modelfetch.server.requests import MAX_PATTERNS

_FLAG: Final = nullable(schema_of(bool))
_UNSET: Final[Schema] = {"enum": [False, None]}
"""A flag that another value of ``operation`` is for."""
_TEXT: Final[Schema] = {"type": "string", "minLength": 1}
_HIVE: Final[Schema] = {
    "type": ["string", "null"],
    "description": "Ignored; sent by clients of an earlier system.",
}


def _closed(properties: Mapping[str, Schema], required: Sequence[str] = ()) -> Schema:
    optional = [name for name in properties if name not in required]
    return object_of(properties, optional) | {"additionalProperties": False}


def _submission(operations: Sequence[str], repair: Schema, force: Schema) -> Schema:
    operation: Schema = {"type": "string", "enum": list(operations)}
    properties = {
        "operation": operation,
        "model": {**_TEXT, "description": "Name or alias of a model of the server's catalogs."},
        "repair": repair,
        "force": force,
        "hive_id": _HIVE,
    }
    return _closed(properties, ("operation", "model"))


SUBMISSION: Final[Schema] = {
    "oneOf": [
        _submission(("model_download", "worker_download"), _UNSET, _FLAG),
        _submission(("model_verify",), _FLAG, _UNSET),
    ]
}
"""Body of ``POST /v1/jobs``."""

PIN: Final = _closed(
    {
        "reference": {"type": "string", "pattern": r"\S"},
        "name": nullable(schema_of(str)),
        "include": {"type": ["array", "null"], "items": _TEXT, "maxItems": MAX_PATTERNS},
        "dry_run": _FLAG,
    },
    ("reference",),
)
"""Body of ``POST /v1/pins``."""

CLEAR: Final = _closed({"job_id": nullable(schema_of(str))})
"""Body of ``POST /v1/jobs/clear``."""

EMPTY: Final = _closed({})
"""Body of a request without options."""

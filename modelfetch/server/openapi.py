"""The OpenAPI 3.1 description of the HTTP API, made from :mod:`modelfetch.server.api_table`.

Served at ``/openapi.json``, with the token as everything that is not a file of the panel. Schemas that
several answers share are components, and named after their types::

    {"openapi":"3.1.0",...,"paths":{"/v1/jobs/{job_id}":{"get":{"operationId":"getJob",...}}},
     "components":{"schemas":{"Job":{"type":"object",...}},...}}
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import is_dataclass
from functools import cache
from typing import Any, Final

from modelfetch.engine.event_schema import event_schemas
from modelfetch.model.json_schema import Schema, object_of, schema_of
from modelfetch.server import api_documents, api_job_documents, api_sharing_documents
from modelfetch.server.api_table import (
    COMMON,
    ENDPOINTS,
    ERRORS,
    JSON,
    SHARED_COMMON,
    Answer,
    Endpoint,
    Parameter,
)
from modelfetch.server.share_table import SHARED_ENDPOINTS
from modelfetch.version import __version__

_PATH_PARAMETER: Final = re.compile(r"\{(\w+)(?::path)?\}")
_PATH_WORDS: Final = {
    "job_id": "The id of a job.",
    "name": "The name or an alias of a model.",
    "entry_id": "The id of an entry, or its first digits.",
    "digest": "A SHA-256 in lower-case hexadecimal.",
    "type": "`datasets` or `spaces`.",
    "owner": "The owner of a repository.",
    "repo": "The name of a repository; in the API of Hugging Face, with what is asked about it.",
    "revision": "A branch, tag or commit.",
    "file": "A branch, tag or commit, and the path of a file.",
    "item": "What a registry has: `NAME/manifests/TAG`, `NAME/blobs/DIGEST` or `NAME/tags/list`.",
    "content": "A CID, and the path of a file below it.",
}
_OF_JOBS: Final = ("getJob", "cancelJob", "retryJob", "followJob")
_OF_ENTRIES: Final = ("getEntry", "restoreEntry", "purgeEntry")
_LINKS: Final = {
    "submitJob": ("/job_id", "job_id", _OF_JOBS),
    "retryJob": ("/job_id", "job_id", _OF_JOBS),
    "listJobs": ("/jobs/0/job_id", "job_id", _OF_JOBS),
    "listModels": ("/models/0/name", "name", ("getModel", "removeModel")),
    "listQuarantine": ("/entries/0/id", "entry_id", _OF_ENTRIES),
}
"""By operation: where its answer has an id (a JSON pointer), and the operations that take it, by which
parameter. Tools that test an API get real ids so."""
_RULES: Final = """\
Sizes are bytes, durations seconds, times UTC. Fields of answers are added, never renamed or removed, so
ignore fields that you do not know. Requests with a body need the media type application/json. A path that
supports another method only is answered with 405 `bad_method`."""


@cache
def description(*, is_sharing: bool = False) -> dict[str, Any]:
    """Return the OpenAPI document; it is made once.

    Args:
        is_sharing: Whether the server has the shared endpoints.
    """
    endpoints = (*ENDPOINTS, *SHARED_ENDPOINTS) if is_sharing else ENDPOINTS
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        path = _PATH_PARAMETER.sub(r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "modelfetch",
            "version": __version__,
            "summary": "Fetch pinned models, and follow that.",
            "description": " ".join(_RULES.split()),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        # Relative to the address of this document, so that a path of a reverse proxy stays.
        "servers": [{"url": "."}],
        "security": [{"token": []}],
        "tags": [{"name": name} for name in dict.fromkeys(endpoint.tag for endpoint in endpoints)],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token that `modelfetch serve` printed.",
                }
            },
            "schemas": _schemas(),
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    names = _PATH_PARAMETER.findall(endpoint.path)
    parameters = [*map(_path_parameter, names), *map(_parameter, endpoint.parameters)]
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
    }
    if endpoint.is_deprecated:
        operation["deprecated"] = True
    if endpoint.is_shared:
        operation["security"] = []
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        content: dict[str, Any] = {"schema": _reference(endpoint.body.name)}
        if endpoint.body.examples:
            content["examples"] = {key: {"value": value} for key, value in endpoint.body.examples.items()}
        operation["requestBody"] = {"required": endpoint.body.is_required, "content": {JSON: content}}
    answers = {str(answer.status): _answer(answer) | _links(endpoint) for answer in endpoint.answers}
    common = SHARED_COMMON if endpoint.is_shared else COMMON
    # What the table states comes last: an error of another API has another form than ours of that status.
    operation["responses"] = _errors((*endpoint.codes, *common)) | answers
    return operation


def _path_parameter(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": _PATH_WORDS[name],
        "schema": {"type": "string", "minLength": 1},
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": False,
        "description": parameter.words,
        "schema": parameter.schema,
    }


def _answer(answer: Answer) -> dict[str, Any]:
    if answer.kind is None:
        return {"description": answer.words}
    if is_dataclass(answer.kind):
        schema = _reference(answer.kind.__name__)  # type: ignore[union-attr]
    else:
        schema = _shared(answer.kind if isinstance(answer.kind, dict) else schema_of(answer.kind))
    return {"description": answer.words, "content": {answer.media: {"schema": schema}}}


def _links(endpoint: Endpoint) -> dict[str, Any]:
    """Say which operations take an id that is in an answer of this one."""
    if endpoint.name not in _LINKS:
        return {}
    pointer, parameter, operations = _LINKS[endpoint.name]
    parameters = {parameter: f"$response.body#{pointer}"}
    return {"links": {name: {"operationId": name, "parameters": parameters} for name in operations}}


def _errors(codes: Iterable[str]) -> dict[str, Any]:
    """Describe error answers: one for each status, with the codes that it may have."""
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(ERRORS[code], []).append(code)
    return {
        str(int(status)): {
            "description": f"Error {', '.join(f'`{code}`' for code in found)}.",
            "content": {JSON: {"schema": _reference("Error")}},
        }
        for status, found in sorted(by_status.items())
    }


# Schemas


def _schemas() -> dict[str, Schema]:
    own = {
        kind.__name__: {"description": kind.__doc__, **_shared(_named()[kind.__name__], but=kind.__name__)}
        for kind in _documents()
    }
    bodies = {each.body.name: each.body.schema for each in ENDPOINTS if each.body is not None}
    return {**own, **bodies, "Event": _event()}


@cache
def _named() -> dict[str, Schema]:
    """Return the schema of each document, by the name of its type."""
    return {kind.__name__: schema_of(kind) for kind in _documents()}


def _documents() -> list[type]:
    modules = api_job_documents, api_documents, api_sharing_documents
    kinds = {name: kind for module in modules for name, kind in vars(module).items()}.values()
    return [kind for kind in kinds if isinstance(kind, type) and is_dataclass(kind)]


def _event() -> Schema:
    """Return the schema of the data of one server-sent event: an event of a run with its narration line."""
    human = {"type": "string", "description": "Its narration line, or empty."}
    return {
        "oneOf": [object_of({**schema["properties"], "human": human}) for schema in event_schemas().values()],
    }


def _shared(schema: Any, but: str = "") -> Any:
    """Replace every part of a schema that is a named document by a reference to it.

    Args:
        schema: The schema, or a part of it.
        but: The document whose schema it is.
    """
    if isinstance(schema, list):
        return [_shared(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    for name, document in _named().items():
        if name != but and schema == document:
            return _reference(name)
    return {key: _shared(each) for key, each in schema.items()}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}

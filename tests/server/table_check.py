"""Compares the answers of a server with the table of its API, whatever test sent the request.

So the table, from which the OpenAPI description is made, is proved by every test that talks to a server: the
status and the code of an error belong together and are listed for that operation, and successful answers and
the events of streams follow their schemas. As for the commands, objects are closed first: a property that is
not in the schema is an error.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any

from starlette.routing import compile_path

from modelfetch.server.api_table import COMMON, ENDPOINTS, ERRORS, JSON, SHARED_COMMON, STREAM, Endpoint
from modelfetch.server.openapi import description
from modelfetch.server.share_table import SHARED_ENDPOINTS
from tests.schemas.checking import closed

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

ENOUGH = 20
"""Events of each kind that are compared in one process; a stream may have thousands."""
_seen: Counter[tuple[str, str]] = Counter()
_PATHS = [(endpoint, compile_path(endpoint.path)[0]) for endpoint in (*ENDPOINTS, *SHARED_ENDPOINTS)]


def check_answer(method: str, path: str, status: int, body: bytes) -> None:
    """Require that an answer is one that the table has for this request.

    Args:
        method: Method of the request; HEAD has no body to be checked.
        path: Its path, with the query.
        status: Status of the answer.
        body: Its body.
    """
    endpoint = _endpoint(method, path.partition("?")[0])
    if endpoint is None:
        return
    if status >= 400:
        if endpoint.is_foreign:  # in the form of another API; its own tests look at that
            return
        code = json.loads(body)["error"]["code"]
        common = (*SHARED_COMMON, "bad_token") if endpoint.is_shared else COMMON  # without --share
        assert code in (*endpoint.codes, *common), f"{method} {path} answered {status} {code}"
        assert ERRORS[code] == status, f"{method} {path} answered {status} {code}"
        return
    [answer] = [each for each in endpoint.answers if each.status == status]
    if answer.media == JSON and answer.kind is not None:
        fault = next(_validator(endpoint.name, status).iter_errors(json.loads(body)), None)
        assert fault is None, f"{method} {path}: {fault.json_path}: {fault.message}"


def check_message(path: str, event: str | None, data: str) -> None:
    """Require that an event of a stream is one that the table has for it.

    Args:
        path: Path of the stream, with the query.
        event: Its name; None for the marker at the end of a stream.
        data: Its data.
    """
    endpoint = _endpoint("GET", path.partition("?")[0])
    if endpoint is None or event is None or _seen[endpoint.name, event] >= ENOUGH:
        return
    _seen[endpoint.name, event] += 1
    fault = next(_event_validator(endpoint.name, event).iter_errors(json.loads(data)), None)
    assert fault is None, f"{path}: {event}: {fault.json_path}: {fault.message}"


def _endpoint(method: str, path: str) -> Endpoint | None:
    """The operation of a request; None for a file of the panel, and where the path has no such method."""
    found = [endpoint for endpoint, pattern in _PATHS if pattern.match(path)]
    same = [endpoint for endpoint in found if endpoint.path == found[0].path]
    return next((endpoint for endpoint in same if endpoint.method == method), None)


@cache
def _validator(name: str, status: int) -> Draft202012Validator:
    from jsonschema import Draft202012Validator  # here, as most test workers never need it

    return Draft202012Validator({**_content(name, status, JSON), "components": _document()["components"]})


@cache
def _event_validator(name: str, event: str) -> Draft202012Validator:
    from jsonschema import Draft202012Validator

    document = _document()
    forms = [each["properties"] for each in _content(name, 200, STREAM)["oneOf"]]
    named = [form for form in forms if form.get("event", {"const": ""}).get("const", event) == event]
    [schema] = [form["data"]["contentSchema"] for form in named]
    if schema == {"$ref": "#/components/schemas/Event"}:
        kinds = document["components"]["schemas"]["Event"]["oneOf"]
        [schema] = [each for each in kinds if each["properties"]["event"]["const"] == event]
    return Draft202012Validator({**schema, "components": document["components"]})


@cache
def _document() -> Any:
    return closed(description(is_sharing=True))


def _content(name: str, status: int, media: str) -> Any:
    """The schema of an answer."""
    operations: list[Any] = [each for path in _document()["paths"].values() for each in path.values()]
    [operation] = [each for each in operations if each["operationId"] == name]
    return operation["responses"][str(status)]["content"][media]["schema"]

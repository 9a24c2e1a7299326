"""Compares the answers of a server with the table of its API, whatever test sent the request.

So the table, from which the OpenAPI description is made, is proved by every test that talks to a server: the
status and the code of an error belong together and are listed for that operation, and what a successful
answer has is in its schema. As for the commands, objects are closed first: a property that is not in the
schema is an error.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from starlette.routing import compile_path

from modelfetch.server.api_table import COMMON, ENDPOINTS, ERRORS, JSON, Endpoint
from modelfetch.server.openapi import description
from tests.schemas.checking import closed

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

_PATHS = [(endpoint, compile_path(endpoint.path)[0]) for endpoint in ENDPOINTS]


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
        code = json.loads(body)["error"]["code"]
        assert code in (*endpoint.codes, *COMMON), f"{method} {path} answered {status} {code}"
        assert ERRORS[code] == status, f"{method} {path} answered {status} {code}"
        return
    [answer] = [each for each in endpoint.answers if each.status == status]
    if answer.media == JSON:
        fault = next(_validator(endpoint.name, status).iter_errors(json.loads(body)), None)
        assert fault is None, f"{method} {path}: {fault.json_path}: {fault.message}"


def _endpoint(method: str, path: str) -> Endpoint | None:
    """The operation of a request; None for a file of the panel, and where the path has no such method."""
    found = [endpoint for endpoint, pattern in _PATHS if pattern.match(path)]
    same = [endpoint for endpoint in found if endpoint.path == found[0].path]
    return next((endpoint for endpoint in same if endpoint.method == method), None)


@cache
def _validator(name: str, status: int) -> Draft202012Validator:
    from jsonschema import Draft202012Validator  # here, as most test workers never need it

    document = closed(description())
    operations: list[Any] = [each for path in document["paths"].values() for each in path.values()]
    [operation] = [each for each in operations if each["operationId"] == name]
    schema = operation["responses"][str(status)]["content"][JSON]["schema"]
    return Draft202012Validator({**schema, "components": document["components"]})

"""The OpenAPI description is that of the application, and every schema in it is used and complete."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from modelfetch.server.api_table import COMMON, ENDPOINTS, ERRORS
from modelfetch.server.guard import Guard
from modelfetch.server.openapi import _named, description
from modelfetch.server.requests import PIN_KEYS, SUBMISSION_KEYS
from modelfetch.server.share_table import SHARED_ENDPOINTS
from tests.server.running import Served
from tests.server.sharing import Sharing
from tests.server.table_check import check_answer

PANEL = {("GET", "/"), ("GET", "/static/{path:path}")}


def test_the_table_has_exactly_the_routes_of_the_application(served: Served) -> None:
    guard = served._app()
    assert isinstance(guard, Guard)
    app = guard._app
    assert isinstance(app, Starlette)
    routes = [route for route in app.routes if isinstance(route, Route)]
    found = {(method, route.path) for route in routes for method in (route.methods or set()) - {"HEAD"}}
    assert len(routes) == len(app.routes)
    assert found - PANEL == {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}


def test_with_sharing_the_shared_routes_are_added_and_need_no_token(sharing: Sharing) -> None:
    guard = sharing.served._app()
    assert isinstance(guard, Guard)
    app = guard._app
    assert isinstance(app, Starlette)
    routes = [route for route in app.routes if isinstance(route, Route)]
    found = {(method, route.path) for route in routes for method in (route.methods or set()) - {"HEAD"}}
    shared = {(endpoint.method, endpoint.path) for endpoint in SHARED_ENDPOINTS}
    assert found - PANEL == shared | {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}
    document = sharing.served.ask("GET", "/openapi.json").document
    assert document == description(is_sharing=True)
    assert {operation["security"] == [] for operation in _operations(document, "shared")} == {True}
    assert all("security" not in operation for operation in _operations(description()))


def _operations(document: Any, tag: str = "") -> list[Any]:
    found = [each for operations in document["paths"].values() for each in operations.values()]
    return [each for each in found if not tag or tag in each["tags"]]


def test_it_is_served_with_the_token_only(served: Served) -> None:
    assert served.ask("GET", "/openapi.json", token=None).status == 401
    answer = served.ask("GET", "/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.document == description()
    assert answer.document["openapi"] == "3.1.0"
    assert answer.document["security"] == [{"token": []}]


@pytest.mark.parametrize(
    ("method", "path", "status", "document", "fault"),
    [
        ("GET", "/v1/jobs/x", 404, {"error": {"code": "unknown_model"}}, "404 unknown_model"),
        ("GET", "/v1/jobs/x", 409, {"error": {"code": "unknown_job"}}, "409 unknown_job"),
        ("DELETE", "/v1/quarantine/3f", 200, {"id": "3f", "paths": [], "freed": 0, "more": 1}, "'more'"),
        ("GET", "/v1/models?x", 200, {"models": []}, "'faults' is a required property"),
    ],
)
def test_an_answer_that_is_not_in_the_table_fails_any_test(
    method: str, path: str, status: int, document: object, fault: str
) -> None:
    with pytest.raises(AssertionError, match=fault):
        check_answer(method, path, status, json.dumps(document).encode())


def references(part: Any) -> Iterator[str]:
    """Yield every reference to a component."""
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"].removeprefix("#/components/schemas/")
        for each in part.values():
            yield from references(each)
    elif isinstance(part, list):
        for each in part:
            yield from references(each)


def test_every_reference_leads_somewhere() -> None:
    document = description()
    assert set(references(document)) <= set(document["components"]["schemas"])


def test_no_two_documents_have_the_same_schema() -> None:
    """The name of a document in an answer is found by its schema."""
    schemas = [json.dumps(schema) for schema in _named().values()]
    assert len(schemas) > 20
    assert len(set(schemas)) == len(schemas)


def test_operations_have_unique_names_and_declare_their_parameters() -> None:
    names = [endpoint.name for endpoint in ENDPOINTS]
    assert len(set(names)) == len(names)
    for path, operations in description()["paths"].items():
        for operation in operations.values():
            declared = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
            assert declared == set(re.findall(r"\{(\w+)\}", path))


def test_every_code_has_a_status_and_every_request_may_be_refused() -> None:
    for operations in description()["paths"].values():
        for operation in operations.values():
            assert {str(int(ERRORS[code])) for code in COMMON} <= set(operation["responses"])


def test_a_stream_is_one() -> None:
    stream = description()["paths"]["/v1/jobs/{job_id}/stream"]["get"]
    assert list(stream["responses"]["200"]["content"]) == ["text/event-stream"]
    assert [each["name"] for each in stream["parameters"]] == ["job_id", "Last-Event-ID"]
    events = description()["components"]["schemas"]["Event"]["oneOf"]
    assert all({"n", "event", "human"} <= set(event["required"]) for event in events)


def test_bodies_have_the_keys_of_the_parser_and_no_others() -> None:
    schemas = description()["components"]["schemas"]
    for form in schemas["JobSubmission"]["oneOf"]:
        assert (tuple(form["properties"]), form["additionalProperties"]) == (SUBMISSION_KEYS, False)
    assert (tuple(schemas["Pin"]["properties"]), schemas["Pin"]["additionalProperties"]) == (PIN_KEYS, False)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/jobs", "GET, HEAD, POST"),
        ("/v1/jobs/x", "DELETE, GET, HEAD"),
        ("/v1/jobs/clear", "POST"),
        ("/v1/models/a/b", "DELETE, GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
    ],
)
def test_a_wrong_method_names_every_right_one(served: Served, path: str, allowed: str) -> None:
    answer = served.ask("PATCH", path)
    assert (answer.status, answer.code, answer.headers["allow"]) == (405, "bad_method", allowed)

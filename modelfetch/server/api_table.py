"""The table of the HTTP API: every route with its parameters, body, answers and error codes.

The OpenAPI description is made from it (:mod:`modelfetch.server.openapi`). Tests compare it with the routes
of the application and with ``docs/reference/http-api.md``. A row, shortened::

    Endpoint("GET", "/v1/jobs/{job_id}", "getJob", "jobs", "Describe a job", (Answer(200, Job),))
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from modelfetch.lazy_dataclass import dataclass, field
from modelfetch.model.json_schema import Schema, object_of, schema_of
from modelfetch.server import api_bodies as bodies
from modelfetch.server import api_documents as documents
from modelfetch.server import api_job_documents as jobs
from modelfetch.server import api_sharing_documents as sharing
from modelfetch.server.status import DEFAULT_RUNS, LIMIT_DIGITS, MAX_RUNS, METRICS_PATHS

JSON: Final = "application/json"
STREAM: Final = "text/event-stream"
TEXT: Final = "text/plain"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer other than an error."""

    status: int
    kind: Any
    """Its type, from which the schema is made; or the schema itself. None for an answer without a body."""
    words: str = "The answer."
    media: str = JSON


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter in the query or a header."""

    name: str
    place: str
    """``query`` or ``header``."""
    schema: Schema
    words: str


@dataclass(frozen=True, slots=True)
class Body:
    """A JSON body."""

    name: str
    """Name of its schema."""
    schema: Schema
    is_required: bool = False
    examples: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path."""

    method: str
    path: str
    """As the application routes it, such as ``/v1/models/{name:path}``."""
    name: str
    """Unique name of the operation."""
    tag: str
    summary: str
    answers: tuple[Answer, ...]
    codes: tuple[str, ...] = ()
    """Codes of the errors that only such a request has; those of every request are :data:`COMMON`."""
    body: Body | None = None
    parameters: tuple[Parameter, ...] = ()
    is_deprecated: bool = False
    is_shared: bool = False
    """Whether it belongs to the shared endpoints, which need no token."""
    is_foreign: bool = False
    """Whether another API defines it; its errors have the form of that one."""


# Errors

ERRORS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("bad_request", "usage"), HTTPStatus.BAD_REQUEST),
    "bad_token": HTTPStatus.UNAUTHORIZED,
    **dict.fromkeys(("foreign_origin", "add_not_allowed"), HTTPStatus.FORBIDDEN),
    **dict.fromkeys(("unknown_job", "unknown_model", "unknown_entry", "not_found"), HTTPStatus.NOT_FOUND),
    "bad_method": HTTPStatus.METHOD_NOT_ALLOWED,
    "precondition_failed": HTTPStatus.PRECONDITION_FAILED,
    "bad_range": HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    "too_slow": HTTPStatus.REQUEST_TIMEOUT,
    **dict.fromkeys(
        (
            *("already_ended", "not_ended", "not_retryable", "in_use", "busy", "bad_manifest", "offline"),
            *("not_restorable", "ambiguous_id"),
        ),
        HTTPStatus.CONFLICT,
    ),
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "not_json": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "wrong_host": HTTPStatus.MISDIRECTED_REQUEST,
    **dict.fromkeys(
        ("queue_full", "too_many_followers", "too_many_guesses", "pin_limit"), HTTPStatus.TOO_MANY_REQUESTS
    ),
    "headers_too_large": HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    **dict.fromkeys(("bug", "config", "disk"), HTTPStatus.INTERNAL_SERVER_ERROR),
    **dict.fromkeys(
        ("unavailable", "unauthorised", "integrity", "origin_failed", "origin_refused"),
        HTTPStatus.BAD_GATEWAY,
    ),
    **dict.fromkeys(
        ("stopping", "too_many_transfers", "fetch_queue_full", "fetch_cancelled"),
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
    **dict.fromkeys(("too_long", "origin_too_slow", "origin_offline"), HTTPStatus.GATEWAY_TIMEOUT),
    "disk_full": HTTPStatus.INSUFFICIENT_STORAGE,
}
"""HTTP status by error code."""

COMMON: Final = (
    *("bad_token", "foreign_origin", "too_slow", "too_large", "not_json", "wrong_host"),
    *("too_many_guesses", "headers_too_large", "bug", "config", "disk"),
)
"""Codes that a request of any kind may be answered with. ``bad_method`` belongs to none of the operations."""

SHARED_COMMON: Final = (
    *("bad_request", "foreign_origin", "wrong_host", "headers_too_large", "bug", "config", "disk"),
)
"""The same for requests to shared endpoints."""


# The table


def _list(name: str, kind: Any) -> Schema:
    """Return the schema of an object with one list."""
    return object_of({name: schema_of(tuple[kind, ...])})


def _without(schema: Schema, name: str) -> Schema:
    """Return the schema of an object without one of its properties."""
    properties = {key: value for key, value in schema["properties"].items() if key != name}
    return object_of(properties)


_MODEL: Final = object_of(
    {**schema_of(documents.Model)["properties"], **schema_of(documents.ModelParts)["properties"]}
)
_BRIEF: Final = object_of(
    {"jobs": {"type": "array", "items": _without(schema_of(jobs.Job), "files")}},
)
_PINNED: Final[Schema] = {"anyOf": [schema_of(documents.Pinned), schema_of(documents.Variants)]}
_ADDED: Final = object_of({**schema_of(documents.Pinned)["properties"], "manifest": schema_of(str)})


def _event(name: Schema, document: Schema) -> Schema:
    """Return the schema of a server-sent event whose data is JSON."""
    data = {"type": "string", "contentMediaType": JSON, "contentSchema": document}
    return object_of({"event": name, "data": data, "id": schema_of(str)}, ("id",))


_JOB_EVENT: Final = _event(schema_of(str), {"$ref": "#/components/schemas/Event"})
_MARKER: Final = {"type": "string", "pattern": r"^\[(DONE|CANCELLED|ERROR)\]"}
_JOB_STREAM: Final[Schema] = {"oneOf": [_JOB_EVENT, object_of({"data": _MARKER})]}
"""Each event of the stream of one job: in OpenAPI 3.1, the schema of a stream is that of one event."""
_JOBS_STREAM: Final[Schema] = {
    "oneOf": [
        _event({"const": "jobs"}, schema_of(jobs.Job)),
        _event({"const": "ready"}, object_of({"jobs": schema_of(tuple[str, ...])})),
        _event({"const": "gone"}, object_of({"job_id": schema_of(str)})),
    ]
}
"""Each event of the stream of all jobs."""

_SUBMITTED: Final = (
    Answer(202, jobs.Submitted, "A new job."),
    Answer(200, jobs.Submitted, "A job that does exactly this is queued or running already."),
)
_LAST_EVENT: Final = Parameter(
    "Last-Event-ID", "header", schema_of(str), "Replays only the events after the one with this id."
)
_LIMIT: Final = Parameter(
    "limit",
    "query",
    {"type": "integer", "minimum": 0, "maximum": 10**LIMIT_DIGITS - 1, "default": DEFAULT_RUNS},
    f"Runs at most; more than {MAX_RUNS} are never returned.",
)
_DOWNLOAD: Final = {"operation": "model_download", "model": "demo"}

_JOBS: Final = (
    Endpoint(
        *("POST", "/v1/jobs", "submitJob", "jobs", "Submit a job", _SUBMITTED),
        codes=("bad_request", "unknown_model", "bad_manifest", "queue_full", "stopping"),
        body=Body("JobSubmission", bodies.SUBMISSION, is_required=True, examples={"download": _DOWNLOAD}),
    ),
    Endpoint(
        "GET", "/v1/jobs", "listJobs", "jobs", "List all jobs, the newest first", (Answer(200, _BRIEF),)
    ),
    Endpoint(
        *("GET", "/v1/jobs/stream", "followJobs", "jobs", "Follow the snapshots of all jobs"),
        (
            Answer(
                200, _JOBS_STREAM, "Server-sent events `jobs`, `ready` and `gone`, without an end.", STREAM
            ),
        ),
        codes=("too_many_followers",),
    ),
    Endpoint(
        *("POST", "/v1/jobs/clear", "clearJobs", "jobs", "Delete ended jobs, all or one"),
        (Answer(200, jobs.Cleared),),
        codes=("bad_request", "unknown_job", "not_ended"),
        body=Body("JobsToClear", bodies.CLEAR),
    ),
    Endpoint(
        *("GET", "/v1/jobs/{job_id}", "getJob", "jobs", "Describe a job", (Answer(200, jobs.Job),)),
        codes=("unknown_job",),
    ),
    Endpoint(
        *("DELETE", "/v1/jobs/{job_id}", "cancelJob", "jobs", "Cancel a job", (Answer(200, jobs.Cancelled),)),
        codes=("unknown_job", "already_ended"),
    ),
    Endpoint(
        *(
            "POST",
            "/v1/jobs/{job_id}/retry",
            "retryJob",
            "jobs",
            "Do the same again in a new job",
            _SUBMITTED,
        ),
        codes=("unknown_job", "not_retryable", "queue_full", "stopping"),
    ),
    Endpoint(
        *("GET", "/v1/jobs/{job_id}/stream", "followJob", "jobs", "Follow the events of a job"),
        (Answer(200, _JOB_STREAM, "Server-sent events; the data of each is an `Event`.", STREAM),),
        codes=("unknown_job", "too_many_followers"),
        parameters=(_LAST_EVENT,),
    ),
)

_MODELS: Final = (
    Endpoint(
        "GET", "/v1/models", "listModels", "models", "List all models", (Answer(200, documents.Models),)
    ),
    Endpoint(
        *("GET", "/v1/models/{name:path}", "getModel", "models", "Describe a model", (Answer(200, _MODEL),)),
        codes=("unknown_model", "bad_manifest"),
    ),
    Endpoint(
        *("DELETE", "/v1/models/{name:path}", "removeModel", "models"),
        "Remove every version of a model from the cache",
        (Answer(200, documents.Removed),),
        codes=("unknown_model", "in_use"),
    ),
    Endpoint(
        *("POST", "/v1/pins", "addModel", "models", "Pin a reference, or show what would be pinned"),
        (Answer(200, _PINNED, "Nothing was written."), Answer(201, _ADDED, "The model was added.")),
        codes=(
            *("bad_request", "usage", "unknown_model", "offline", "unavailable", "unauthorised", "integrity"),
            *("add_not_allowed", "busy", "bad_manifest", "stopping", "too_long"),
        ),
        body=Body("Pin", bodies.PIN, is_required=True),
    ),
)

_QUARANTINE: Final = (
    Endpoint(
        *("GET", "/v1/quarantine", "listQuarantine", "quarantine", "List the data that failed verification"),
        (Answer(200, _list("entries", documents.Entry)),),
    ),
    Endpoint(
        *("GET", "/v1/quarantine/{entry_id}", "getEntry", "quarantine", "Describe an entry"),
        (Answer(200, documents.Entry),),
        codes=("unknown_entry", "ambiguous_id"),
    ),
    Endpoint(
        *("DELETE", "/v1/quarantine/{entry_id}", "purgeEntry", "quarantine", "Delete an entry and its data"),
        (Answer(200, documents.Purged),),
        codes=("unknown_entry", "ambiguous_id", "in_use"),
    ),
    Endpoint(
        *("POST", "/v1/quarantine/{entry_id}/restore", "restoreEntry", "quarantine"),
        "Move the data of an entry back to where it was",
        (Answer(200, documents.Restored),),
        codes=("bad_request", "unknown_entry", "ambiguous_id", "not_restorable"),
        body=Body("NoOptions", bodies.EMPTY),
    ),
)

_INFORMATION: Final = (
    Endpoint(
        "GET",
        "/v1/status",
        "getStatus",
        "server",
        "Describe the server",
        (Answer(200, documents.ServerStatus),),
    ),
    Endpoint(
        *(
            "GET",
            "/v1/elsewhere",
            "listElsewhere",
            "server",
            "List what other processes fetch into the cache",
        ),
        (Answer(200, _list("runs", documents.RunElsewhere)),),
    ),
    Endpoint(
        *("GET", "/v1/history", "listRuns", "server", "List the runs of the history, the newest first"),
        (Answer(200, _list("runs", documents.Run)),),
        codes=("bad_request",),
        parameters=(_LIMIT,),
    ),
    Endpoint(
        *("GET", "/v1/sources", "listSources", "server", "List the sources with their health"),
        (Answer(200, _list("sources", documents.Source)),),
    ),
    Endpoint(
        *("GET", "/v1/sharing", "getSharing", "server", "Describe what is shared with other machines"),
        (Answer(200, sharing.SharingState),),
    ),
    Endpoint(
        *("GET", "/openapi.json", "getOpenApi", "server", "Describe this API"),
        (
            Answer(
                200, {"type": "object", "required": ["openapi", "info", "paths"]}, "An OpenAPI 3.1 document."
            ),
        ),
    ),
    Endpoint(
        *(
            "GET",
            "/metrics",
            "getPrometheus",
            "metrics",
            "Report all metrics in the text format of Prometheus",
        ),
        (Answer(200, {"type": "string"}, "Text of Prometheus.", TEXT),),
    ),
)


def _metrics(path: str, mark: str, *, is_deprecated: bool) -> tuple[Endpoint, ...]:
    def get(below: str, name: str, summary: str, kind: Any) -> Endpoint:
        answers = (Answer(200, kind),)
        return Endpoint(
            *("GET", path + below, name + mark, "metrics", summary, answers), is_deprecated=is_deprecated
        )

    return (
        get("", "listAttempts", "List the attempts of the last day", documents.Metrics),
        get("/summary", "getSummary", "Count the attempts of the last day", dict[str, Any]),
        get("/health", "getHealth", "Report the health of each kind of source", dict[str, Any]),
        Endpoint(
            *("POST", f"{path}/reset", f"resetMetrics{mark}", "metrics", "Delete all attempts"),
            (Answer(200, documents.Reset),),
            is_deprecated=is_deprecated,
        ),
    )


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    *_JOBS,
    *_MODELS,
    *_QUARANTINE,
    *_INFORMATION,
    *_metrics(METRICS_PATHS[0], "", is_deprecated=False),
    *_metrics(METRICS_PATHS[1], "Gm", is_deprecated=True),
)
"""Every endpoint of the API; the files of the panel are no part of it."""

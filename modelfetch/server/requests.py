"""Parsing of request bodies: a job submission, a reference to pin, or the id of a job.

A body is a JSON object with known keys only::

    {"operation":"model_download","model":"whisper-base"}

Unknown keys are rejected, not ignored: a client that believes it can set a path or an address must learn that
it cannot.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from http import HTTPStatus
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import did_you_mean, quote
from modelfetch.server.error_responses import Refusal
from modelfetch.server.job_state import OPERATIONS, Operation

SUBMISSION_KEYS: Final = ("operation", "model", "repair", "force", "hive_id")
"""Keys of a job submission. ``hive_id`` is what clients of an earlier system send; it is ignored."""
PIN_KEYS: Final = ("reference", "name", "include", "dry_run")
MAX_PATTERNS: Final = 100
"""Patterns of one request at most; a choice of variants has one."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A job submission as it was sent. Whether the model exists is checked later."""

    operation: Operation
    model: str
    """A name to look up in the catalogs; never used as a path or an address, whatever it looks like."""
    repair: bool
    force: bool


def parse_submission(body: bytes) -> Submission:
    """Parse the body of ``POST /v1/jobs``.

    Raises:
        Refusal: It is not a job submission.
    """
    document = _parse_object(body, SUBMISSION_KEYS)
    operation, model, repair, force, hive_id = (document.get(key) for key in SUBMISSION_KEYS)
    if operation not in OPERATIONS:
        guess = did_you_mean(operation, OPERATIONS) if isinstance(operation, str) else ""
        raise _bad_request(
            f"unknown operation {_quoted(operation)}.{guess}", f"Operations are {', '.join(OPERATIONS)}."
        )
    if not isinstance(model, str) or not model:
        raise _bad_request(f"{_quoted(model)} is not the name of a model", "GET /v1/models lists them.")
    if not isinstance(repair, bool | None) or (repair and operation != "model_verify"):
        raise _bad_request("repair must be true or false, and is for model_verify only")
    if not isinstance(force, bool | None) or (force and operation == "model_verify"):
        raise _bad_request("force must be true or false, and is not for model_verify")
    if not isinstance(hive_id, str | None):
        raise _bad_request("hive_id must be a text", "It is ignored, so leave it out.")
    return Submission(operation, model, bool(repair), bool(force))


@dataclass(frozen=True, slots=True)
class PinSubmission:
    """A reference to pin, as it was sent. It is parsed later."""

    reference: str
    name: str | None
    include: tuple[str, ...]
    dry_run: bool


def parse_pin(body: bytes) -> PinSubmission:
    """Parse the body of ``POST /v1/pins``.

    Raises:
        Refusal: It is not a reference to pin.
    """
    document = _parse_object(body, PIN_KEYS)
    reference, name, include, dry_run = (document.get(key) for key in PIN_KEYS)
    if not isinstance(reference, str) or not reference.strip():
        raise _bad_request(
            f"{_quoted(reference)} is not a reference", "Such as hf:org/repo or https://host/file."
        )
    if not isinstance(name, str | None):
        raise _bad_request(f"{_quoted(name)} is not a name")
    patterns = [] if include is None else include
    if not isinstance(patterns, list) or not all(
        isinstance(pattern, str) and pattern for pattern in patterns
    ):
        raise _bad_request("include must be a list of patterns")
    if len(patterns) > MAX_PATTERNS:
        raise _bad_request(f"include has more than {MAX_PATTERNS} patterns")
    if not isinstance(dry_run, bool | None):
        raise _bad_request("dry_run must be true or false")
    return PinSubmission(reference.strip(), name or None, tuple(patterns), bool(dry_run))


def parse_job_id(body: bytes) -> str | None:
    """Parse the body of ``POST /v1/jobs/clear``; None when it names no job.

    Raises:
        Refusal: It is neither empty nor an object with a job id.
    """
    job_id = _parse_object(body or b"{}", ("job_id",)).get("job_id")
    if not isinstance(job_id, str | None):
        raise _bad_request(f"{_quoted(job_id)} is not a job_id")
    return job_id


def parse_empty(body: bytes) -> None:
    """Parse the body of a request that takes no options: empty, or an empty object.

    Raises:
        Refusal: It is neither.
    """
    _parse_object(body or b"{}", ())


async def read_body(request: Request) -> bytes:
    """Read the body of a request.

    Raises:
        Refusal: The client disconnected before its end.
    """
    try:
        return await request.body()
    except ClientDisconnect:
        raise _bad_request("the body is not complete") from None


def _parse_object(body: bytes, keys: Collection[str]) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):  # deep nesting exhausts the parser's stack
        raise _bad_request("the body is not JSON") from None
    if not isinstance(document, dict):
        raise _bad_request("the body is not a JSON object")
    for key in document:
        if key not in keys:
            allowed = f"Allowed keys are {', '.join(keys)}." if keys else "No key is allowed here."
            raise _bad_request(f"unknown key {quote(key)}.{did_you_mean(key, keys)}", allowed)
    return document


def _quoted(value: object) -> str:
    return quote(value) if isinstance(value, str) else quote(json.dumps(value))


def _bad_request(message: str, hint: str = "") -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, "bad_request", message, hint)

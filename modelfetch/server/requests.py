"""What requests may say in their bodies: an order, or the name of a job. Nothing else gets in. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection
from http import HTTPStatus
from typing import Any, Final

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import did_you_mean, quote
from modelfetch.server.error_responses import Refusal
from modelfetch.server.job_state import OPERATIONS, Operation

_ORDER_KEYS: Final = ("operation", "model", "repair")


@dataclass(frozen=True, slots=True)
class Submission:
    """An order as it was sent; whether the model exists was not looked at."""

    operation: Operation
    model: str
    """A name to look up in the catalogs, whatever it looks like; never a path or an address."""
    repair: bool


def parse_submission(body: bytes) -> Submission:
    """Read the body of ``POST /v1/jobs``.

    Raises:
        Refusal: It is not an order.
    """
    document = _document(body, _ORDER_KEYS)
    operation, model, repair = (document.get(key) for key in _ORDER_KEYS)
    if operation not in OPERATIONS:
        guess = did_you_mean(operation, OPERATIONS) if isinstance(operation, str) else ""
        raise _bad(f"{_shown(operation)} is no operation.{guess}", f"There are {', '.join(OPERATIONS)}.")
    if not isinstance(model, str) or not model:
        raise _bad(f"{_shown(model)} is no name of a model", "GET /v1/models lists them.")
    if not isinstance(repair, bool | None) or (repair and operation != "model_verify"):
        raise _bad("repair is true or false, and for model_verify only")
    return Submission(operation, model, bool(repair))


def parse_job_id(body: bytes) -> str | None:
    """Read the body of ``POST /v1/jobs/clear``; None when it names no job.

    Raises:
        Refusal: It is neither empty nor the name of a job.
    """
    job_id = _document(body or b"{}", ("job_id",)).get("job_id")
    if not isinstance(job_id, str | None):
        raise _bad(f"{_shown(job_id)} is no job_id")
    return job_id


def _document(body: bytes, keys: Collection[str]) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise _bad("the body is not JSON") from None
    if not isinstance(document, dict):
        raise _bad("the body is not a JSON object")
    for key in document:
        if key not in keys:
            allowed = f"Allowed are {', '.join(keys)}."
            raise _bad(f"unknown key {quote(key)}.{did_you_mean(key, keys)}", allowed)
    return document


def _shown(value: object) -> str:
    return quote(value) if isinstance(value, str) else quote(json.dumps(value))


def _bad(message: str, hint: str = "") -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, "bad_request", message, hint)

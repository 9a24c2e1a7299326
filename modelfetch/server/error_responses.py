"""JSON responses, error responses, and the log of unexpected errors.

Every response is JSON that is safe to embed in an HTML page and to print on a terminal. Every response that
is not the requested one has the form of ``docs/reference/http-api.md``::

    {"error":{"code":"unknown_job","message":"there is no job 'job-1'","hint":""}}

Unexpected errors go to the operator of the server by ``logging`` (stderr unless configured otherwise). Their
details are never sent to a client.
"""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.responses import Response

from modelfetch.errors import ManifestError, ModelfetchError, UnknownModelError
from modelfetch.model.text import sanitize
from modelfetch.settings.text_redaction import redact_text

_UNSAFE: Final = re.compile(r"[<>&]|[^ -~]")
"""Candidates for escaping: characters that may end a ``<script>`` in a page, and everything beyond printable
ASCII, which may be a control character of a terminal."""


class Refusal(Exception):  # noqa: N818 - becomes an error response; the server itself works as intended
    """A request that the server does not fulfil, with the reason.

    Attributes:
        status: HTTP status.
        code: Stable machine-readable name, as in ``docs/reference/http-api.md``.
        message: What is wrong; one line.
        hint: What to do instead; may be empty.
        headers: Headers of the response that belong to its status, such as ``Retry-After``.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        hint: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.headers = dict(headers or {})


def refusal_for(error: ModelfetchError) -> Refusal:
    """Map an error of the package to an HTTP status; code, message and hint stay the same."""
    if isinstance(error, UnknownModelError):
        return Refusal(HTTPStatus.NOT_FOUND, error.code, error.message, error.hint)
    if isinstance(error, ManifestError):
        return Refusal(HTTPStatus.CONFLICT, error.code, error.message, error.hint)
    return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, error.code, error.message, error.hint)


def dumps(document: object) -> str:
    r"""Write JSON in one line, safe for HTML pages and terminals.

    Printable characters of any script stay as they are. ``<``, ``>``, ``&`` and control characters are
    escaped as JSON allows (``\u003c``).
    """
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _UNSAFE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    if character in "<>&\x7f":  # json.dumps does not escape these
        return f"\\u{ord(character):04x}"
    return character if sanitize(character) == character else json.dumps(character)[1:-1]


def json_response(document: object, status: int = HTTPStatus.OK) -> Response:
    """Make a response with a JSON document, one line that ends with a line feed."""
    return Response(dumps(document) + "\n", status, media_type="application/json")


def error_response(refusal: Refusal) -> Response:
    """Make the error response of a refusal."""
    error = {"code": refusal.code, "message": refusal.message, "hint": refusal.hint}
    response = json_response({"error": error}, refusal.status)
    response.headers.update(refusal.headers)
    return response


def log_exception(error: BaseException, what: str) -> None:
    """Log an exception with its traceback.

    Secrets are redacted and control characters removed from each line, because a traceback may quote text
    that a client or a remote server sent, and the log is often read on a terminal.
    """
    lines = redact_text("".join(traceback.format_exception(error))).splitlines()
    logging.getLogger(__name__).error("%s\n%s", what, "\n".join(map(sanitize, lines)))

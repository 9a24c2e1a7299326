"""What the server says: JSON that is harmless wherever it is printed, and refusals with their reasons.

What should not happen, told to who runs the server: on stderr, unless logging says otherwise.
"""

from __future__ import annotations

import json
import logging
import re
import traceback
from http import HTTPStatus
from typing import Final

from starlette.responses import Response

from modelfetch.errors import ManifestError, ModelfetchError, UnknownModelError
from modelfetch.model.text import sanitise
from modelfetch.settings.redaction import redact_text

_DELICATE: Final = re.compile(r"[<>&]|[^ -~]")
"""What may end a script in a page, and everything beyond printable ASCII, which may steer a terminal."""


class Refusal(Exception):  # noqa: N818 - an answer, not a failure of ours
    """A request that is not granted.

    Attributes:
        status: HTTP status.
        code: Stable machine-readable name, as in ``docs/reference/http-api.md``.
        message: What is wrong; one line.
        hint: What to do instead; may be empty.
    """

    def __init__(self, status: int, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint


def refused(error: ModelfetchError) -> Refusal:
    """Say over HTTP what an error of the package says."""
    if isinstance(error, UnknownModelError):
        return Refusal(HTTPStatus.NOT_FOUND, error.code, error.message, error.hint)
    if isinstance(error, ManifestError):
        return Refusal(HTTPStatus.CONFLICT, error.code, error.message, error.hint)
    return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, error.code, error.message, error.hint)


def dumps(document: object) -> str:
    """Write JSON in one line that a page or a terminal may hold: only what has a shape stands as itself."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _DELICATE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    if character in "<>&\x7f":  # json.dumps leaves these as they are
        return f"\\u{ord(character):04x}"
    return character if sanitise(character) == character else json.dumps(character)[1:-1]


def answer(document: object, status: int = HTTPStatus.OK) -> Response:
    """Answer with a JSON document."""
    return Response(dumps(document) + "\n", status, media_type="application/json")


def refuse(refusal: Refusal) -> Response:
    """Answer a request that is not granted."""
    error = {"code": refusal.code, "message": refusal.message, "hint": refusal.hint}
    return answer({"error": error}, refusal.status)


def report(error: BaseException, what: str) -> None:
    """Log an exception, line by line, without secrets and without anything that could steer a terminal."""
    lines = redact_text("".join(traceback.format_exception(error))).splitlines()
    logging.getLogger(__name__).error("%s\n%s", what, "\n".join(map(sanitise, lines)))

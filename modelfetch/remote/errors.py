"""Errors of requests to a server: no answer, an answer of another program, or an error response. Pure.

Each function returns an error whose message names what was requested and the server::

    cannot list the jobs: modelfetch server at http://127.0.0.1:8765: connection refused
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelfetch.engine.events import ErrorInfo
from modelfetch.errors import (
    AuthorizationError,
    ManifestError,
    ModelfetchError,
    SourceError,
    UnavailableError,
    UnknownModelError,
    UsageError,
)
from modelfetch.model.decode import decode
from modelfetch.remote.server_url import HINT

if TYPE_CHECKING:
    from modelfetch.net.json_api import Reply

RUNNING_HINT: Final = (
    "Is it running, and is this its address? `modelfetch serve` starts one and prints the line for --server."
)
_JOBS_HINT: Final = "`modelfetch jobs` lists the jobs of the server."
_TEMPORARY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses of the server, or of a proxy before it, after which a later request may succeed."""

_CLASSES: Final[dict[str, type[ModelfetchError]]] = {
    "unknown_model": UnknownModelError,
    "unknown_job": UsageError,
    "bad_request": UsageError,
    "usage": UsageError,
    "already_ended": UsageError,
    "not_retryable": UsageError,
}
"""Error class by the code of an error response (``docs/reference/http-api.md``). Any other code means that
the server could not do its work: UnavailableError."""


def unavailable(base: str, action: str, why: str, hint: str) -> UnavailableError:
    """Make the error of a server that cannot be used.

    Args:
        base: URL of the server.
        action: What was requested, as in ``list the jobs``.
        why: The reason.
        hint: What to do next.
    """
    return UnavailableError(f"{_failed(base, action)}: {why}", hint=hint)


def unreachable(base: str, action: str, error: SourceError) -> UnavailableError:
    """Make the error of a server that sent no answer."""
    return unavailable(base, action, error.message, error.hint or RUNNING_HINT)


def no_server(base: str, why: str) -> UnavailableError:
    """Make the error of an address where no server runs."""
    return UnavailableError(f"no modelfetch server runs at {base}: {why}", hint=RUNNING_HINT)


def not_a_server(base: str, action: str, answer: Reply | ValueError) -> UnavailableError:
    """Make the error of an answer that no modelfetch server sends.

    Args:
        base: URL of the server.
        action: What was requested.
        answer: The answer, or why it could not be decoded.
    """
    if isinstance(answer, ValueError):
        what = str(answer)
    else:
        what = f"HTTP {answer.status}, {answer.kind or 'no media type'}"
    return unavailable(base, action, f"the answer is from no modelfetch server ({what})", RUNNING_HINT)


def refusal_error(base: str, action: str, reply: Reply) -> ModelfetchError:
    """Make the error of an error response, with the server's own message and hint."""
    info = _error_info(reply)
    if info is None:
        return not_a_server(base, action, reply)
    if info.code == "bad_manifest":
        return ManifestError(_failed(base, action), [info.message])
    message = f"{_failed(base, action)}: {info.message}"
    if info.code == "bad_token":
        # The server's hint is for HTTP clients in general; this one is about the options of the command.
        return AuthorizationError(message, hint=HINT)
    return _CLASSES.get(info.code, UnavailableError)(message, hint=info.hint or _JOBS_HINT)


def is_temporary(reply: Reply) -> bool:
    """Whether a later request may succeed."""
    return reply.status in _TEMPORARY


def _failed(base: str, action: str) -> str:
    return f"cannot {action}: modelfetch server at {base}"


def _error_info(reply: Reply) -> ErrorInfo | None:
    """Decode the error of an error response; None if it has another form."""
    try:
        return decode(ErrorInfo, (reply.document or {}).get("error"))
    except ValueError:
        return None

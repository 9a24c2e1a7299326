"""What a server's answer means where it is not what was asked for. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelfetch.engine.events import ErrorInfo
from modelfetch.errors import (
    AuthorisationError,
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
_JOBS_HINT: Final = "modelfetch jobs shows how things stand there."
_MAY_PASS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which asking again, later, may help: of the server itself, or of a proxy before it."""

_CLASSES: Final[dict[str, type[ModelfetchError]]] = {
    "unknown_model": UnknownModelError,
    "unknown_job": UsageError,
    "bad_request": UsageError,
    "already_ended": UsageError,
    "not_retryable": UsageError,
}
"""By the codes of ``docs/reference/http-api.md``. With any other, the server could not do what it should."""


def unavailable(base: str, doing: str, why: str, hint: str) -> UnavailableError:
    """Say that a server cannot be used.

    Args:
        base: Its address.
        doing: What was wanted of it, as in ``list the jobs``.
        why: What keeps it from that.
        hint: What to do next.
    """
    return UnavailableError(f"{_failed(base, doing)}: {why}", hint=hint)


def unreachable(base: str, doing: str, error: SourceError) -> UnavailableError:
    """Say that there was no answer, and why."""
    return unavailable(base, doing, error.message, error.hint or RUNNING_HINT)


def nobody(base: str, why: str) -> UnavailableError:
    """Say that no server is there at all."""
    return UnavailableError(f"no modelfetch server runs at {base}: {why}", hint=RUNNING_HINT)


def foreign(base: str, doing: str, what: Reply | ValueError) -> UnavailableError:
    """Say that whatever answered is no modelfetch server, for it said this."""
    said = what if isinstance(what, ValueError) else f"HTTP {what.status}, {what.kind or 'of no media type'}"
    return unavailable(base, doing, f"what answered is no modelfetch server ({said})", RUNNING_HINT)


def refused(base: str, doing: str, reply: Reply) -> ModelfetchError:
    """Say why a server did not do what was wanted, in its own words."""
    told = _told(reply)
    if told is None:
        return foreign(base, doing, reply)
    if told.code == "bad_manifest":
        return ManifestError(_failed(base, doing), [told.message])
    message = f"{_failed(base, doing)}: {told.message}"
    if told.code == "bad_token":
        return AuthorisationError(message, hint=HINT)
    return _CLASSES.get(told.code, UnavailableError)(message, hint=told.hint or _JOBS_HINT)


def may_pass(reply: Reply) -> bool:
    """Whether asking again, later, may help."""
    return reply.status in _MAY_PASS


def _failed(base: str, doing: str) -> str:
    return f"cannot {doing}: modelfetch server at {base}"


def _told(reply: Reply) -> ErrorInfo | None:
    try:
        return decode(ErrorInfo, (reply.document or {}).get("error"))
    except ValueError:
        return None

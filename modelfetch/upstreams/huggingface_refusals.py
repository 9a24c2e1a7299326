"""What a refusal of the Hugging Face Hub means, in words of its own for each case. Pure.

The Hub answers 401 both for repositories that do not exist and for private ones, so the status alone says
little. The fields ``X-Error-Code`` and ``X-Error-Message`` say more::

    401                            missing, or private, or not logged in
    401 "Invalid credentials"      the token is wrong
    401, 403 GatedRepo             not logged in, or access was not granted
    403 "... is disabled."         withdrawn by the Hub
    404 RevisionNotFound           no such branch, tag or commit
    404 EntryNotFound              no such file
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelfetch.errors import AuthorizationError, ModelfetchError, UnavailableError, UnknownModelError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import quote
from modelfetch.net.responses import UNKNOWN_NAME, UNKNOWN_NAME_HINT

if TYPE_CHECKING:
    from modelfetch.net.answers import Answer

TOKEN_WORDS = "HF_TOKEN"  # noqa: S105 - the name of a variable


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked, for messages."""

    what: str
    """The repository: ``hf:org/repo``."""
    host: str
    page: str
    """Address of its page, where terms can be accepted."""
    revision: str
    sends_token: bool
    """Whether a token was sent."""


def refusal(answer: Answer, asked: Asked) -> ModelfetchError:
    """Return the error for an answer other than 200."""
    code = answer.headers.get("x-error-code", "")
    message = answer.headers.get("x-error-message", "").casefold()
    if answer.status == 401 and "invalid credentials" in message:
        return _bad_token(asked)
    if code == "GatedRepo":
        return _gated(asked)
    if answer.status == 403:
        return disabled(asked) if "disabled" in message else _forbidden(asked)
    if code == "RevisionNotFound":
        return no_revision(asked)
    if code == "EntryNotFound":
        return UnknownModelError(
            f"{asked.what} has no such file or folder at {quote(asked.revision)}",
            hint=f"{asked.page} lists its files.",
        )
    if answer.status in (401, 404):
        return _missing(asked)
    if answer.status == 421:  # a mirror of our own, by HF_ENDPOINT
        return UnavailableError(f"{asked.host}: {UNKNOWN_NAME}", hint=UNKNOWN_NAME_HINT)
    return UnavailableError(
        f"{asked.host}: unexpected answer for {asked.what} (HTTP status {answer.status})",
        hint="Try again later; if HF_ENDPOINT is set, check that it has the API of the Hub.",
    )


def refused_hint(asked: Asked, *, is_gated: bool) -> str:
    """What to do if a file may not be read, although its repository could be listed."""
    if is_gated:
        return f"{asked.what} is gated. {_accept(asked)}"
    if asked.sends_token:
        return f"The token ({TOKEN_WORDS}) must be allowed to read {asked.what}."
    return f"Set {TOKEN_WORDS}, or run `hf auth login`."


def no_revision(asked: Asked, guess: str = "") -> UnknownModelError:
    """Return the error for an unknown revision; ``guess`` is a did-you-mean sentence."""
    return UnknownModelError(
        f"{asked.what} has no branch, tag or commit {quote(asked.revision)}.{guess}",
        hint=f"{asked.page} lists its revisions.",
    )


def _missing(asked: Asked) -> ModelfetchError:
    hint = (
        "Check the name; if it is private, the token of HF_TOKEN must be allowed to read it."
        if asked.sends_token
        else f"Check the name; if it is private, set {TOKEN_WORDS} or run `hf auth login`."
    )
    return UnknownModelError(
        f"{asked.what} does not exist on {asked.host}, is private, or requires a login", hint=hint
    )


def _bad_token(asked: Asked) -> ModelfetchError:
    if not asked.sends_token:
        return _missing(asked)
    return AuthorizationError(
        f"{asked.host} refused the token: it is wrong or has expired",
        hint="Renew HF_TOKEN (or run `hf auth login`), or unset it for public models.",
    )


def _gated(asked: Asked) -> ModelfetchError:
    why = (
        ", and the account of the token has not been granted access"
        if asked.sends_token
        else ": it requires a login and accepted terms"
    )
    return AuthorizationError(f"{asked.what} is gated{why}", hint=_accept(asked))


def _accept(asked: Asked) -> str:
    if asked.sends_token:
        return f"Accept the terms at {asked.page}, or use the token of another account."
    return f"Accept the terms at {asked.page}, then set {TOKEN_WORDS} or run `hf auth login`."


def disabled(asked: Asked) -> AuthorizationError:
    """Return the error for a repository that the Hub has withdrawn."""
    return AuthorizationError(
        f"{asked.what} is disabled: {asked.host} gives nobody access to it",
        hint="Look for another repository with the same files.",
    )


def _forbidden(asked: Asked) -> ModelfetchError:
    return AuthorizationError(
        f"{asked.host} refused access to {asked.what} (403)",
        hint=f"The token ({TOKEN_WORDS}) must be allowed to read it."
        if asked.sends_token
        else f"Set {TOKEN_WORDS} to a token that may read it.",
    )

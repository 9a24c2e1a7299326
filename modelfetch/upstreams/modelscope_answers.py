"""Answers of ModelScope: the data of a document, or the error that it stands for. Pure.

An error comes with its HTTP status, or with status 200 and a code of the application::

    {"Code": 10010205001, "Success": false, "Message": "record not found", "Data": null}

Codes are not documented. Where status and code say nothing, the message decides between missing and refused.
"""

from __future__ import annotations

import re
from typing import Final

from modelfetch.errors import AuthorizationError, ModelfetchError, UnavailableError, UnknownModelError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import quote
from modelfetch.upstreams.collect import nonsense

_MISSING: Final = re.compile(r"not (?:found|exist)|no such|does ?n.t exist|不存在|找不到", re.IGNORECASE)
_DENIED: Final = re.compile(
    r"denied|forbidden|permission|unauthori[sz]ed|login|token|权限|登录", re.IGNORECASE
)

_OK: Final = (None, 200, "200")


@dataclass(frozen=True, slots=True)
class MsAsked:
    """What was asked, for messages."""

    what: str
    """The repository: ``ms:org/repo``."""
    host: str
    sends_token: bool


def data_of(status: int, document: object, asked: MsAsked) -> object:
    """Return the ``Data`` of an answer.

    Args:
        status: HTTP status.
        document: The body as JSON; None unless the status is 200.
        asked: What was asked.

    Raises:
        UnknownModelError: The repository does not exist, or is private.
        AuthorizationError: The token is missing, wrong or insufficient.
        UnavailableError: Another failure.
    """
    if status != 200:
        raise _refusal(status, "", asked)
    if not isinstance(document, dict):
        raise nonsense(f"{asked.host}: the answer for {asked.what} is not an object")
    code, success = document.get("Code"), document.get("Success")
    if code in _OK and success is not False:
        return document.get("Data")
    message = document.get("Message")
    number = code if isinstance(code, int) and not isinstance(code, bool) else 0
    raise _refusal(number, message if isinstance(message, str) else "", asked)


def _refusal(code: int, message: str, asked: MsAsked) -> ModelfetchError:
    if code == 404 or _MISSING.search(message):
        return _missing(asked)
    if code == 401 and asked.sends_token:
        return AuthorizationError(
            f"{asked.host} refused the token: it is wrong or has expired",
            hint="Renew MODELSCOPE_API_TOKEN, or unset it for public models.",
        )
    if code in (401, 403) or _DENIED.search(message):
        return AuthorizationError(
            f"{asked.host} refused access to {asked.what}",
            hint="MODELSCOPE_API_TOKEN must be a token that may read it.",
        )
    said = f": {quote(message)}" if message else ""
    return UnavailableError(
        f"{asked.host}: cannot list {asked.what} (code {code}){said}", hint="Try again later."
    )


def _missing(asked: MsAsked) -> UnknownModelError:
    site = "https://www.modelscope.ai" if asked.host.endswith(".cn") else "https://modelscope.cn"
    login = "" if asked.sends_token else "a private one needs MODELSCOPE_API_TOKEN; "
    return UnknownModelError(
        f"{asked.what} does not exist on {asked.host}, is private, or requires a login",
        hint=f"Check the name; {login}{site} is another site (MODELSCOPE_ENDPOINT).",
    )

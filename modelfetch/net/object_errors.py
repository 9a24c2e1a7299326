"""Translates the errors of the client of object stores to those of sources.

The client raises a few classes, and says the rest in its text::

    Generic S3 error: Error performing GET http://... - Server returned non-2xx status code: 503 Service ...
    ... kind: Connect, ...         no connection
    ... kind: Timeout, ...         nothing arrived in time

Only the status, a code of the store (``<Code>SlowDown</Code>``) and, where nothing could be reached, the host
that was asked are taken from it. The text itself is not shown, since a server may write anything into it.
"""

from __future__ import annotations

import re
from typing import Final

from modelfetch.errors import Fault, SourceError
from modelfetch.net.errors import cut, timed_out
from modelfetch.net.object_credentials import endpoint_variable
from modelfetch.net.responses import ResponseHead, Unranged, refusal
from modelfetch.net.urls import host_of

_STATUS: Final = re.compile(r"Server returned (?:non-2xx status code|error response): ([0-9]{3})\b")
_CODE: Final = re.compile(r"<Code>([A-Za-z]{1,60})</Code>")
_KIND: Final = re.compile(r"\bkind: (Connect|Timeout|Interrupted|Request|Decode)\b")
_SKEWED: Final = "RequestTimeTooSkewed"
_CLOCK: Final = "Set the clock of this machine: signatures hold for some minutes by the clock of the store."
_LOGINS: Final = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        _SKEWED,
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
"""Codes of Amazon S3 about credentials, some of which come with status 400 (API reference, "Error
responses")."""
_BUSY: Final = frozenset(
    {"SlowDown", "ServiceUnavailable", "RequestLimitExceeded", "Throttling", "ServerBusy"}
)
_MISSING: Final = frozenset({"NoSuchBucket", "ContainerNotFound"})
_SCHEMES: Final = {"Generic S3 error": "s3", "Generic GCS error": "gs", "Generic MicrosoftAzure error": "az"}
"""The stores as the client names them at the beginning of its text."""
_ASKED: Final = re.compile(r"Error performing [A-Z]+ (https?://[^/\s@]{1,255})(?=[/\s])")
"""The address that was asked: that of the endpoint, or Amazon's where none is set. The bucket does not say
which."""
_REFUSED: Final = frozenset({"PermissionDeniedError", "UnauthenticatedError"})
_REGION: Final = "Received redirect without LOCATION"
"""How the client reports a bucket of another region."""
_LOGIN: Final = re.compile(
    r"Error performing [A-Z]+ https?://"
    r"(?:169\.254\.|metadata\.google\.internal|sts\.|oauth2\.googleapis\.com|login\.microsoftonline\.)"
    r"|[Tt]oken file|[Mm]issing \w*[Cc]redential"
)
"""How the client reports that it could not obtain credentials: a request to another host than the store's, or
a file."""


def object_error(error: BaseException, hint: str, *, has_begun: bool = False) -> SourceError:
    """Return the error for an exception of the client of object stores.

    Args:
        error: The exception.
        hint: What a person can do if access was refused.
        has_begun: Whether bytes of the object had arrived.
    """
    text = str(error)
    status, code = _first(_STATUS, text), _first(_CODE, text)
    if _LOGIN.search(text):
        return SourceError(Fault.AUTHORIZATION, "no credentials could be obtained", hint=hint)
    if type(error).__name__ in _REFUSED or code in _LOGINS:
        shown = ", ".join(filter(None, [status, code]))
        hint = _CLOCK if code == _SKEWED else hint
        return SourceError(Fault.AUTHORIZATION, f"access refused{f' ({shown})' if shown else ''}", hint=hint)
    found = _by_name(error, code) or (_by_status(int(status), hint) if status else None)
    return found or _without_status(text, has_begun=has_begun)


def _by_name(error: BaseException, code: str) -> SourceError | None:
    """The error for a code of the store, or a class of the client that says enough by itself."""
    if code in _MISSING:
        return SourceError(Fault.NOT_FOUND, "no such bucket")
    if isinstance(error, FileNotFoundError):
        return SourceError(Fault.NOT_FOUND, "not found (404)")
    if type(error).__name__ == "PreconditionError":
        return SourceError(Fault.SIZE, "the object changed while it was read")
    if code in _BUSY:
        return SourceError(Fault.BUSY, f"asks to slow down ({code})")
    return None


def _by_status(status: int, hint: str) -> SourceError:
    if status == 416:
        return SourceError(Fault.SIZE, "is shorter than the file")
    found = refusal(ResponseHead(status, {}))
    if found.fault is Fault.AUTHORIZATION:
        found.hint = hint
    return found


def _without_status(text: str, *, has_begun: bool) -> SourceError:
    if _REGION in text:
        return SourceError(
            Fault.PROTOCOL, "the bucket is in another region", hint="Set AWS_REGION to the bucket's region."
        )
    if "NotPartial" in text:
        return Unranged()
    kind = _first(_KIND, text)
    if kind == "Timeout":
        return timed_out(body=has_begun)
    if kind == "Connect":
        return _unreached(text)
    if kind in ("Interrupted", "Request", "Decode"):
        return cut(body=has_begun)
    return SourceError(Fault.PROTOCOL, "the object store gave an answer that cannot be used")


def _unreached(text: str) -> SourceError:
    lowered = text.casefold()
    host = host_of(_first(_ASKED, text)) if _ASKED.search(text) else ""
    at = f" at {host}" if host else ""
    if "certificate" in lowered or "tls" in lowered:
        return SourceError(
            Fault.TLS,
            f"certificate refused{at}",
            hint="SSL_CERT_FILE may name a file with further trust anchors.",
        )
    variable = endpoint_variable(_SCHEMES.get(text.partition(":")[0], "s3"))
    hint = f"Check the network and {variable}, then try again; fetched data is kept."
    if "invalidmessage" in lowered:  # what answers there is no server of TLS
        hint = f"For a store on plain http, write http:// in {variable}."
        return SourceError(Fault.TLS, f"the TLS handshake failed{at}", hint=hint)
    if "dns error" in lowered:
        return SourceError(Fault.CONNECT, f"cannot resolve {host or 'host'}", retry=False, hint=hint)
    what = "connection refused" if "connection refused" in lowered else "no connection"
    return SourceError(Fault.CONNECT, f"{what}{at}", hint=hint)


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""

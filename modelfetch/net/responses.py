"""Decides what to do with an HTTP response to a range request: use it, send the request again, or fail. Pure.

The rules follow RFC 9110, sections 13 to 15. Header fields are not trusted: size and SHA-256 of the bytes
decide whether a file is right, and a field that contradicts what was expected costs at most another request
in a plainer form. No byte is written at an offset that the response did not state. For a request from byte
100 of 500::

    206, Content-Range: bytes 100-499/500    use the body from offset 100
    200, Content-Length: 500                 whole file: request it without a range, then skip 100 bytes
    416                                      request it without a range
    503, Retry-After: 5                      fail with a fault that allows a retry
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from modelfetch.errors import Fault, SourceError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.text import media_type, sanitize
from modelfetch.net.retry import retry_after

if TYPE_CHECKING:
    from modelfetch.net.challenges import Challenge

_BUSY = frozenset({408, 425, 429, 503, 529})
_SERVER = frozenset({500, 502, 504, 520, 521, 522, 523, 524})
_GONE = {
    404: "not found",
    410: "permanently removed (410)",
    451: "withheld for legal reasons (451)",
}
# IPFS gateways answer with status 500 and one of these texts if they cannot find the content.
_NOT_HERE = (
    "ipld: could not find node",
    "peer does not have",
    "getting pieces containing cid",
    "failed to load root node",
)
_CONTENT_RANGE = r"(?ai)bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)"
"""Range units are case-insensitive (RFC 9110, 14.1)."""


class Unranged(SourceError):  # noqa: N818 - describes the source, not only the failure
    """A source sends no ranges: asked for a part in the middle, it sends the whole file or all the rest."""

    def __init__(self) -> None:
        super().__init__(Fault.PROTOCOL, "does not send parts of files")


class Unresolved(SourceError):  # noqa: N818 - describes the host, not only the failure
    """The name of a host cannot be resolved."""

    def __init__(self, message: str, *, retry: bool | None = None) -> None:
        super().__init__(Fault.CONNECT, message, retry=retry)


class Challenged(SourceError):  # noqa: N818 - says what the server asks for, not only that it refused
    """The server that was asked requires credentials (401), and says of which kind.

    Attributes:
        challenge: What it asked for.
    """

    def __init__(self, challenge: Challenge, sent: str) -> None:
        message, hint = _unauthorized(sent)
        super().__init__(Fault.AUTHORIZATION, message, hint=hint)
        self.challenge = challenge


@dataclass(frozen=True, slots=True)
class RangeRequest:
    """A request for bytes of a file of ``size`` bytes, from ``start`` on."""

    start: int
    size: int
    ranged: bool = True
    """Whether a ``Range`` is sent. Without one the whole file is sent, and the part we have is skipped."""
    etag: str = ""
    """Strong validator of the bytes already received from the same origin (``If-Range``), or empty."""
    fresh: bool = True
    """Whether an expired signed link may still be renewed by starting over; allowed once per request."""
    end: int | None = None
    """End of the bytes, exclusive; None for the end of the file. If a part in the middle is requested, only
    that part is accepted, because other connections may be fetching the rest. For a part at the start the
    whole file is accepted too."""

    first_byte: float | None = None
    """Seconds for the first byte; None for ``stall_timeout``."""

    @property
    def last(self) -> int:
        """Position of the last byte requested."""
        return (self.size if self.end is None else self.end) - 1

    def unranged(self) -> RangeRequest:
        """The same request without a range.

        Raises:
            Unranged: The request is for a part in the middle, which needs a range.
        """
        if self.end is not None:
            raise Unranged
        return replace(self, ranged=False, etag="")


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A response, as far as the decision needs it."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    redirected: bool = False
    """Whether it came after a redirect, and so perhaps from a signed link."""
    excerpt: str = ""
    """The beginning of a body that will not be used, as text."""
    sent: str = ""
    """Kind of credential that was sent to this server, ``token`` or ``password``; empty if none."""
    challenge: Challenge | None = None
    """What a 401 asked for; None after a redirect to another origin, whose challenges are not answered."""


@dataclass(frozen=True, slots=True)
class Accept:
    """Use the body: it starts at ``start`` of the file and has ``length`` bytes; None if not stated."""

    start: int
    length: int | None
    ranged: bool = False
    """Whether it is the requested range, and not the whole file."""


@dataclass(frozen=True, slots=True)
class Resend:
    """Send another request instead."""

    request: RangeRequest


def judge(request: RangeRequest, head: ResponseHead) -> Accept | Resend:
    """Decide what to do with a response.

    Returns:
        Accept to use the body, or Resend to send the request in another form. Each Resend drops one of
        validator, range and renewal of a signed link, so their number is limited.

    Raises:
        SourceError: The response cannot be used; its fault says whether to retry or to use another source.
    """
    match head.status:
        case 206:
            return _partial(request, head)
        case 200:
            return _whole(request, head)
        case 416:
            return _unsatisfiable(request)
        case 405 | 501 if request.ranged:  # perhaps because of the range
            return Resend(request.unranged())
        # How servers answer to an expired signed link; starting over at the first URL renews it.
        case 401 | 403 | 404 | 410 if head.redirected and request.fresh:
            return Resend(replace(request, fresh=False))
        case _:
            raise refusal(head)


def refusal(head: ResponseHead) -> SourceError:
    """The error for a status that cannot be used."""
    status, wait = head.status, retry_after(head.headers)
    if status in _GONE or head.excerpt.startswith(_NOT_HERE):
        return SourceError(Fault.NOT_FOUND, _GONE.get(status, "not found"))
    if status in _BUSY or (status == 403 and wait is not None):
        return SourceError(Fault.BUSY, f"{_status_text(status)} ({status})", retry_after=wait)
    if status in _SERVER:
        return SourceError(Fault.SERVER, f"{_status_text(status)} ({status})", retry_after=wait)
    if status == 401 and head.challenge is not None:
        return Challenged(head.challenge, head.sent)
    return _permanent(status, head.sent)


def _unauthorized(sent: str) -> tuple[str, str]:
    """Message and hint for status 401."""
    if sent:
        return f"the {sent} was refused (401)", f"Renew the {sent}, or remove it: public files need none."
    # No hint here: only the source knows which server this is and which credential it needs.
    return "access refused (401)", ""


def _permanent(status: int, sent: str) -> SourceError:
    """The error for a status that will not change when the request is sent again."""
    match status:
        case 401:
            message, hint = _unauthorized(sent)
            return SourceError(Fault.AUTHORIZATION, message, hint=hint)
        case 403:
            return SourceError(Fault.AUTHORIZATION, f"access refused ({status})")
        case 407:
            return SourceError(
                Fault.PROXY,
                "the proxy requires credentials (407)",
                hint="Put user and password into HTTPS_PROXY.",
            )
        case 421:
            return SourceError(Fault.PROTOCOL, UNKNOWN_NAME, hint=UNKNOWN_NAME_HINT)
        case 507:
            return SourceError(
                Fault.PROTOCOL,
                "the server cannot store the file: its disk is full, or cannot be written (507)",
            )
        case 511:
            return SourceError(
                Fault.PROTOCOL, "the network requires a login first (511)", hint="Open a browser and log in."
            )
        case _:
            return SourceError(Fault.PROTOCOL, f"unexpected answer: {_status_text(status)} ({status})")


def _partial(request: RangeRequest, head: ResponseHead) -> Accept | Resend:
    """Decide on status 206, which should come with the requested range."""
    part = _stated_part(request, head.headers)
    if part is not None and (request.ranged or part == (0, request.size)):
        return Accept(part[0], part[1] - part[0], request.ranged)
    if encoding := _encoding(head.headers):
        raise SourceError(Fault.PROTOCOL, f"sent the range encoded as {encoding}")
    if not request.ranged:
        raise SourceError(Fault.PROTOCOL, "sent a range that was not requested (206)")
    return Resend(request.unranged())


def _stated_part(request: RangeRequest, headers: Mapping[str, str]) -> tuple[int, int] | None:
    """The part of the file that a response states, if it starts as requested and does not go beyond.

    It may be shorter than requested (RFC 9110, 15.3.7); the rest is requested again. A changed validator is
    ignored: the servers of one CDN send different ones for the same file, and the digest decides.

    Returns:
        Start and end (exclusive); None if nothing is stated, or something that cannot be right.
    """
    match = re.fullmatch(_CONTENT_RANGE, headers.get("content-range", "").strip())
    if match is None:
        return None
    first, end = int(match[1]), int(match[2]) + 1
    is_part = first == (request.start if request.ranged else 0) and first < end <= request.last + 1
    is_whole = match[3] in ("*", str(request.size))
    length = length_of(headers)
    if not (is_part and is_whole and length in (None, end - first)):
        return None
    # Ranges are of the encoded representation (RFC 9110, 14.1.2). If that has the pinned size, the bytes are
    # those of the file itself, whatever Content-Encoding says.
    is_raw = not _encoding(headers) or match[3] != "*" or length is not None
    return (first, end) if is_raw else None


def _whole(request: RangeRequest, head: ResponseHead) -> Accept | Resend:
    """Decide on status 200, which should come with the whole file."""
    if request.ranged and "content-range" in head.headers:
        if _stated_part(request, head.headers) == (request.start, request.last + 1):
            # Status 200 is wrong, but the body is the part requested: treat it like status 206.
            return Accept(request.start, request.last + 1 - request.start, ranged=True)
        return Resend(request.unranged())
    length = length_of(head.headers)
    _check_length(length, request, head)
    if not request.ranged or request.start == 0:  # the requested bytes come first; reading stops after them
        return Accept(0, length)
    if request.etag:  # some caches ignore Range next to If-Range; the validator may also have changed
        return Resend(replace(request, etag=""))
    return Resend(request.unranged())


def _check_length(length: int | None, request: RangeRequest, head: ResponseHead) -> None:
    """Raise if the stated length, or an encoding, shows that the body is not the file."""
    if length == request.size:
        return  # an encoding is ignored then: a body of the pinned size is the file itself
    if encoding := _encoding(head.headers):
        raise SourceError(Fault.PROTOCOL, f"sent the file encoded as {encoding}")
    if length is not None:
        raise _wrong_size(length, request, head)


def _unsatisfiable(request: RangeRequest) -> Resend:
    """Decide on status 416: the file may be right, so request it without a range."""
    if not request.ranged:
        raise SourceError(Fault.PROTOCOL, "refused a range that was not requested (416)")
    return Resend(request.unranged())


def strong_etag(headers: Mapping[str, str]) -> str:
    """The strong validator of a response, or empty: If-Range allows no weak ones (RFC 9110, 13.1.5)."""
    etag = headers.get("etag", "").strip()
    return etag if re.fullmatch(r'"[\x21\x23-\x7e]*"', etag) else ""


def _wrong_size(actual: int, request: RangeRequest, head: ResponseHead) -> SourceError:
    """The error for a response of another size than the file, with a hint if it is a known kind of page."""
    kind = media_type(head.headers.get("content-type", ""))
    message = f"has {actual} bytes instead of {request.size}" + (f" ({kind})" if kind else "")
    hint = ""
    if head.excerpt.startswith("version https://git-lfs.github.com/spec/"):
        message = "sent a Git LFS pointer instead of the file"
        hint = "Use the address of the LFS media, not of the raw repository file."
    elif kind == "text/html":
        message = f"sent a web page of {actual} bytes instead of the file"
        hint = "Perhaps a login page or a captive portal: open the address in a browser."
    return SourceError(Fault.SIZE, message, hint=hint)


def length_of(headers: Mapping[str, str]) -> int | None:
    """Length of the body in bytes; None if it is not stated, or stated in two ways (RFC 9112, 6.3)."""
    if "transfer-encoding" in headers:
        return None
    value = headers.get("content-length", "").strip()
    return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else None


def _encoding(headers: Mapping[str, str]) -> str:
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return ""
    return sanitize(encoding)[:40] or "an unreadable name"


UNKNOWN_NAME: Final = "it does not know itself by this name (421)"
"""Of a server that answers under its own names only, as ours does against DNS rebinding."""
ALLOW_HOST: Final = "its option --allow-host adds one"
"""What its operator can do about that."""
UNKNOWN_NAME_HINT: Final = f"Use another of its names, or its address; {ALLOW_HOST}."

_STATUS_TEXTS = {
    408: "request timed out",
    425: "too early",
    429: "too many requests",
    500: "internal server error",
    502: "bad gateway",
    503: "service unavailable",
    504: "gateway timed out",
    529: "overloaded",
}


def _status_text(status: int) -> str:
    """Words for a status. The reason phrase of the server is not used: it may contain anything."""
    return _STATUS_TEXTS.get(status, "server error" if status >= 500 else "HTTP status")

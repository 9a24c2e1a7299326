"""What an HTTP answer means for a byte range we asked for: one pure decision table.

The rules follow RFC 9110 sections 13 to 15. Size and SHA-256 decide in the end; this table finds early what
can be found early, and never lets a byte be written at an offset the answer did not prove.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from modelfetch.errors import Fault, SourceError
from modelfetch.model.text import sanitise
from modelfetch.net.retry import retry_after
from modelfetch.values import dataclass

_BUSY = frozenset({408, 425, 429, 503, 529})
_SERVER = frozenset({500, 502, 504, 520, 521, 522, 523, 524})
_GONE = {
    404: "not found",
    410: "gone for good (410)",
    451: "withheld for legal reasons (451)",
}
# How IPFS gateways say "not here" with status 500.
_NOT_HERE = (
    "ipld: could not find node",
    "peer does not have",
    "getting pieces containing cid",
    "failed to load root node",
)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)
_UNSATISFIED = re.compile(r"bytes \*/(\d{1,19})", re.ASCII)


class Unranged(SourceError):  # noqa: N818 - what the source is, not only what went wrong
    """A source was asked for a part in the middle, and sends the whole file, or all that follows."""

    def __init__(self) -> None:
        super().__init__(Fault.PROTOCOL, "does not send parts of files")


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked for: bytes of a file of ``size`` bytes, from ``start`` on."""

    start: int
    size: int
    ranged: bool = True
    """Whether a ``Range`` is sent. Without one the whole file comes and the part we have is skipped."""
    etag: str = ""
    """Strong validator of the bytes we hold from this very host, or empty."""
    fresh: bool = True
    """Whether a signed link may still be renewed: once per ask."""
    end: int | None = None
    """Where the bytes end, without the one at it; None for the end of the file. A part in the middle is taken
    as a part or not at all: others may be fetching the rest."""

    @property
    def last(self) -> int:
        """Position of the last byte that is asked for."""
        return (self.size if self.end is None else self.end) - 1

    def unranged(self) -> Ask:
        """The same without a range.

        Raises:
            Unranged: A part in the middle is asked for.
        """
        if self.end is not None:
            raise Unranged
        return replace(self, ranged=False, etag="")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, as far as the decision needs it."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    redirected: bool = False
    """Whether a redirect (and so perhaps a signed link) led here."""
    excerpt: str = ""
    """The first few bytes of a body that will not be used, as text."""
    sent: str = ""
    """What of ours whoever answered was sent to prove who we are, in a word; empty if nothing."""


@dataclass(frozen=True, slots=True)
class Accept:
    """Use the body: it starts at ``start`` of the file and has ``length`` bytes, or an unstated number."""

    start: int
    length: int | None


@dataclass(frozen=True, slots=True)
class Again:
    """Ask once more, like this."""

    ask: Ask


def judge(ask: Ask, answer: Answer) -> Accept | Again:
    """Decide what to do with an answer.

    Returns:
        Accept to use the body, or Again to repeat the request in another form. Each Again gives up one thing
        (the validator, the range, the signed link), so a chain of them ends.

    Raises:
        SourceError: The answer is of no use; the fault says whether to come back or to go elsewhere.
    """
    match answer.status:
        case 206:
            return _partial(ask, answer)
        case 200:
            return _whole(ask, answer)
        case 416:
            return _unsatisfiable(ask, answer)
        case 405 | 501 if ask.ranged:
            return Again(ask.unranged())
        case 401 | 403 | 404 | 410 if answer.redirected and ask.fresh:
            return Again(replace(ask, fresh=False))
        case _:
            raise refusal(answer)


def refusal(answer: Answer) -> SourceError:
    """The error an unusable status stands for."""
    status, wait = answer.status, retry_after(answer.headers)
    if status in _GONE or answer.excerpt.startswith(_NOT_HERE):
        return SourceError(Fault.NOT_FOUND, _GONE.get(status, "not found"))
    if status in _BUSY or (status == 403 and wait is not None):
        return SourceError(Fault.BUSY, f"{_words(status)} ({status})", retry_after=wait)
    if status in _SERVER:
        return SourceError(Fault.SERVER, f"{_words(status)} ({status})", retry_after=wait)
    return _permanent(status, answer.sent)


def _permanent(status: int, sent: str) -> SourceError:
    match status:
        case 401 if sent:
            return SourceError(
                Fault.AUTHORISATION,
                f"the {sent} was refused ({status})",
                hint=f"Renew the {sent}, or take it out: what is public needs none.",
            )
        case 401 | 403:
            return SourceError(
                Fault.AUTHORISATION,
                f"access refused ({status})",
                hint="Set HF_TOKEN to a token that may read it, and accept the terms on its page.",
            )
        case 407:
            return SourceError(
                Fault.PROXY,
                "the proxy wants credentials (407)",
                hint="Put user and password into HTTPS_PROXY.",
            )
        case 511:
            return SourceError(
                Fault.PROTOCOL, "the network wants a login first (511)", hint="Open a browser and log in."
            )
        case _:
            return SourceError(Fault.PROTOCOL, f"unexpected answer: {_words(status)} ({status})")


def _partial(ask: Ask, answer: Answer) -> Accept:
    headers = answer.headers
    if not ask.ranged:
        raise SourceError(Fault.PROTOCOL, "sent a range that was not asked for (206)")
    if encoding := _encoding(headers):
        raise SourceError(Fault.PROTOCOL, f"sent the range encoded as {encoding}")
    match = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    if match is None:
        raise SourceError(Fault.PROTOCOL, "sent a range without saying which (no single Content-Range)")
    first, last = int(match[1]), int(match[2])
    if match[3] != "*" and int(match[3]) != ask.size:
        raise _other_size(int(match[3]), ask, answer)
    if ask.end is not None and first == ask.start and ask.last < last < ask.size:
        raise Unranged
    if first != ask.start or not first <= last <= ask.last or (match[3] == "*" and last != ask.last):
        raise SourceError(Fault.PROTOCOL, f"sent bytes {first}-{last} instead of {ask.start}-{ask.last}")
    length = last - first + 1
    if _length(headers) not in (None, length):
        raise SourceError(Fault.PROTOCOL, f"announced {_length(headers)} bytes for a range of {length}")
    _same_entity(ask, headers)
    return Accept(first, length)


def _whole(ask: Ask, answer: Answer) -> Accept | Again:
    headers = answer.headers
    length = _length(headers)
    if "content-range" in headers:
        raise SourceError(Fault.PROTOCOL, "sent a whole file that claims to be a range")
    if encoding := _encoding(headers):
        raise SourceError(Fault.PROTOCOL, f"sent the file encoded as {encoding}")
    if length is not None and length != ask.size:
        raise _other_size(length, ask, answer)
    if not ask.ranged or (ask.start == 0 and ask.end is None):
        return Accept(0, length)
    _same_entity(ask, headers)
    if ask.etag:  # some caches drop the range when a validator comes with it
        return Again(replace(ask, etag=""))
    return Again(ask.unranged())


def _unsatisfiable(ask: Ask, answer: Answer) -> Again:
    match = _UNSATISFIED.fullmatch(answer.headers.get("content-range", "").strip())
    if match is not None and int(match[1]) != ask.size:
        raise _other_size(int(match[1]), ask, answer)
    if not ask.ranged:
        raise SourceError(Fault.PROTOCOL, "refused a range that was not asked for (416)")
    return Again(ask.unranged())


def _same_entity(ask: Ask, headers: Mapping[str, str]) -> None:
    now = strong_etag(headers)
    if ask.etag and now and now != ask.etag:
        raise SourceError(Fault.PROTOCOL, "the file changed there while it was being read")


def strong_etag(headers: Mapping[str, str]) -> str:
    """The strong validator of an answer, or empty: weak ones must not be combined (RFC 9110, 13.1.5)."""
    etag = headers.get("etag", "").strip()
    return etag if re.fullmatch(r'"[\x21\x23-\x7e]*"', etag) else ""


def _other_size(actual: int, ask: Ask, answer: Answer) -> SourceError:
    kind = sanitise(answer.headers.get("content-type", "").partition(";")[0].strip())[:40]
    message = f"has {actual} bytes there instead of {ask.size}" + (f" ({kind})" if kind else "")
    hint = ""
    if answer.excerpt.startswith("version https://git-lfs.github.com/spec/"):
        message = "sent a Git LFS pointer instead of the file"
        hint = "Use the address of the LFS media, not of the raw repository file."
    elif kind == "text/html":
        message = f"sent a web page of {actual} bytes instead of the file"
        hint = "Perhaps a login page or a captive portal: open the address in a browser."
    return SourceError(Fault.SIZE, message, hint=hint)


def _length(headers: Mapping[str, str]) -> int | None:
    if "transfer-encoding" in headers:
        return None
    value = headers.get("content-length", "").strip()
    return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else None


def _encoding(headers: Mapping[str, str]) -> str:
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return ""
    return sanitise(encoding)[:40] or "something unreadable"


_WORDS = {
    408: "request timed out",
    425: "too early",
    429: "too many requests",
    500: "internal server error",
    502: "bad gateway",
    503: "service unavailable",
    504: "gateway timed out",
    529: "overloaded",
}


def _words(status: int) -> str:
    """Our own words for a status: a remote reason phrase may hold anything."""
    return _WORDS.get(status, "server error" if status >= 500 else "HTTP status")

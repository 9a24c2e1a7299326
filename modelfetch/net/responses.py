"""What an HTTP answer means for a byte range we asked for: one pure decision table.

The rules follow RFC 9110 sections 13 to 15. Size and SHA-256 decide in the end, header fields never do: one
that contradicts what was expected costs at most another request, in a plainer form. No byte is ever written
at an offset that the answer did not state.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from modelfetch.errors import Fault, SourceError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import media_type, sanitise
from modelfetch.net.retry import retry_after

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
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII | re.IGNORECASE)
"""Range units are case-insensitive (RFC 9110, 14.1)."""


class Unranged(SourceError):  # noqa: N818 - what the source is, not only what went wrong
    """A source was asked for a part in the middle, and sends the whole file, or all that follows."""

    def __init__(self) -> None:
        super().__init__(Fault.PROTOCOL, "does not send parts of files")


class Unresolved(SourceError):  # noqa: N818 - what the host's name is, not only what went wrong
    """There is no address for the name of a host."""

    def __init__(self, message: str, *, retry: bool | None = None) -> None:
        super().__init__(Fault.CONNECT, message, retry=retry)


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
    as a part or not at all: others may be fetching the rest. Instead of one at the start the whole file may
    come."""

    first_byte: float | None = None
    """Seconds that the first byte may take; None for as long as any silence may."""

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
    ranged: bool = False
    """Whether it is the part that was asked for, and not simply the file."""


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
            return _unsatisfiable(ask)
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
            # No hint: only the source knows whose server it is, and what opens it.
            return SourceError(Fault.AUTHORISATION, f"access refused ({status})")
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


def _partial(ask: Ask, answer: Answer) -> Accept | Again:
    part = _stated_part(ask, answer.headers)
    if part is not None and (ask.ranged or part == (0, ask.size)):
        return Accept(part[0], part[1] - part[0], ask.ranged)
    if encoding := _encoding(answer.headers):
        raise SourceError(Fault.PROTOCOL, f"sent the range encoded as {encoding}")
    if not ask.ranged:
        raise SourceError(Fault.PROTOCOL, "sent a range that was not asked for (206)")
    return Again(ask.unranged())


def _stated_part(ask: Ask, headers: Mapping[str, str]) -> tuple[int, int] | None:
    """The part of the file that an answer says it is: from where asked for, and not beyond.

    Less than asked for is an honest answer (RFC 9110, 15.3.7): the rest is asked for again. A changed
    validator says nothing: edges of one network give the same file different ones, and the digest decides.

    Returns:
        Its start and its end; None where the answer does not say, or says what cannot be.
    """
    match = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    if match is None:
        return None
    first, end = int(match[1]), int(match[2]) + 1
    is_part = first == (ask.start if ask.ranged else 0) and first < end <= ask.last + 1
    is_whole = match[3] in ("*", str(ask.size))
    length = length_of(headers)
    if not (is_part and is_whole and length in (None, end - first)):
        return None
    # Ranges are of the bytes as encoded: those of a file of the pinned size are the file's own, raw.
    is_raw = not _encoding(headers) or match[3] != "*" or length is not None
    return (first, end) if is_raw else None


def _whole(ask: Ask, answer: Answer) -> Accept | Again:
    """Judge a status 200, which should come with the whole file."""
    if ask.ranged and "content-range" in answer.headers:
        if _stated_part(ask, answer.headers) == (ask.start, ask.last + 1):
            return Accept(ask.start, ask.last + 1 - ask.start, ranged=True)  # the 206 it should have been
        return Again(ask.unranged())
    length = length_of(answer.headers)
    _check_length(length, ask, answer)
    if not ask.ranged or ask.start == 0:  # what is asked for comes first, whoever wants no more may stop
        return Accept(0, length)
    if ask.etag:  # some caches drop the range when a validator comes with it, and one may have changed
        return Again(replace(ask, etag=""))
    return Again(ask.unranged())


def _check_length(length: int | None, ask: Ask, answer: Answer) -> None:
    """Raise where a stated length, or an encoding, shows that the body is not the file."""
    if length == ask.size:
        return  # an encoding is ignored then: bytes of the pinned size are the file's own
    if encoding := _encoding(answer.headers):
        raise SourceError(Fault.PROTOCOL, f"sent the file encoded as {encoding}")
    if length is not None:
        raise _other_size(length, ask, answer)


def _unsatisfiable(ask: Ask) -> Again:
    if not ask.ranged:
        raise SourceError(Fault.PROTOCOL, "refused a range that was not asked for (416)")
    return Again(ask.unranged())


def strong_etag(headers: Mapping[str, str]) -> str:
    """The strong validator of an answer, or empty: weak ones must not be combined (RFC 9110, 13.1.5)."""
    etag = headers.get("etag", "").strip()
    return etag if re.fullmatch(r'"[\x21\x23-\x7e]*"', etag) else ""


def _other_size(actual: int, ask: Ask, answer: Answer) -> SourceError:
    kind = media_type(answer.headers.get("content-type", ""))
    message = f"has {actual} bytes there instead of {ask.size}" + (f" ({kind})" if kind else "")
    hint = ""
    if answer.excerpt.startswith("version https://git-lfs.github.com/spec/"):
        message = "sent a Git LFS pointer instead of the file"
        hint = "Use the address of the LFS media, not of the raw repository file."
    elif kind == "text/html":
        message = f"sent a web page of {actual} bytes instead of the file"
        hint = "Perhaps a login page or a captive portal: open the address in a browser."
    return SourceError(Fault.SIZE, message, hint=hint)


def length_of(headers: Mapping[str, str]) -> int | None:
    """Bytes that an answer says it has; None where it does not, or says it in two ways (RFC 9112, 6.3)."""
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

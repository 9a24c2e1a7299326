"""Reads issuer, subject and validity of a server's certificate from its bytes. Pure.

The ssl module states these only for a certificate that was verified. The reason for a failed verification is
mostly in a certificate that was not: a company proxy that issued it, or a date. So its DER encoding (RFC 5280
section 4.1, X.690) is read here, as far as these fields::

    Certificate = SEQUENCE { TBS = SEQUENCE { [0] version, serial, algorithm, issuer, validity, subject, ...

The bytes come from an unknown server: every length is checked, and anything unexpected is no certificate.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import sanitize

_SET: Final = 0x31
_OID: Final = 0x06
_VERSION: Final = 0xA0
"""Context tag 0, constructed; absent in certificates of version 1."""
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18
_COMMON_NAME: Final = bytes.fromhex("550403")
_ORGANIZATION: Final = bytes.fromhex("55040a")
_LONGEST_NAME: Final = 64
"""Characters of a name that are shown: the upper bound of a common name (RFC 5280, appendix A.1)."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate states about itself. Without verification any server can state anything."""

    issuer: str
    """Common name of the issuer, else its organization; safe to display, may be empty."""
    subject: str
    """The same of the subject."""
    starts: datetime
    """Start of its validity."""
    ends: datetime
    """End of its validity."""


def read_certificate(der: bytes) -> Certificate | None:
    """Read a certificate in DER form; None if the bytes are not one."""
    try:
        return _read(der)
    except (ValueError, IndexError, OverflowError):
        return None


def _read(der: bytes) -> Certificate:
    fields = _children(_children(der)[0][1])[0][1]
    elements = _children(fields, whole=False)
    if elements[0][0] == _VERSION:
        elements = elements[1:]
    issuer, validity, subject = elements[2], elements[3], elements[4]
    starts, ends = (_time(*element) for element in _children(validity[1])[:2])
    return Certificate(_name(issuer[1]), _name(subject[1]), starts, ends)


def _children(data: bytes, *, whole: bool = True) -> list[tuple[int, bytes]]:
    """Read the elements that some bytes consist of, each as its tag and its content.

    Args:
        data: The bytes.
        whole: Whether all elements are read; else the first six, with which a certificate begins.

    Raises:
        ValueError: A length exceeds the bytes.
    """
    found: list[tuple[int, bytes]] = []
    while data and (whole or len(found) < 6):
        tag, length, start = data[0], data[1], 2
        if length & 0x80:
            count = length & 0x7F
            if not 1 <= count <= 4:  # 0 is BER only; four bytes of length are more than any certificate has
                raise ValueError("length")
            start += count
            length = int.from_bytes(data[2:start], "big")
        if start + length > len(data):
            raise ValueError("length")
        found.append((tag, data[start : start + length]))
        data = data[start + length :]
    return found


def _name(content: bytes) -> str:
    """Read the common name, else the organization, of a Name: SEQUENCE OF SET OF SEQUENCE { OID, text }."""
    found: dict[bytes, str] = {}
    for tag, group in _children(content):
        if tag != _SET:
            raise ValueError("name")
        for _, pair in _children(group):
            (kind, oid), (_, text) = _children(pair)[:2]
            if kind == _OID:
                found.setdefault(oid, text.decode("utf-8", "replace"))
    return sanitize(found.get(_COMMON_NAME) or found.get(_ORGANIZATION) or "")[:_LONGEST_NAME]


def _time(tag: int, content: bytes) -> datetime:
    """Read a time (RFC 5280, 4.1.2.5): two digits of the year below 50 are of this century."""
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        text = f"{'20' if text < '5' else '19'}{text}"
    elif tag != _GENERALIZED_TIME:
        raise ValueError("time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)

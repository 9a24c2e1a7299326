"""Requests of the trustless gateway protocol: which blocks a client wants, and in which form.

Pure: path, query and header in, a value out. The formats are a raw block and a CAR file. For example, the
following asks for the blocks that prove the last 1,024 bytes of a file, and for those of the directories on
the way to it::

    GET /ipfs/<CID>/onnx/model.onnx?format=car&dag-scope=entity&entity-bytes=-1024:*
    Accept: application/vnd.ipld.car; version=1; order=dfs; dups=y

Rules of the trustless gateway specification: ``format`` prevails over ``Accept``, and ``car-version``,
``car-order`` and ``car-dups`` over the parameters of ``Accept`` (IPIP-523); a raw block has no path;
``entity-bytes`` implies ``dag-scope=entity`` (IPIP-402).
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qsl, unquote_to_bytes

from modelfetch.ipfs.cid import Cid
from modelfetch.ipfs.errors import MalformedError
from modelfetch.lazy_dataclass import dataclass

RAW_TYPE: Final = "application/vnd.ipld.raw"
CAR_TYPE: Final = "application/vnd.ipld.car"

LENGTH_LIMIT: Final = 16 * 1024
"""Longest target and ``Accept`` header in characters; a path of 1,024 bytes has up to 3,072."""
_FIELDS_LIMIT: Final = 64
"""Most fields of a query; the protocol has six. Each takes time and memory before it is known."""
_PREFIX: Final = "/ipfs/"
# At most 19 digits: sizes are below 2**63, and int() of long texts is slow.
_RANGE: Final = re.compile(r"(-?[0-9]{1,19}):(?:(-?[0-9]{1,19})|\*)")


class RequestError(ValueError):
    """A request cannot be answered; the message is for the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        """Status code of HTTP."""


class Format(StrEnum):
    """Form of an answer."""

    RAW = "raw"
    """One block."""
    CAR = "car"
    """Blocks in a CARv1 file."""


class Scope(StrEnum):
    """Which blocks follow those of the path."""

    BLOCK = "block"
    """The block at the end of the path alone."""
    ENTITY = "entity"
    """Those of a whole file, or all that list a directory."""
    ALL = "all"
    """Everything below."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Value of ``entity-bytes``. Negative positions count from the end of the file: -1 is its last byte."""

    first: int
    last: int | None
    """Inclusive; None stands for the last byte of the file."""

    def resolve(self, size: int) -> tuple[int, int] | None:
        """Apply the range to a file.

        Args:
            size: Bytes of the file.

        Returns:
            Positions of the first and last byte, both inclusive, within the file; None if the range has no
            bytes.

        Raises:
            RequestError: The range is entirely outside of the file.
        """
        first = self.first if self.first >= 0 else max(0, size + self.first)
        last = size - 1 if self.last is None else self.last if self.last >= 0 else size + self.last
        if size and (first >= size or last < 0):
            raise RequestError(400, f"entity-bytes is outside of the file, which has {size} bytes")
        last = min(last, size - 1)
        return (first, last) if first <= last else None

    def __str__(self) -> str:
        return f"{self.first}:{'*' if self.last is None else self.last}"


@dataclass(frozen=True, slots=True)
class TrustlessRequest:
    """What a client asks for."""

    cid: Cid
    format: Format
    path: tuple[bytes, ...] = ()
    """Names to follow from the CID on; not checked yet."""
    scope: Scope = Scope.ALL
    entity_bytes: ByteRange | None = None
    duplicates: bool = False
    """Whether a block is sent each time it occurs, so that the client need not keep any."""


def parse_request(target: str, accept: str = "") -> TrustlessRequest:
    """Parse a request.

    Args:
        target: Target of the HTTP request: path, still percent-encoded, and query.
        accept: Value of the ``Accept`` header; if there are several, joined by commas.

    Raises:
        RequestError: With status 400 (invalid) or 406 (a form that is not supported).
    """
    if max(len(target), len(accept)) > LENGTH_LIMIT or not target.isascii():
        raise RequestError(400, f"request has more than {LENGTH_LIMIT} characters, or others than ASCII")
    location, _, query = target.partition("?")
    try:
        fields = parse_qsl(query, keep_blank_values=True, max_num_fields=_FIELDS_LIMIT)
    except ValueError:
        raise RequestError(400, f"query has more than {_FIELDS_LIMIT} fields") from None
    options = dict(reversed(fields))  # of a repeated field the first one counts
    cid, path = _parse_location(location)
    types = _media_types(accept)
    chosen = _choose_format(options, types)
    if chosen is Format.RAW:
        if path:
            raise RequestError(400, "a raw block is requested by its CID alone, without a path")
        return TrustlessRequest(cid, chosen)
    return _parse_car(cid, path, options, types)


def _parse_location(location: str) -> tuple[Cid, tuple[bytes, ...]]:
    if not location.startswith(_PREFIX):
        raise RequestError(400, f"path does not begin with {_PREFIX}")
    text, *names = location.removeprefix(_PREFIX).split("/")
    if names and not names[-1]:  # a slash at the end, as of directories
        names.pop()
    try:
        cid = Cid.parse(text)
    except MalformedError as error:
        raise RequestError(400, f"CID: {error}") from None
    return cid, tuple(unquote_to_bytes(name) for name in names)


def _media_types(accept: str) -> dict[str, dict[str, str]]:
    """Parse the media types of an ``Accept`` header, by preference, with their parameters."""
    found: list[tuple[str, dict[str, str]]] = []
    for item in accept.split(","):
        name, *rest = item.split(";")
        parameters = {}
        for parameter in rest:
            key, _, value = parameter.partition("=")
            parameters[key.strip().lower()] = value.strip().strip('"').lower()
        found.append((name.strip().lower(), parameters))
    types: dict[str, dict[str, str]] = {}
    # The sort is stable: of equal weights, and of a repeated type, the first one is preferred.
    for name, parameters in sorted(found, key=lambda item: -_weight(item[1])):
        if _weight(parameters):
            types.setdefault(name, parameters)
    return types


def _weight(parameters: dict[str, str]) -> float:
    """The weight of a media type, 1 if none is given or it is invalid; 0 if it is not acceptable."""
    text = parameters.get("q", "1")
    return float(text) if re.fullmatch(r"[01](\.[0-9]{0,3})?", text, re.ASCII) else 1.0


def _choose_format(options: dict[str, str], types: dict[str, dict[str, str]]) -> Format:
    if "format" in options:
        try:
            return Format(options["format"])
        except ValueError:
            raise RequestError(406, "supported formats are raw and car") from None
    for name in types:
        if name in {RAW_TYPE, CAR_TYPE}:
            return Format.RAW if name == RAW_TYPE else Format.CAR
    # Files themselves are not served: only what the client can verify.
    raise RequestError(400, f"add ?format=raw or ?format=car, or accept {RAW_TYPE} or {CAR_TYPE}")


def _parse_car(
    cid: Cid, path: tuple[bytes, ...], options: dict[str, str], types: dict[str, dict[str, str]]
) -> TrustlessRequest:
    parameters = types.get(CAR_TYPE, {})
    version, order, duplicates = (
        options.get(f"car-{name}", parameters.get(name, "")) for name in ("version", "order", "dups")
    )
    # Every order is also an unknown one, so that depth first fits both.
    if version not in {"", "1"} or order not in {"", "dfs", "unk"} or duplicates not in {"", "y", "n"}:
        raise RequestError(406, "supported are CAR version 1, order dfs or unk, and dups y or n")
    try:
        scope = Scope(options.get("dag-scope", "all"))
    except ValueError:
        raise RequestError(400, "dag-scope must be block, entity or all") from None
    wanted = options.get("entity-bytes")
    entity_bytes = None if wanted is None else _parse_range(wanted)
    return TrustlessRequest(
        cid,
        Format.CAR,
        path,
        Scope.ENTITY if entity_bytes else scope,
        entity_bytes,
        duplicates == "y",
    )


def _parse_range(text: str) -> ByteRange:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise RequestError(400, "entity-bytes must be two numbers, or a number and *, with a colon between")
    first, last = int(match[1]), None if match[2] is None else int(match[2])
    if last is not None and (first < 0) == (last < 0) and last < first:
        raise RequestError(400, "entity-bytes must not end before it begins")
    return ByteRange(first, last)

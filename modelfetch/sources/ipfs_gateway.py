"""One IPFS gateway, by the trustless gateway protocol: single blocks, and CAR files of parts of a file.

Requests say what is wanted in the query and in ``Accept``, because some servers read only one of them::

    GET /ipfs/bafybei...?format=raw                                            one block
    GET /ipfs/bafybei...?format=car&dag-scope=entity&entity-bytes=0:1048575    the blocks of a range of a file

A gateway may send anything: each block is hashed before it is used. Statuses mean:

================================  ======================================================================
401 403 404 410 412 451           not here: the next gateway, and no mark against this one
a redirect that is not followed   the same
429 503, with ``Retry-After``     busy: other sources first, and this host not before that time
500 502 504                       not found in time: the next gateway
400 406                           what this gateway does not serve; an unchanged retry would fail again
a block that does not match       blamed on the gateway, which is not asked for the file again
================================  ======================================================================
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from modelfetch.errors import Fault, SourceError
from modelfetch.ipfs.car import BLOCK_LIMIT
from modelfetch.ipfs.trustless_request import CAR_TYPE, RAW_TYPE
from modelfetch.model.text import media_type
from modelfetch.net.responses import ResponseHead, refusal
from modelfetch.net.urls import host_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modelfetch.ipfs.cid import Cid
    from modelfetch.net.answers import Answer
    from modelfetch.net.client import Client

LOCAL_NODE: Final = "http://127.0.0.1:8080"
"""Where the gateway of an IPFS node on this machine listens (default of kubo, ``Addresses.Gateway``)."""
EMPTY_CID: Final = "bafkqaaa"
"""An empty file as an identity CID (multihash 0x00): every gateway can answer it without a search."""

_CAR_FORM: Final = f"{CAR_TYPE}; version=1; order=dfs; dups=y"
"""Blocks in the order of the file, and each as often as the file needs it, so that none has to be kept."""

_FOUNDATION: Final = ("ipfs.io", "dweb.link", "trustless-gateway.link", "w3s.link", "nftstorage.link")
"""Hosts behind which the same servers stand (the last two redirect there since 2025)."""


class Gateway:
    """One gateway of a run. May be used by several threads.

    Args:
        url: Base address, without ``/ipfs``.
        client: HTTP client of the run.

    Attributes:
        url: Base address, without a slash at its end.
        host: Host for display.
        sends_files: Whether it sends whole files; gateways that are trustless only send blocks and CAR files.
        has_answered: Whether it ever sent data in this run. Its silence is waited for, then.
    """

    def __init__(self, url: str, client: Client) -> None:
        self.url = url.rstrip("/")
        self.host = host_of(url)
        self.sends_files = True
        self.has_answered = False
        self._client = client

    def block(self, cid: Cid, first_byte: float | None = None) -> bytes:
        """Request one block, and verify it.

        Args:
            cid: Of a block with sha2-256.
            first_byte: Seconds for connecting, and again for the first byte.

        Raises:
            SourceError: The gateway does not have the block, or sent something else.
            Cancelled: The run was cancelled.
        """
        with self._open(f"{cid.to_v1().text}?format=raw", RAW_TYPE, first_byte) as answer:
            # Limited to the largest block that nodes and gateways exchange; a larger body is something else.
            block = answer.read(BLOCK_LIMIT)
            if not cid.matches(block):
                raise _wrong_block(answer)
        return block

    def has_block(self, cid: Cid, first_byte: float | None) -> None:
        """Find out whether the gateway has a block; its bytes are not read.

        Raises:
            SourceError: It does not have it, or does not answer.
            Cancelled: The run was cancelled.
        """
        self._open(f"{cid.to_v1().text}?format=raw", RAW_TYPE, first_byte).close()

    def car(self, cid: Cid, part: tuple[int, int] | None, first_byte: float | None) -> Answer:
        """Request the blocks of a file as a CAR file; the caller reads and closes the answer.

        Args:
            cid: Of the file.
            part: Start and end (exclusive) of the bytes that are needed; None for the whole file.
            first_byte: As for :meth:`block`.

        Raises:
            SourceError: The gateway does not have the file, or sends no CAR files.
            Cancelled: The run was cancelled.
        """
        # Both ends are inclusive in the query.
        selected = "" if part is None else f"&entity-bytes={part[0]}:{part[1] - 1}"
        return self._open(f"{cid.to_v1().text}?format=car&dag-scope=entity{selected}", _CAR_FORM, first_byte)

    def is_ready(self, seconds: float) -> bool:
        """Whether a gateway answers here, by the request that every one answers without a search.

        Args:
            seconds: Time limit.
        """
        try:
            with self._open(f"{EMPTY_CID}?format=raw", RAW_TYPE, seconds) as answer:
                return answer.read(1) == b""
        except SourceError:
            return False

    def _open(self, content: str, accept: str, first_byte: float | None) -> Answer:
        # The fields are sent along redirects too: gateways redirect to a subdomain and may drop the query.
        url = f"{self.url}/ipfs/{content}"
        with not_here():
            answer = self._client.open(url, {"Accept": accept}, None, first_byte=first_byte)
        if answer.status == 200:
            return answer
        try:
            # The excerpt, because some gateways say "not found" in the body of a 500 alone.
            head = ResponseHead(answer.status, answer.headers, excerpt=answer.excerpt())
        finally:
            answer.close()
        with not_here():
            error = refusal(head)
            if answer.status == 412:
                error = SourceError(Fault.NOT_FOUND, "not stored there (412)")
            raise error


@contextmanager
def not_here() -> Iterator[None]:
    """Translate failures that say, in the case of a gateway, that it does not offer this content.

    No gateway has a login, and a redirect that must not be followed leads to another site: a later retry
    would fail too, and neither says anything about other files.
    """
    try:
        yield
    except SourceError as error:
        if error.fault in (Fault.AUTHORIZATION, Fault.REDIRECT):
            error.fault, error.hint = Fault.NOT_FOUND, ""
        raise


def _wrong_block(answer: Answer) -> SourceError:
    """Make the error for a body that does not match. A page of another type does not pass for a block."""
    kind = media_type(answer.headers.get("content-type", ""))
    if kind in ("", RAW_TYPE, "application/octet-stream"):
        return SourceError(Fault.HASH, "sent a block that does not match its CID")
    return SourceError(Fault.PROTOCOL, f"sent {kind} instead of a block")


def distinct(urls: Sequence[str]) -> list[str]:
    """Leave out gateways behind which the same servers stand as behind an earlier one."""
    seen: set[str] = set()
    kept = []
    for url in urls:
        backend = _backend_of(url)
        if backend not in seen:
            seen.add(backend)
            kept.append(url)
    return kept


def _backend_of(url: str) -> str:
    host = urlsplit(url).hostname or ""
    if any(f".{host}".endswith(f".{name}") for name in _FOUNDATION):
        return _FOUNDATION[0]
    return url

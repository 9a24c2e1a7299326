"""The offer of one gateway for one file: its leaf table, and its bytes by the cheapest way that works there.

1. The file itself, from an offset on (``Range``): one request, and it can be resumed anywhere.
2. Where a gateway does not send ranges, or no files at all: its leaves, out of a CAR file with the blocks of
   the range, or for a short range with a request for each.
3. Where it does neither: the file from its beginning.

A gateway gets one stream for a file, not several, because it limits the requests of each client (as few as 15
a minute for one CID). Bytes of the first and third way are verified by the reader, with the leaf table or the
SHA-256 of the file; blocks are verified here.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

from modelfetch.errors import Fault, SourceError
from modelfetch.model.source_kinds import SourceKind
from modelfetch.net.responses import RangeRequest, Unranged
from modelfetch.net.time_limits import Memory
from modelfetch.sources.base import HttpOffer
from modelfetch.sources.ipfs_gateway import not_here

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelfetch.ipfs.leaf_table import LeafTable
    from modelfetch.net.client import Client
    from modelfetch.net.credentials import Credential
    from modelfetch.sources.base import Stream
    from modelfetch.sources.ipfs_content import FileContent
    from modelfetch.sources.ipfs_gateway import Gateway
    from modelfetch.sources.ipfs_hedge import Hedge

T = TypeVar("T")

SHORT_ROWS: Final = 2
"""Most leaves that are requested one by one, as for a repair. A CAR file has the inner nodes too, of up to
50 KB each."""

_OTHERWISE: Final = frozenset({Fault.PROTOCOL, Fault.SIZE})
"""Faults of an answer that is not the file, such as a page, or 406: perhaps only blocks are sent there."""


class GatewayOffer(HttpOffer):
    """A file at a gateway.

    Args:
        gateway: The gateway.
        path: What is requested as a file: the CID, or the CID of a directory and a path.
        size: Size of the file in bytes.
        content: What the offers of the file share.
        hedge: Asks the other gateways early while one is silent.
        client: HTTP client of the run.
    """

    def __init__(
        self, gateway: Gateway, path: str, size: int, content: FileContent, hedge: Hedge, client: Client
    ) -> None:
        super().__init__(SourceKind.IPFS, f"{gateway.url}/ipfs/{path}", size, client)
        self._gateway = gateway
        self._content = content
        self._hedge = hedge
        self._sends_ranges = True

    def leaf_table(self, first_byte: float | None = None) -> LeafTable:
        """Return the leaf table of the file; its inner nodes are requested, unless a table is known.

        Args:
            first_byte: Seconds for the first byte of each of them, if less than the limits allow.

        Raises:
            NoTableError: The CID has no table, whichever gateway is asked.
            SourceError: The gateway failed.
            Cancelled: The run was cancelled.
        """
        return self._asked(first_byte, lambda: self._content.leaf_table(self._gateway, first_byte))

    def open(self, offset: int, end: int | None = None, first_byte: float | None = None) -> Stream:
        """Request bytes of the file; see :meth:`.Offer.open`."""
        return self._asked(first_byte, lambda: self._open(offset, end, first_byte))

    def _asked(self, first_byte: float | None, request: Callable[[], T]) -> T:
        """Send requests, while other gateways are asked early if this one is silent."""

        def send(_: Credential | None) -> T:
            with self._hedge.waiting(self._gateway, first_byte):
                found = request()
            self._gateway.has_answered = True
            return found

        return self._send(send)

    def _open(self, offset: int, end: int | None, first_byte: float | None) -> Stream:
        failure: SourceError | None = None if self._sends_ranges else Unranged()
        if self._gateway.sends_files and self._sends_ranges:
            try:
                return self._open_file(offset, end, first_byte)
            except Unranged as error:
                self._sends_ranges = False
                failure = error
            except SourceError as error:
                if error.fault not in _OTHERWISE:
                    raise
                failure = error
        try:
            stream = self._open_leaves(offset, self._size if end is None else end, first_byte)
        except SourceError as error:
            # A refusal of this form only; anything else, such as a wait that is asked for, holds for all.
            if error.fault not in _OTHERWISE:
                raise
            return self._last_way(end, first_byte, failure or error)
        if failure is not None and not isinstance(failure, Unranged):
            self._gateway.sends_files = False
        return stream

    def _open_file(self, offset: int, end: int | None, first_byte: float | None) -> Stream:
        # With an end, an answer without a range is a failure: leaves from ``offset`` on are fewer bytes than
        # the file from its beginning.
        end = self._size if offset and end is None else end
        # An expired signed link is no matter here, so a refusal behind a redirect is final.
        request = RangeRequest(offset, self._size, fresh=False, end=end, first_byte=first_byte)
        with not_here():
            # Without a validator: what a CID identifies never changes, and gateways differ in their tags.
            return self._client.request(self.address, request, credential=None, memory=Memory())

    def _open_leaves(self, start: int, end: int, first_byte: float | None) -> Stream:
        # Late, because most gateways send ranges, and files of one block need no table.
        from modelfetch.sources.ipfs_streams import BlockStream, CarStream

        table = self._content.leaf_table(self._gateway, first_byte)
        if len(list(islice(table.rows_in(start, end), SHORT_ROWS + 1))) <= SHORT_ROWS:
            return BlockStream(self._gateway, table, start, end, first_byte)
        return CarStream(self._gateway, table, start, end, first_byte)

    def _last_way(self, end: int | None, first_byte: float | None, failure: SourceError) -> Stream:
        """Request the file from its beginning, if that is all that the gateway sends; else raise."""
        if end is None and not self._sends_ranges and self._gateway.sends_files:
            return self._open_file(0, None, first_byte)
        raise failure

"""Verified blocks and files from IPFS gateways, for upstreams: one gateway after the other.

What a gateway sends is proven by the CID before it is used, so gateways can be mixed: the next one continues
where the last one failed. All but the last have a short time limit for the first byte.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

from modelfetch.errors import Fault, SourceError, UnavailableError
from modelfetch.ipfs.checked_bytes import CheckedBytes
from modelfetch.model.units import format_range
from modelfetch.sources.ipfs_content import BlockCache, FileContent
from modelfetch.sources.ipfs_hedge import Hedge
from modelfetch.sources.ipfs_offer import GatewayOffer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modelfetch.ipfs.cid import Cid
    from modelfetch.net.hub_client import HubClient
    from modelfetch.sources.ipfs_gateway import Gateway

FIRST_BYTE: Final = 5.0
"""Seconds for the first byte of a gateway while another one is left, as for downloads."""

_HINT: Final = "Try again later, or add a gateway that has it: `modelfetch config set ipfs.gateways URL`."


class Gateways:
    """The gateways of a run. May be used by several threads.

    Args:
        hub: Waits between attempts.
        gateways: In the order in which they are asked.
    """

    def __init__(self, hub: HubClient, gateways: Sequence[Gateway]) -> None:
        self._hub = hub
        self._gateways = list(gateways)

    def block(self, cid: Cid, what: str) -> bytes:
        """Return a block.

        Args:
            cid: Its CID.
            what: The reference, as messages name it.

        Raises:
            UnavailableError: No gateway has it.
            Cancelled: The run was cancelled.
        """
        faults: list[str] = []
        # The one that answered last comes first: a gateway that is silent costs its time limit once.
        for gateway in sorted(self._gateways, key=lambda gateway: not gateway.has_answered):
            is_last = len(faults) == len(self._gateways) - 1
            try:
                block = gateway.block(cid, None if is_last else FIRST_BYTE)
            except SourceError as error:
                faults.append(f"{gateway.host}: {error.message}")
            else:
                gateway.has_answered = True
                return block
        raise none_has(what, faults)

    def pieces(self, cid: Cid, size: int | None, what: str) -> Iterator[bytes]:
        """Yield the bytes of a file, each chunk proven.

        Args:
            cid: Root of its tree.
            size: Its size in bytes, if it is known.
            what: As for :meth:`block`.

        Raises:
            UnavailableError: No gateway has it.
            Cancelled: The run was cancelled.
        """
        faults: list[str] = []
        content, hedge = FileContent(cid, (), size, BlockCache()), Hedge(self._gateways, cid)
        position = 0
        for gateway in self._gateways:
            is_last = len(faults) == len(self._gateways) - 1
            offer = GatewayOffer(gateway, cid.to_v1().text, size or 0, content, hedge, self._hub.client)
            try:
                for piece in self._from(offer, position, is_last=is_last):
                    position += len(piece)
                    yield piece
            except SourceError as error:
                faults.append(f"{gateway.host}: {error.message}")
            else:
                return
        raise none_has(what, faults)

    def _from(self, offer: GatewayOffer, position: int, *, is_last: bool) -> Iterator[bytes]:
        """Yield the rest of a file from one gateway; what fails after good bytes is tried again."""
        failures, has_sent = 0, False
        while True:
            before = position
            try:
                for piece in _verified(offer, position, None if is_last else FIRST_BYTE):
                    position += len(piece)
                    self._hub.received += len(piece)
                    yield piece
                if position == offer.leaf_table().size:
                    return
                raise SourceError(Fault.CUT, "ended too early")
            except SourceError as error:
                has_sent = has_sent or position > before
                failures = 1 if position > before else failures + 1
                if not (has_sent or is_last):
                    raise
                self._hub.wait(error, failures, offer.address)


def _verified(offer: GatewayOffer, position: int, first_byte: float | None) -> Iterator[bytes]:
    """Yield what one answer brings from a position on.

    Raises:
        SourceError: The gateway failed, or sent a wrong chunk.
    """
    table = offer.leaf_table(first_byte)
    if position >= table.size:
        return
    with closing(offer.open(position, first_byte=first_byte)) as stream:
        check = CheckedBytes(table, stream.start, table.size)
        for piece in stream:
            for found in check.feed(piece):
                end = found.offset + len(found.data)
                if found.is_right is False:
                    where = format_range(found.offset, end)
                    raise SourceError(Fault.HASH, f"sent wrong bytes: the chunk at {where} does not match")
                if end > position:  # a gateway without ranges sends the file from its beginning
                    yield bytes(found.data[max(0, position - found.offset) :])


def none_has(what: str, faults: Sequence[str]) -> UnavailableError:
    """Make the error for content that no gateway sends.

    Args:
        what: The reference, as messages name it.
        faults: What each gateway answered.
    """
    return UnavailableError(f"no gateway has {what} ({'; '.join(faults)})", hint=_HINT)

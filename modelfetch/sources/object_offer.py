"""Offers of object stores: ``s3://bucket/key``, and likewise ``gs://`` and ``az://``.

An address names a bucket and a key, and no host. Its endpoint and credentials are those that the user's
environment and files name, so an address in a manifest cannot lead a credential to another host::

    mirror template   s3://models/{sha256}
    offer             s3://models/9f86d0...  of the "host" s3://models
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelfetch.errors import Fault, SourceError
from modelfetch.model.object_address import ObjectAddress, parse_object_url
from modelfetch.sources.base import HttpOffer

if TYPE_CHECKING:
    from modelfetch.sources.base import Stream


class ObjectOffer(HttpOffer):
    """A file in an object store. Its host, for display and statistics, is the bucket."""

    def open(self, offset: int, end: int | None = None, first_byte: float | None = None) -> Stream:
        """Request the bytes from ``offset`` on; see :meth:`.Offer.open`."""
        from modelfetch.net.object_transfer import ObjectRange

        request = ObjectRange(offset, self._size, end=end, first_byte=first_byte)
        return self._send(lambda _: self._client.objects.open(self._parsed(), request))

    def _parsed(self) -> ObjectAddress:
        try:
            return parse_object_url(self.address)
        except ValueError as error:  # a field of a template had a value that no key may have
            raise SourceError(Fault.PROTOCOL, f"the address {error}") from None

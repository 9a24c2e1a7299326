"""The error of all readers of IPFS formats.

Every reader of this package raises :class:`MalformedError` and nothing else, whatever bytes it is given.
Readers hash a block before they parse it. An error about such a block is therefore a fact about its CID: the
same bytes come from every other source, and another attempt cannot help. Errors of CAR framing are the
exception: they say that one source sent something else.
"""

from __future__ import annotations


class MalformedError(ValueError):
    """Bytes or text break a rule of their format, exceed a limit, or use something that is not supported."""

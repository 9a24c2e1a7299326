"""The kinds of sources, in their default order: the only place that lists them.

The setting ``sources.order``, ``--only`` and ``--prefer``, events, plans, receipts, the history and metrics
use these words. The order of the members is the order in which sources are tried by default, and that of
every list of kinds in the output: nearest and cheapest first, shared public services last.

A member is a string: it compares, hashes and formats like its value, as in ``SourceKind.IPFS == "ipfs"``. So
words that come from events, the database or a manifest are compared with members without a conversion. The
class of each active kind is in :mod:`modelfetch.sources.registry`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class SourceKind(StrEnum):
    """A kind of source; the value is its name in settings, options, events and metrics."""

    LOCAL = "local"
    """Files on this disk: those of other models, and the cache of the Hugging Face libraries."""
    PEER = "peer"
    """Machines in the local network. Accepted in settings; there is no source of this kind yet."""
    MIRROR = "mirror"
    """URL templates of the settings and of manifests."""
    IPFS = "ipfs"
    """Public IPFS gateways. Volunteers run them, and they often answer late or not at all."""
    HUGGINGFACE = "huggingface"
    """The Hugging Face Hub, or a mirror with the same paths."""
    MODELSCOPE = "modelscope"
    """ModelScope, a second hub with many of the same repositories."""
    OCI = "oci"
    """Blobs of an OCI registry, by the SHA-256 of the file."""
    URL = "url"
    """The addresses that a manifest lists for a file."""

    @property
    def is_active(self) -> bool:
        """Whether there is a source of this kind; other kinds are accepted in settings and have no effect."""
        return self is not SourceKind.PEER

    @property
    def needs_network(self) -> bool:
        """Whether its bytes come over the network; ``--offline`` leaves only the other kinds."""
        return self is not SourceKind.LOCAL


CACHE: Final = "cache"
"""Stands in place of a kind where the bytes were in this cache already; no source was asked."""
WITHOUT_NETWORK: Final = frozenset(
    {"", CACHE, *(kind.value for kind in SourceKind if not kind.needs_network)}
)
"""Values of ``source`` without network traffic or a host: no source left, this cache, this disk."""

"""The kinds of sources, in their default order: the only place that lists them.

The setting ``sources.order``, ``--only`` and ``--prefer``, events, plans, receipts, the history and metrics
use these words. The order of the members is the order in which sources are tried by default, and that of
every list of kinds in the output: nearest and cheapest first, shared public services last.

A member is a string: it compares, hashes and formats like its value, as in ``SourceKind.IPFS == "ipfs"``. So
words that come from events, the database or a manifest are compared with members without a conversion. The
class of each kind is in :mod:`modelfetch.sources.registry`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class SourceKind(StrEnum):
    """A kind of source; the value is its name in settings, options, events and metrics."""

    LOCAL = "local"
    """Files on this disk: those of other models, and the cache of the Hugging Face libraries."""
    PEER = "peer"
    """Machines of the local network that run ``modelfetch serve --share``."""
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
    def needs_network(self) -> bool:
        """Whether its bytes come over the network; ``--offline`` leaves only the other kinds."""
        return self is not SourceKind.LOCAL


CACHE: Final = "cache"
"""Stands in place of a kind where the bytes were in this cache already; no source was asked."""
SWARM: Final = "swarm"
"""Stands in place of a kind, and of a host, where the bytes came from the swarm: peers chosen by its engine.

Not a member: the swarm fills files beside the sources, and has no place in their order."""
SWARM_LABEL: Final = f"{SWARM} {SWARM}"
"""The swarm in journals and receipts, like ``kind host`` of the others."""
WITHOUT_NETWORK: Final = frozenset(
    {"", CACHE, *(kind.value for kind in SourceKind if not kind.needs_network)}
)
"""Values of ``source`` without network traffic or a host: no source left, this cache, this disk."""

"""Make a pin: resolve references, combine what they state, compute what nobody states.

::

    listings = [upstream.resolve(reference) for each reference]
    combined = the files of the first listing, with what the others state about them
    digests  = stated ones as they are; the others from the bytes themselves, read once

Several references are several sources of one manifest. They must state the same digest for the same path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from modelfetch.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.model.reference import Reference
    from modelfetch.upstreams.base import Upstream


@dataclass(frozen=True, slots=True)
class PinRequest:
    """What a person asks to pin."""

    references: tuple[Reference, ...]
    """At least one. The first one decides which files there are, and the name."""
    name: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    license: str | None = None
    """Overrides what the upstream states."""


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """One file of a pin, and who vouches for its digest."""

    file: FileSpec
    stated_by: tuple[str, ...]
    """The upstreams that state its digest; empty if it was computed here."""
    fetched: int = 0
    """Bytes that were read over the network to compute it."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A manifest that can be written, with how it came about."""

    manifest: Manifest
    files: tuple[PinnedFile, ...]
    notices: tuple[str, ...] = ()
    """Lines for the user: agreements and gaps between upstreams, renamed repositories, trust on first use."""

    @property
    def fetched(self) -> int:
        """Bytes read over the network to compute digests."""
        return sum(file.fetched for file in self.files)


UpstreamFor = Callable[["Reference"], "Upstream"]
"""Returns the upstream of a reference; see :func:`modelfetch.upstreams.open_upstream`."""

"""Compares files of which one hub states the SHA-256 and another one a git blob id only.

A git blob id cannot be compared with a SHA-256. Without this check a pin of two hubs would trust the second
hub alone for every small file, and a file that differs would only be noticed when it is fetched::

    hf:org/repo   config.json   574 bytes   git blob id     read once, and checked against the blob id
    ms:org/repo   config.json   574 bytes   SHA-256         must be the SHA-256 of what was read

Files without a git blob id (assets of releases, plain addresses) may be large: they are not read, and the
references agree on them by size alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from modelfetch.errors import AuthorizationError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.pins.combine import agreements, combine
from modelfetch.pins.computing import compute_all

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelfetch.pins.combine import Combined
    from modelfetch.pins.digests import Digests
    from modelfetch.upstreams.base import Listing, Upstream, UpstreamFile


@dataclass(frozen=True, slots=True)
class CrossCheck:
    """What came of the comparison."""

    agreements: Sequence[str]
    """A line for each further listing; see :func:`~modelfetch.pins.combine.agreements`."""
    fetched: Mapping[str, int]
    """Bytes that were read, by path."""


def cross_check(
    combined: Sequence[Combined], listings: Sequence[Listing], upstreams: Sequence[Upstream], digests: Digests
) -> CrossCheck:
    """Read the files that one listing states and another one does not, and compare their digests.

    Args:
        combined: The files to pin.
        listings: What each upstream lists.
        upstreams: The upstreams, in the order of the listings.
        digests: Computes the digests that are not stated.

    Raises:
        IntegrityError: Two upstreams have different bytes; the message names both digests.
        UnavailableError: The bytes cannot be read.
        Cancelled: The run was cancelled.
    """
    completed: list[Listing] = []
    fetched: dict[str, int] = {}
    for listing, upstream in zip(listings, upstreams, strict=True):
        found = _computed(combined, listing, upstream, digests)
        completed.append(replace(listing, files=tuple(found.get(file.path, file) for file in listing.files)))
        for path, file in found.items():
            fetched[path] = fetched.get(path, 0) + (file.size or 0)
    first = {file.path: file for file in completed[0].files}
    selected = [first[each.file.path] for each in combined]
    return CrossCheck(agreements(combine(selected, completed), completed), fetched)


def _computed(
    combined: Sequence[Combined], listing: Listing, upstream: Upstream, digests: Digests
) -> dict[str, UpstreamFile]:
    """Return the files that another listing states and this one does not, with their digests."""
    stated = {each.file.path for each in combined if each.stated_by}
    files = [file for file in listing.files if file.path in stated and not file.sha256 and file.git_blob]
    found: dict[str, UpstreamFile] = {}
    # The files of a gated repository cannot be compared without access, but the other hub may serve them.
    with suppress(AuthorizationError):
        for file, digest in zip(files, compute_all(files, upstream, digests), strict=True):
            found[file.path] = replace(file, size=digest.size, sha256=digest.sha256)
    return found

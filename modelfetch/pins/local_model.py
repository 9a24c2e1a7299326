"""A model that another program keeps on this disk, as a listing that can be pinned without a request.

A :class:`LocalModel` is found by :mod:`modelfetch.pins.adopt_hub` or :mod:`modelfetch.pins.adopt_ollama`; a
directory is listed by :mod:`modelfetch.upstreams.disk`. Its listing has the file on this disk for each path,
and the digest that the other program states about it, if any.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modelfetch.lazy_dataclass import dataclass
from modelfetch.upstreams.disk import LocalDisk

if TYPE_CHECKING:
    from modelfetch.model.reference import Reference
    from modelfetch.upstreams.base import Listing, UpstreamFile

Fault = Literal["", "incomplete", "damaged"]


@dataclass(frozen=True, slots=True)
class LocalModel:
    """One model of another program."""

    place: str
    """What it is, for display: ``hf:org/name@main``, ``ollama:llama3.2:1b``, or a directory."""
    listing: Listing | None
    """None if it cannot be pinned."""
    fault: Fault = ""
    reason: str = ""
    """Why it cannot be pinned."""
    hint: str = ""
    """What the user can do about it."""
    is_whole: bool = True
    """Whether these are known to be all files of the reference. If not, the pin states which ones it has."""


class ListingUpstream:
    """An upstream whose listing is known already, and whose files are on this disk."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._disk = LocalDisk()

    def resolve(self, reference: Reference) -> Listing:  # noqa: ARG002
        """Return the listing."""
        return self._listing

    def open(self, file: UpstreamFile) -> AbstractContextManager[Iterator[bytes]]:
        """Open the file on this disk; see :meth:`modelfetch.upstreams.disk.LocalDisk.open`."""
        return self._disk.open(file)


def few(paths: tuple[str, ...], shown: int = 3) -> str:
    """Return the first of some paths, for a message."""
    return ", ".join(paths[:shown]) + (f" and {len(paths) - shown} more" if len(paths) > shown else "")


def real(path: Path) -> Path:
    """Return a path without links, as files of a listing are opened without following any."""
    return path.resolve()

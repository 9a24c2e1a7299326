"""Bundles in ``sources.local`` and ``--from``: their blobs by SHA-256, without importing them.

A tar is a bundle if it has the members of one (:mod:`modelfetch.bundle.verifier`), also in volumes. Its
headers are read once, when a file is first looked for; each stream then opens the files for itself, since
streams of several threads would move each other's position. In a directory, blobs are files::

    models.tar                              blob at its place in the archive
    models/blobs/sha256/<digest>            blob

The name of a blob is no proof: the bytes are verified like a download.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.bundle.verifier import BLOBS, BundleError, Member, TarBundle, open_bundle, volumes_of
from modelfetch.errors import Fault, SourceError
from modelfetch.model.text import sanitize
from modelfetch.sources.local_files import DiskStream, LocalOffer

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest


def is_bundle_file(path: Path) -> bool:
    """Whether a path may be a bundle in a file or in volumes, and not a directory."""
    try:
        return volumes_of(path)[0].is_file()
    except (OSError, ValueError):
        return False


def in_layout(root: Path) -> Callable[[Manifest, FileSpec], Iterator[Path]]:
    """Make a finder for the blobs of an unpacked bundle."""

    def find(_: Manifest, file: FileSpec) -> Iterator[Path]:
        yield root / "blobs" / "sha256" / file.sha256

    return find


class LocalBundle:
    """A bundle in a file, whose headers are read when a file is first looked for. Thread-safe.

    Args:
        path: The file, the first volume, or the name that all volumes begin with.
        notice: Receives a line for the user if it cannot be used.
    """

    def __init__(self, path: Path, notice: Callable[[str], None] = lambda _: None) -> None:
        self._path = path
        self._notice = notice
        self._lock = threading.Lock()
        self._found: dict[str, Member] | None = None

    def offer(self, file: FileSpec) -> BundleOffer | None:
        """Return an offer for a file, if there is a blob of its digest and size."""
        member = self._members().get(BLOBS + file.sha256)
        return BundleOffer(self._path, member) if member is not None and member.size == file.size else None

    def _members(self) -> dict[str, Member]:
        with self._lock:
            if self._found is None:
                self._found = self._read()
            return self._found

    def _read(self) -> dict[str, Member]:
        try:
            bundle = open_bundle(self._path)
        except (BundleError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self._notice(f"{sanitize(str(self._path))} is not used as a source: {sanitize(reason)}")
            return {}
        bundle.close()
        return dict(bundle.members) if isinstance(bundle, TarBundle) else {}


class BundleOffer(LocalOffer):
    """A blob in a bundle.

    Args:
        path: The bundle.
        member: The blob in it.
    """

    def __init__(self, path: Path, member: Member) -> None:
        super().__init__(path)
        self.host = str(path)
        self.address = f"{path} ({member.name})"
        self._member = member

    def open(self, offset: int, end: int | None = None, first_byte: float | None = None) -> DiskStream:  # noqa: ARG002
        """Open the bundle at a byte of the blob; read to ``end`` if that is given.

        Raises:
            SourceError: It cannot be opened.
        """
        return BundleStream(self.path, self._member, offset, end)


class BundleStream(DiskStream):
    """Bytes of a blob in a bundle. Unlike a file of its own, it cannot be cloned.

    Args:
        path: The bundle.
        member: The blob in it.
        start: Position of the first byte in the blob.
        end: End of the part, exclusive; None for the rest of the blob.

    Raises:
        SourceError: The bundle cannot be opened.
    """

    def __init__(self, path: Path, member: Member, start: int, end: int | None = None) -> None:
        self.start = start
        self._name, self._end = member.name, end
        try:
            self._bundle = TarBundle(volumes_of(path), {member.name: member})
        except (BundleError, OSError) as error:
            raise _unreadable(error) from error

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes up to the end of the blob or part.

        Raises:
            SourceError: The bundle cannot be read, or became shorter.
        """
        try:
            yield from self._bundle.pieces(self._name, self.start, self._end)
        except (BundleError, OSError) as error:
            raise _unreadable(error) from error

    def close(self) -> None:
        """Close the files."""
        self._bundle.close()


def _unreadable(error: Exception) -> SourceError:
    reason = getattr(error, "strerror", None) or str(error)
    return SourceError(Fault.NOT_FOUND, f"the bundle cannot be read: {sanitize(reason).lower()}")

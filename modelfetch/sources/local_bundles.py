"""Bundles in ``sources.local`` and ``--from``: their blobs by SHA-256, without importing them.

A tar is a bundle if it has the members of one (:mod:`modelfetch.bundle.verifier`), also in volumes. Its
headers are read once, when a file is first looked for; each stream then opens the files for itself, since
streams of several threads would move each other's position. In a directory, blobs are files::

    models.tar                              blob at its place in the archive
    models/blobs/sha256/<digest>            blob

In a bundle of images a file is a part of a blob, and the documents of the bundle are read to find it. Neither
they nor the name of a blob are proof: the bytes are verified like a download.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.bundle.image import files_in_layers
from modelfetch.bundle.verifier import (
    BLOBS,
    BLOCK,
    BundleError,
    Member,
    TarBundle,
    open_bundle,
    volumes_of,
)
from modelfetch.errors import Fault, SourceError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import sanitize
from modelfetch.sources.local_files import DiskStream, LocalOffer

if TYPE_CHECKING:
    from modelfetch.bundle.verifier import Bundle
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


def is_layout(path: Path) -> bool:
    """Whether a directory may be an unpacked bundle."""
    try:
        return (path / "oci-layout").is_file() and (path / "index.json").is_file()
    except (OSError, ValueError):
        return False


@dataclass(frozen=True, slots=True)
class Located:
    """Where the bytes of a file are."""

    paths: list[Path]
    """The file with them, or the volumes in order."""
    member: Member
    """Their place in it."""


class LocalBundle:
    """A bundle, whose headers and documents are read when a file is first looked for. Thread-safe.

    Args:
        path: The file, the first volume, or the name that all volumes begin with. Of a directory only the
            images are offered, whose files are parts of blobs.
        notice: Receives a line for the user if it cannot be used.
    """

    def __init__(self, path: Path, notice: Callable[[str], None] = lambda _: None) -> None:
        self._path = path
        self._notice = notice
        self._lock = threading.Lock()
        self._found: dict[str, Located] | None = None

    def offer(self, file: FileSpec) -> BundleOffer | None:
        """Return an offer for a file, if the bundle has one of its digest and size."""
        found = self._files().get(file.sha256)
        if found is None or found.member.size != file.size:
            return None
        return BundleOffer(self._path, found)

    def _files(self) -> dict[str, Located]:
        with self._lock:
            if self._found is None:
                self._found = self._read()
            return self._found

    def _read(self) -> dict[str, Located]:
        found = dict[str, Located]()
        try:
            with closing(open_bundle(self._path)) as bundle:
                if isinstance(bundle, TarBundle):
                    found |= _blobs(bundle, volumes_of(self._path))
                for sha256, located in _files_of_images(bundle, self._path):
                    found.setdefault(sha256, located)
        except (BundleError, OSError) as error:
            # What was found so far is used: a bundle that was cut off may lack a document.
            reason = getattr(error, "strerror", None) or str(error)
            how = "used only in part" if found else "not used"
            self._notice(f"{sanitize(str(self._path))} is {how} as a source: {sanitize(reason)}")
        return found


def _blobs(bundle: TarBundle, paths: list[Path]) -> dict[str, Located]:
    """Return the blobs of an archive by their names."""
    return {name.removeprefix(BLOBS): Located(paths, member) for name, member in bundle.members.items()}


def _files_of_images(bundle: Bundle, path: Path) -> Iterator[tuple[str, Located]]:
    """Yield the files of the images of a bundle, with their SHA-256.

    Raises:
        BundleError: A document is malformed.
        OSError: The bundle cannot be read.
    """
    for file in files_in_layers(bundle):
        name = BLOBS + file.sha256
        if isinstance(bundle, TarBundle):
            start = bundle.members[BLOBS + file.blob].start
            yield file.sha256, Located(volumes_of(path), Member(name, file.size, start + BLOCK))
        else:
            blob = path / "blobs" / "sha256" / file.blob
            yield file.sha256, Located([blob], Member(name, file.size, BLOCK))


class BundleOffer(LocalOffer):
    """A file in a bundle.

    Args:
        path: The bundle, for display.
        located: Where the bytes are.
    """

    def __init__(self, path: Path, located: Located) -> None:
        super().__init__(path)
        self.host = str(path)
        self.address = f"{path} ({located.member.name})"
        self._located = located

    def open(self, offset: int, end: int | None = None, first_byte: float | None = None) -> DiskStream:  # noqa: ARG002
        """Open the bundle at a byte of the file; read to ``end`` if that is given.

        Raises:
            SourceError: It cannot be opened.
        """
        return BundleStream(self._located, offset, end)


class BundleStream(DiskStream):
    """Bytes of a file in a bundle. Unlike a file of its own, it cannot be cloned.

    Args:
        located: Where the bytes are.
        start: Position of the first byte in the file.
        end: End of the part, exclusive; None for the rest of the file.

    Raises:
        SourceError: The bundle cannot be opened.
    """

    def __init__(self, located: Located, start: int, end: int | None = None) -> None:
        self.start = start
        self._name, self._end = located.member.name, end
        try:
            self._bundle = TarBundle(located.paths, {self._name: located.member})
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

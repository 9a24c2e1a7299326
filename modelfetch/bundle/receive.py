"""Takes the blobs of a bundle into the cache.

Only blobs that a verified manifest lists are read. Each is hashed while it is written to a temporary file,
and gets its name only if its digest is right. A blob that the cache has already is not read again, so an
import that was interrupted continues where it stopped: at the blob that was under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelfetch.bundle.verifier import BLOBS, BundleError
from modelfetch.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from modelfetch.bundle.bundled_models import BundledModel
    from modelfetch.bundle.verifier import Bundle
    from modelfetch.bundle.writer import Progress
    from modelfetch.model.manifest import FileSpec
    from modelfetch.store import Store


@dataclass(frozen=True, slots=True)
class Received:
    """What an import read."""

    blobs: int
    """Blobs that were taken from the bundle."""
    size: int
    """Their bytes."""
    kept: int
    """Blobs that the cache had already."""


def receive(
    bundle: Bundle, models: Sequence[BundledModel], store: Store, progress: Progress = lambda *_: None
) -> Received:
    """Take all blobs that models need, and the cache does not have, from a bundle.

    Args:
        bundle: The bundle; if it is cut, the blobs that it lacks are passed over.
        models: The models.
        store: The cache.
        progress: Called while blobs are copied.

    Raises:
        BundleError: A blob does not have the bytes that its name promises.
        StoreError: The disk refused, or has too little space.
        OSError: The bundle cannot be read.
    """
    wanted = {file.sha256: file for model in models for file in model.manifest.files}
    missing = [file for file in wanted.values() if store.find_blob(file) is None]
    there = [file for file in missing if file.sha256 in bundle.blobs]
    store.check_writable()
    store.check_space(sum(file.size for file in there))
    # In the order of the bundle, so that the file is read from its start to its end.
    for file in sorted(there, key=lambda file: file.sha256):
        _receive(bundle, file, store, progress)
    return Received(len(there), sum(file.size for file in there), len(wanted) - len(missing))


def _receive(bundle: Bundle, file: FileSpec, store: Store, progress: Progress) -> None:
    with store.intake(file.size) as intake:
        done = 0
        for piece in bundle.pieces(BLOBS + file.sha256):
            intake.write(piece)
            done += len(piece)
            progress(file.path, done, file.size)
        # Before finish(), which would store the bytes under the digest that they have.
        if not file.is_pinned(intake.digest.sha256, done):
            raise BundleError(f"the blob of {file.path} has other bytes than its name says")
        intake.finish()

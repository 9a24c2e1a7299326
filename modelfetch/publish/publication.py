"""One run of ``publish``: hash, write, hand over, and record, in this order.

::

    check     targets and their secrets, the places of all files that are written
    hash      every file whose tree is not known; its bytes must be those that are pinned
    write     CAR file and skeleton
    hand over to each target
    record    the CIDs in the manifest, then the run in the history

What can be refused is refused before the first byte is read. A run that fails after that leaves the CAR files
that were complete, and what targets have got; the manifest stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.catalog.lookup import SKELETON_SUFFIX
from modelfetch.errors import UsageError
from modelfetch.lazy_dataclass import dataclass, field
from modelfetch.publish import publication_record as record
from modelfetch.publish.car_file import (
    CAR_SUFFIX,
    WrittenCar,
    car_path,
    check_free,
    write_car,
)
from modelfetch.publish.car_stream import CarStream, model_parts, skeleton_parts
from modelfetch.publish.handover import Callbacks, Handover, Outcome
from modelfetch.publish.model_tree import hash_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelfetch.cancel import Cancellation
    from modelfetch.ipfs.file_tree import Built
    from modelfetch.ipfs.profiles import Profile
    from modelfetch.net.hub_client import HubClient
    from modelfetch.publish.model_tree import ModelTree
    from modelfetch.publish.selection import Selected
    from modelfetch.publish.targets import Target
    from modelfetch.publish.tree_hashing import HashingPool

Show = Callable[[str, str, int, int], None]
"""Called with what is done with a file (such as "hashing"), its path, the bytes so far, and its size."""


@dataclass(frozen=True, slots=True)
class PublishRequest:
    """What one run is to do."""

    profile: Profile
    seconds: float
    """Longest wait for a pinning service."""
    targets: Sequence[Target] = ()
    car: Path | None = None
    """Where a CAR file with all blocks goes; None for no such file."""
    skeleton: Path | None = None
    """Where a CAR file with all blocks but the leaves goes; None for no such file."""
    manifest: Path | None = None
    """Where the manifest with the CIDs goes, instead of its catalog."""
    dry_run: bool = False
    """Whether nothing is written, and the targets are only asked what they have."""


@dataclass(slots=True)
class Published:
    """What became of a model."""

    tree: ModelTree
    car: WrittenCar | None = None
    skeleton: WrittenCar | None = None
    manifest: Path | None = None
    """The manifest that has the CIDs; in a dry run, that would get them."""
    has_cids: bool = False
    """Whether it had the CIDs before."""
    is_changed: bool = False
    """Whether it was changed."""
    planned: list[Path] = field(default_factory=list)
    """CAR files that a dry run did not write."""
    outcomes: list[Outcome] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


class Publication:
    """Publishes one model.

    Args:
        selected: The model.
        request: What is to be done.
        pool: Hashes chunks.
        show: Called while a file is hashed, written or sent.
        note: Called with a line for the user.
    """

    def __init__(
        self,
        selected: Selected,
        request: PublishRequest,
        pool: HashingPool,
        show: Show,
        note: Callable[[str], None],
    ) -> None:
        self._selected = selected
        self._request = request
        self._pool = pool
        self._show = show
        self._note = note

    def check(self) -> None:
        """Check what can be refused before anything is read.

        Raises:
            StoreError: A file cannot be written there.
            UsageError: Two files have one name, or a name is taken.
        """
        places = [path for path in (self._car, self._skeleton, self._request.manifest) if path is not None]
        if len({path.absolute() for path in places}) < len(places):
            raise UsageError(
                "two of --car, --skeleton and --manifest name the same file",
                hint="Give each a name of its own.",
            )
        for path in (self._car, self._skeleton):
            if path is not None:
                check_free(path)
        if not self._request.dry_run and self._manifest is not None:
            record.check_writable(self._manifest)

    def hash(self, known: Mapping[str, Built]) -> Published:
        """Read all files, and compute the CIDs.

        Args:
            known: Trees of files that need not be read, by SHA-256.

        Raises:
            IntegrityError: A file does not have the bytes that are pinned.
            StoreError: A file cannot be read.
        """
        tree = hash_model(
            self._selected.files,
            self._request.profile,
            self._pool,
            show=lambda path, done, size: self._show("hashing", path, done, size),
            known=known,
        )
        manifest = self._selected.manifest
        has_cids = self._request.manifest is None and record.with_cids(manifest, tree) == manifest
        notices = record.replaced_cids(manifest, tree)
        return Published(tree, manifest=self._manifest, has_cids=has_cids, notices=notices)

    def write_cars(self, done: Published) -> None:
        """Write the CAR files that are wanted.

        Raises:
            IntegrityError: A file changed since it was hashed.
            StoreError: The disk refused.
            UsageError: There is another file of such a name.
        """
        tree = done.tree
        if self._request.dry_run:
            done.planned += filter(None, (self._car, self._skeleton))
            return
        if self._car is not None:
            whole = CarStream(
                tree.root, model_parts(tree), lambda path, at, size: self._show("writing", path, at, size)
            )
            done.car = write_car(self._car, whole)
        if self._skeleton is not None:
            done.skeleton = write_car(self._skeleton, CarStream(tree.root, skeleton_parts(tree)))

    def hand_over(self, done: Published, hub: HubClient, cancel: Cancellation) -> None:
        """Hand the model to all targets.

        Raises:
            ModelfetchError: A target could not take it.
        """
        request = self._request
        callbacks = Callbacks(lambda path, at, size: self._show("sending", path, at, size), self._note)
        handover = Handover(hub, cancel, self._selected.manifest, done.tree, callbacks, request.seconds)
        done.outcomes = handover.outcomes
        handover.run(request.targets, dry_run=request.dry_run)

    def write_manifest(self, done: Published) -> None:
        """Write the CIDs into the manifest.

        Raises:
            ModelfetchError: It cannot be changed.
        """
        if self._request.dry_run:
            return
        if self._request.manifest is not None:
            record.write_copy(self._request.manifest, self._selected.manifest, done.tree)
            done.is_changed = True
        elif self._selected.path is not None:
            done.is_changed, notices = record.write_cids(self._selected.path, done.tree)
            done.notices += notices
        else:
            done.notices.append(
                "the manifest of a built-in model is not changed; --manifest FILE writes one with the CIDs"
            )

    @property
    def _car(self) -> Path | None:
        return self._place(self._request.car, CAR_SUFFIX)

    @property
    def _skeleton(self) -> Path | None:
        return self._place(self._request.skeleton, SKELETON_SUFFIX)

    @property
    def _manifest(self) -> Path | None:
        return self._request.manifest or self._selected.path

    def _place(self, given: Path | None, suffix: str) -> Path | None:
        return None if given is None else car_path(given, self._selected.manifest.name, suffix)

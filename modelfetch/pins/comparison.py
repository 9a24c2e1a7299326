"""Compares a pin with what its upstream lists now. Pure: nothing is fetched to find out more.

What is stated decides, in this order::

    SHA-256     stated by the hub: compared with the pinned one
    size        another size is another file
    git blob    compared with that of the pinned bytes, if they are on this disk

A file of the same size, with no digest to compare, is reported as not compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from modelfetch.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.pins.difference import Difference
    from modelfetch.upstreams.base import UpstreamFile

Kind = Literal["added", "removed", "changed"]
BlobId = Callable[["FileSpec"], "str | None"]
"""Returns the git blob id of the pinned bytes of a file, or None if they are not on this disk."""


@dataclass(frozen=True, slots=True)
class FileChange:
    """One path that differs."""

    path: str
    kind: Kind
    before: int | None
    """Size in bytes in the pin; None if the file was added."""
    after: int | None
    """Size in bytes now; None if the file was removed, or its size is not stated."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between a pin and something newer or older."""

    changes: tuple[FileChange, ...]
    """In the order of paths."""
    unchanged: int
    """Number of files that are the same."""
    fetch: int
    """Bytes that the other side has and the pin does not: what an upgrade has to fetch."""
    uncompared: tuple[str, ...] = ()
    """Paths of files of the same size whose digest is not stated; they may have changed."""

    def count(self, kind: Kind) -> int:
        """Number of files of one kind of change."""
        return sum(change.kind == kind for change in self.changes)

    @property
    def document(self) -> dict[str, Any]:
        """The comparison as JSON: paths by kind, with sizes before and after."""
        groups = {
            kind: [
                {"path": change.path, "before": change.before, "after": change.after}
                for change in self.changes
                if change.kind == kind
            ]
            for kind in ("added", "removed", "changed")
        }
        return {
            **groups,
            "unchanged": self.unchanged,
            "not_compared": list(self.uncompared),
            "fetch": self.fetch,
        }


def from_difference(difference: Difference) -> Comparison:
    """Convert the difference of two manifests, in which every digest is known."""
    changes = tuple(
        _change(
            change.path,
            None if change.before is None else change.before.size,
            None if change.after is None else change.after.size,
            is_added=change.before is None,
            is_removed=change.after is None,
        )
        for change in difference.changes
    )
    return Comparison(changes, difference.unchanged, difference.fetch)


def compare(manifest: Manifest, files: Sequence[UpstreamFile], blob_id: BlobId) -> Comparison:
    """Compare a pin with the selected files of a listing.

    Args:
        manifest: The pin.
        files: The files of the listing that the pin would have now, each path once.
        blob_id: Returns the git blob id of pinned bytes.
    """
    pinned = {file.path: file for file in manifest.files}
    listed = {file.path: file for file in files}
    changes, uncompared = [], []
    for path in sorted(pinned.keys() | listed.keys()):
        before, after = pinned.get(path), listed.get(path)
        verdict = _is_same(before, after, blob_id) if before and after else False
        if verdict is None:
            uncompared.append(path)
        elif not verdict:
            size = None if before is None else before.size
            now = None if after is None else after.size
            changes.append(_change(path, size, now, is_added=before is None, is_removed=after is None))
    unchanged = len(pinned.keys() & listed.keys()) - len(uncompared)
    unchanged -= sum(change.kind == "changed" for change in changes)
    new = [listed[change.path] for change in changes if change.kind != "removed"]
    return Comparison(tuple(changes), unchanged, _fetch(manifest, new), tuple(uncompared))


def _change(
    path: str, before: int | None, after: int | None, *, is_added: bool, is_removed: bool
) -> FileChange:
    kind: Kind = "added" if is_added else "removed" if is_removed else "changed"
    return FileChange(path, kind, before, after)


def _is_same(before: FileSpec, after: UpstreamFile, blob_id: BlobId) -> bool | None:
    """Whether a listed file is the pinned one; None if what is stated does not decide it."""
    if after.sha256 is not None:
        return before.is_pinned(after.sha256)
    if after.size is not None and after.size != before.size:
        return False
    held = blob_id(before) if after.git_blob is not None else None
    return None if held is None else held == after.git_blob


def _fetch(manifest: Manifest, new: Iterable[UpstreamFile]) -> int:
    """Count the bytes of new files; equal bytes count once, and not at all if the pin has them already."""
    held = {file.sha256 for file in manifest.files}
    sizes = {file.sha256 or file.path: file.size or 0 for file in new if file.sha256 not in held}
    return sum(sizes.values())

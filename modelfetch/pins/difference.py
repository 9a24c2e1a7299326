"""What changes when a pin moves: two manifests compared by path, size and digest. Pure.

Digests of both sides are known, so every file is either the same or not; what a hub lists is compared by
:mod:`modelfetch.pins.comparison`, which has to do with less.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelfetch.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs."""

    path: str
    before: FileSpec | None
    """None if the file was added."""
    after: FileSpec | None
    """None if the file was removed."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference between two manifests, in the order of paths."""

    changes: tuple[Change, ...]
    unchanged: int
    """Number of files that are the same."""
    fetch: int
    """Bytes of the new manifest whose digest the old one does not pin: what an upgrade has to fetch."""

    @property
    def is_empty(self) -> bool:
        """Whether both manifests pin the same files."""
        return not self.changes


def difference(old: Manifest, new: Manifest) -> Difference:
    """Compare the files of two manifests; equal bytes under another path need no transfer."""
    before, after = ({file.path: file for file in manifest.files} for manifest in (old, new))
    paths = sorted(before.keys() | after.keys())
    changes = [
        Change(path, before.get(path), after.get(path))
        for path in paths
        if not _is_same(before.get(path), after.get(path))
    ]
    held = {file.sha256 for file in old.files}
    missing = {file.sha256: file.size for file in new.files if file.sha256 not in held}
    return Difference(tuple(changes), len(paths) - len(changes), sum(missing.values()))


def _is_same(before: FileSpec | None, after: FileSpec | None) -> bool:
    return before is not None and after is not None and after.is_pinned(before.sha256, before.size)

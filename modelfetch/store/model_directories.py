"""Decides which manifest owns which directory of a model.

A manifest's name and version are only claims: two manifests with the same name and version may list different
files. The first one verified in a directory owns it, every other one gets its own directory. Once a receipt
exists, programs may use the directory, so only the manifest of that receipt may write to it. Before that the
holder of the model's lock may; where locks do not work, no process replaces an existing file.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.lazy_dataclass import dataclass
from modelfetch.store.layout import Layout, labels

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest
    from modelfetch.store.receipt_store import Receipts


@dataclass(frozen=True, slots=True)
class Claim:
    """A run's choice of a directory that has no owner yet, or belongs to this manifest."""

    manifest: Manifest
    label: str
    path: Path
    replaces: bool
    """Whether existing files there may be replaced."""


class Directories:
    """The directories of the models of one cache."""

    def __init__(self, layout: Layout, receipts: Receipts) -> None:
        self._layout = layout
        self._receipts = receipts
        self._claims: dict[int, Claim] = {}
        """The choices of runs under way, by ``id`` of the manifest object."""
        self._left: dict[int, list[str]] = {}
        """Likewise, the labels that turned out to belong to other manifests."""
        self._lock = threading.Lock()

    def path(self, manifest: Manifest) -> Path:
        """Return the directory of a model's files; it need not exist."""
        claim = self._claims.get(id(manifest))
        return claim.path if claim is not None else self._layout.version(manifest.name, self._find(manifest))

    def label(self, manifest: Manifest) -> str:
        """Return the label of a model's directory: that of its receipt, else the first without an owner."""
        claim = self._claims.get(id(manifest))
        return claim.label if claim is not None else self._find(manifest)

    def claim(self, manifest: Manifest, *, exclusive: bool) -> None:
        """Choose the directory of a model for a run, until its receipt is written.

        Args:
            manifest: The model.
            exclusive: Whether the model's lock is held and really excludes others.
        """
        self._left.pop(id(manifest), None)
        self._hold(manifest, self._find(manifest), exclusive=exclusive)

    def replaces(self, manifest: Manifest) -> bool:
        """Whether existing files in a model's directory may be replaced.

        Without a claim they may: the caller then makes sure that no other process is working on the model.
        """
        claim = self._claims.get(id(manifest))
        return claim is None or claim.replaces

    def move_on(self, manifest: Manifest, label: str) -> None:
        """Switch to the next directory, because this one belongs to another manifest by now."""
        with self._lock:
            if self.label(manifest) != label:  # another thread has switched already
                return
            names = labels(manifest.version, manifest.identity)
            self._left.setdefault(id(manifest), []).append(label)
            self._hold(manifest, names[min(names.index(label) + 1, len(names) - 1)], exclusive=False)

    def has_moved(self, manifest: Manifest) -> bool:
        """Whether this run has switched directories; files may have been placed in the earlier one."""
        return id(manifest) in self._left

    def settled(self, manifest: Manifest) -> list[str]:
        """End a claim, as the receipt records the directory now; returns the labels that were left."""
        self._claims.pop(id(manifest), None)
        return self._left.pop(id(manifest), [])

    def _hold(self, manifest: Manifest, label: str, *, exclusive: bool) -> None:
        # A label with all digits of the identity is unique to this content, so no other manifest uses it.
        is_own = label == labels(manifest.version, manifest.identity)[-1]
        replaces = exclusive or is_own or self._receipts.read(manifest) is not None
        path = self._layout.version(manifest.name, label)
        self._claims[id(manifest)] = Claim(manifest, label, path, replaces)

    def _find(self, manifest: Manifest) -> str:
        if not self._receipts.has_model(manifest.name):  # most models of a list: no identity is computed
            return manifest.version
        receipt = self._receipts.read(manifest)
        if receipt is not None:
            return receipt.label
        names = labels(manifest.version, manifest.identity)
        free = (label for label in names if self._receipts.at(manifest.name, label) is None)
        return next(free, names[-1])

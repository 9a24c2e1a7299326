"""Whose a directory of a model is: the first manifest verified there has it, and every other one its own.

A manifest's name and version are claims. Programs were told of a directory once its receipt was there, so
from then on only the manifest of that receipt may write to it. Before that, whoever has the model's lock may;
where locks do not work, nobody replaces what has a name already.
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
    """What a run holds of a directory that is no manifest's yet, or this one's."""

    manifest: Manifest
    label: str
    path: Path
    replaces: bool
    """Whether files that have a name there already may be replaced."""


class Directories:
    """The directories of the models of one cache."""

    def __init__(self, layout: Layout, receipts: Receipts) -> None:
        self._layout = layout
        self._receipts = receipts
        self._claims: dict[int, Claim] = {}
        """By identity of its manifest's object: what a run under way decided."""
        self._left: dict[int, list[str]] = {}
        """Likewise: the labels it had to leave to others."""
        self._lock = threading.Lock()

    def path(self, manifest: Manifest) -> Path:
        """Say where a model's files lie, or would."""
        claim = self._claims.get(id(manifest))
        return claim.path if claim is not None else self._layout.version(manifest.name, self._find(manifest))

    def label(self, manifest: Manifest) -> str:
        """Name a model's directory: the one its receipt is for, else the first that is nobody else's."""
        claim = self._claims.get(id(manifest))
        return claim.label if claim is not None else self._find(manifest)

    def claim(self, manifest: Manifest, *, exclusive: bool) -> None:
        """Decide for a run where a model's files go, until its receipt is written.

        Args:
            manifest: The model.
            exclusive: Whether the model's lock is held and keeps others out.
        """
        self._left.pop(id(manifest), None)
        self._hold(manifest, self._find(manifest), exclusive=exclusive)

    def replaces(self, manifest: Manifest) -> bool:
        """Whether files that have a name in its directory already may be replaced; else they are another's.

        Without a claim whoever asks has seen to it that nobody else is at work.
        """
        claim = self._claims.get(id(manifest))
        return claim is None or claim.replaces

    def move_on(self, manifest: Manifest, label: str) -> None:
        """Leave a directory that is another manifest's by now, for the next one."""
        with self._lock:
            if self.label(manifest) != label:  # another thread was faster
                return
            names = labels(manifest.version, manifest.identity)
            self._left.setdefault(id(manifest), []).append(label)
            self._hold(manifest, names[min(names.index(label) + 1, len(names) - 1)], exclusive=False)

    def has_moved(self, manifest: Manifest) -> bool:
        """Whether a directory was left in this run, in which files may have been placed."""
        return id(manifest) in self._left

    def settled(self, manifest: Manifest) -> list[str]:
        """Forget the claim, as the receipt says it all; the labels that were left to others."""
        self._claims.pop(id(manifest), None)
        return self._left.pop(id(manifest), [])

    def _hold(self, manifest: Manifest, label: str, *, exclusive: bool) -> None:
        # All digits of the identity stand for this content alone, so nothing there can be another's.
        is_own = label == labels(manifest.version, manifest.identity)[-1]
        replaces = exclusive or is_own or self._receipts.read(manifest) is not None
        path = self._layout.version(manifest.name, label)
        self._claims[id(manifest)] = Claim(manifest, label, path, replaces)

    def _find(self, manifest: Manifest) -> str:
        receipt = self._receipts.read(manifest)
        if receipt is not None:
            return receipt.label
        names = labels(manifest.version, manifest.identity)
        free = (label for label in names if self._receipts.at(manifest.name, label) is None)
        return next(free, names[-1])

"""The models that are shared: those of all catalogs, followed as the catalogs change.

A manifest that was added or changed is served a second later, or at once if a client asks for what was not
found before. Each file of a catalog is read once, until it changes::

    index = models.current()
    repo = index.hub_repo("model", "onnx-community/whisper-base")
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.errors import ManifestError, ModelfetchError
from modelfetch.model.manifest import Manifest
from modelfetch.share.model_index import ModelIndex
from modelfetch.share.shared_blocks import SharedBlocks

if TYPE_CHECKING:
    from modelfetch.catalog.lookup import CatalogEntry, Origin
    from modelfetch.store import Store
    from modelfetch.workspace import Workspace

_TRUST: Final[tuple[Origin, ...]] = ("built-in", "environment", "user", "project")
"""Which catalog decides if two manifests give one path of one commit different bytes. A project comes with a
repository of another person, so it is the last."""
RECHECK_SECONDS: Final = 1.0
"""Seconds after which the catalogs are listed again."""
MISS_SECONDS: Final = 0.1
"""The same for a name that was not found: it may have been added just now."""
_PAUSE_FACTOR: Final = 20
"""The catalogs are not listed again within this many times the duration of the last listing, so at most 5 %
of the time goes into it, whatever clients request."""

_State = tuple[int, int, int] | None


class SharedModels:
    """The models of all catalogs, listed again when they change. Thread-safe.

    Args:
        load: Reads settings and lists the catalogs.
        clock: Monotonic seconds.
    """

    def __init__(self, load: Callable[[], Workspace], clock: Callable[[], float] = time.monotonic) -> None:
        self._load = load
        self._clock = clock
        self._lock = threading.Lock()
        self._index: ModelIndex | None = None
        self._blocks: SharedBlocks | None = None
        self._seen: list[tuple[CatalogEntry, _State]] = []
        self._unread: set[Path] = set()
        """The manifests that the disk could not read; tried again at each look."""
        self._read: dict[Path, tuple[_State, Manifest | None]] = {}
        self._checked_at = float("-inf")
        self._took = 0.0

    def current(self, *, missed: bool = False) -> ModelIndex:
        """Return the tables of the catalogs as they are, or were a second ago; this may read the disk.

        Args:
            missed: Whether something was not found in them, so that they are checked sooner.

        Raises:
            ConfigError: A setting or a named catalog is wrong, and was at the start.
        """
        with self._lock:
            now = self._clock()
            seconds = max(MISS_SECONDS if missed else RECHECK_SECONDS, _PAUSE_FACTOR * self._took)
            if self._index is None or now - self._checked_at >= seconds:
                self._check()
                self._checked_at = self._clock()
                self._took = self._checked_at - now
            assert self._index is not None
            return self._index

    def blocks(self) -> SharedBlocks:
        """Return what finds the blocks of IPFS; see :meth:`current`."""
        self.current()
        assert self._blocks is not None
        return self._blocks

    def refresh(self) -> None:
        """Have the catalogs listed again at the next look, because a model was just added."""
        with self._lock:
            self._checked_at = float("-inf")

    def _check(self) -> None:
        try:
            workspace = self._load()
        except ModelfetchError:
            if self._index is None:
                raise
            return  # a file is being edited: what is served stays as it was
        catalog = workspace.catalog
        entries = sorted(map(catalog.entry, catalog.names()), key=lambda each: _TRUST.index(each.origin))
        seen = [(entry, _state(entry.path)) for entry in entries]
        before, self._unread = self._unread, set()
        manifests = [self._manifest(workspace, entry, state) for entry, state in seen]
        if self._index is not None and seen == self._seen and self._unread == before:
            return
        paths = {entry.path for entry in entries}
        self._read = {path: found for path, found in self._read.items() if path in paths}
        store = workspace.store
        self._index = ModelIndex(list(filter(None, manifests)), lambda each: fetched_at(store, each))
        self._blocks = SharedBlocks(self._index, store.chunk_maps)
        self._seen = seen

    def _manifest(self, workspace: Workspace, entry: CatalogEntry, state: _State) -> Manifest | None:
        """Read a manifest unless its file is the one that was read before; None if it is of no use.

        One that the disk cannot read now stays what it was.
        """
        known = self._read.get(entry.path)
        if known is None or known[0] != state:
            try:
                known = state, workspace.catalog.get(entry.name)
            except ManifestError as error:
                if isinstance(error.__cause__, OSError):  # of the disk, and so perhaps for a moment only
                    self._unread.add(entry.path)
                    return known[1] if known is not None else None
                known = state, None
            self._read[entry.path] = known
        return known[1]


def fetched_at(store: Store, manifest: Manifest) -> datetime | None:
    """Return when the last file of a model was verified; None if it has no receipt."""
    receipt = store.receipt(manifest)
    if receipt is None:
        return None
    return max((file.verified_at for file in receipt.files), default=None)


def _state(path: Path) -> _State:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino

"""Which model is published: one of a catalog, or a directory that is pinned for it.

::

    whisper-base    files of the cache, the manifest of its catalog
    ./model         files of the directory; pinned as by ``add`` if it is not, without a copy in the cache

A directory is read as it is now. If it is pinned and has other bytes by now, nothing is published.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.bundle.writer import files_of
from modelfetch.errors import UnknownModelError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.paths import is_reference
from modelfetch.model.reference import DiskReference
from modelfetch.model.text import quote
from modelfetch.pins.add import add, pinned_names, target_of
from modelfetch.pins.catalogs import find_pin
from modelfetch.pins.digests import check
from modelfetch.pins.parsing import parsed
from modelfetch.pins.pin import PinRequest
from modelfetch.publish.model_tree import PlacedFile
from modelfetch.publish.tree_hashing import hash_pieces
from modelfetch.store.intake import FileDigest

if TYPE_CHECKING:
    from modelfetch.ipfs.file_tree import Built
    from modelfetch.ipfs.profiles import Profile
    from modelfetch.model.manifest import Manifest
    from modelfetch.pins.digests import Progress
    from modelfetch.pins.session import PinSession
    from modelfetch.publish.tree_hashing import HashingPool
    from modelfetch.upstreams.base import Upstream, UpstreamFile
    from modelfetch.workspace import Workspace

_REPAIR: Final = "`modelfetch verify --repair` repairs it."


@dataclass(frozen=True, slots=True)
class Selected:
    """A model that is published."""

    manifest: Manifest
    files: tuple[PlacedFile, ...]
    path: Path | None
    """The manifest; None if it cannot be changed, because it is of the built-in catalog."""
    is_directory: bool = False
    """Whether its files are not those of the cache."""
    is_new: bool = False
    """Whether it was pinned just now."""
    listed_in: Path | None = None
    """The project's file to which its name was added."""


class TreeDigests:
    """Computes digests for a pin, and the trees of the files in the same pass. Threads may share an instance.

    Args:
        profile: How files become trees.
        pool: Hashes chunks.
        progress: Called after each piece.
    """

    def __init__(self, profile: Profile, pool: HashingPool, progress: Progress) -> None:
        self.trees: Final[dict[str, Built]] = {}
        """By SHA-256."""
        self._profile = profile
        self._pool = pool
        self._progress = progress

    def compute(self, upstream: Upstream, file: UpstreamFile) -> FileDigest:
        """Read a file, and check what was stated about it; see :class:`~modelfetch.pins.digests.Digests`."""
        with upstream.open(file) as pieces:
            hashed = hash_pieces(
                pieces,
                self._profile,
                self._pool,
                whole=True,
                progress=lambda received: self._progress(file, received),
            )
        digest = FileDigest(hashed.tree.size, hashed.sha256, None)
        check(file, digest)
        self.trees[hashed.sha256] = hashed.tree
        return digest


def is_directory(workspace: Workspace, word: str) -> bool:
    """Whether a word is a path on this disk, and not the name of a model or another reference."""
    if not is_reference(word) or word in workspace.catalog.aliases():
        return False
    return isinstance(parsed(workspace, word), DiskReference)


def model(workspace: Workspace, word: str) -> Selected:
    """Select a model of a catalog, by its name or the reference that it is pinned by.

    Raises:
        OfflineError: It is not present.
        UnknownModelError: No catalog has it.
    """
    [name] = pinned_names(workspace, [word])
    [manifest] = workspace.manifests([name])
    entry = workspace.catalog.entry(manifest.name)
    files = tuple(PlacedFile(file, path, _REPAIR) for path, file in files_of(workspace.store, manifest))
    return Selected(manifest, files, None if entry.origin == "built-in" else entry.path)


def directory(session: PinSession, word: str, digests: TreeDigests, *, dry_run: bool) -> Selected:
    """Select a directory or file, and pin it if it is not pinned.

    Args:
        session: Makes the pin.
        word: The path.
        digests: Computes the digests of a new pin.
        dry_run: Whether no manifest is written.

    Raises:
        UnknownModelError: It does not exist.
        UsageError: It cannot be pinned.
    """
    workspace = session.workspace
    reference = parsed(workspace, word)
    assert isinstance(reference, DiskReference)
    root = Path(reference.path).expanduser().absolute()
    if not root.exists():
        raise UnknownModelError(
            f"{quote(word, 200)} does not exist on this disk",
            hint="`modelfetch list` shows the known models.",
        )
    known = find_pin(workspace, reference)
    if known is not None:
        entry = workspace.catalog.entry(known.name)
        return Selected(known, _placed(known, root), entry.path, is_directory=True)
    session = replace(session, digests=digests)
    target = target_of(workspace, None)
    added = add(session, PinRequest((reference,)), target, dry_run=dry_run)
    return Selected(
        added.manifest,
        _placed(added.manifest, root),
        added.path,
        is_directory=True,
        is_new=True,
        listed_in=target.project_file if added.is_listed else None,
    )


def _placed(manifest: Manifest, root: Path) -> tuple[PlacedFile, ...]:
    hint = f"It changed since it was pinned: `modelfetch upgrade {manifest.name}` pins what it has now."
    is_file = root.is_file()
    return tuple(PlacedFile(file, root if is_file else root / file.path, hint) for file in manifest.files)

"""The blocks of a model on IPFS: the trees of its files, and the directories above them.

Bytes are read once to compute the trees, and must be those that the manifest pins. The directory has the
files under their paths, so that ``[ipfs] cid`` and a path lead to each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.errors import IntegrityError
from modelfetch.ipfs.directory_builder import build_tree
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import sanitize
from modelfetch.publish.tree_hashing import hash_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelfetch.ipfs.cid import Cid
    from modelfetch.ipfs.directory_builder import BuiltDirectory
    from modelfetch.ipfs.file_tree import Built
    from modelfetch.ipfs.profiles import Profile
    from modelfetch.model.manifest import FileSpec
    from modelfetch.publish.tree_hashing import HashingPool

FileProgress = Callable[[str, int, int], None]
"""Called with the path of a file in the model, the bytes of it that were processed so far, and its size."""


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """A file of a model, and where its bytes are."""

    spec: FileSpec
    place: Path
    hint: str = ""
    """What to do if the bytes are other ones than those pinned."""

    def damaged(self) -> IntegrityError:
        """Make the error for other bytes than those pinned."""
        return IntegrityError(
            f"{sanitize(str(self.place))} does not have the bytes that the manifest pins for "
            f"{sanitize(self.spec.path)}, so the model was not published",
            hint=self.hint,
        )


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A file whose tree is known."""

    placed: PlacedFile
    tree: Built

    @property
    def path(self) -> str:
        """Its path in the model."""
        return self.placed.spec.path


class ModelTree:
    """All blocks of a model, without the bytes of the leaves.

    Args:
        profile: How it was made.
        files: Its files.
    """

    def __init__(self, profile: Profile, files: Sequence[TreeFile]) -> None:
        self.profile: Final = profile
        self.files: Final = tuple(files)
        self.directory: Final[BuiltDirectory] = build_tree(
            ((file.path, file.tree.root, file.tree.tsize) for file in files), profile
        )

    @property
    def root(self) -> Cid:
        """CID of the directory."""
        return self.directory.root

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.tree.size for file in self.files)

    @cached_property
    def by_root(self) -> Mapping[Cid, TreeFile]:
        """The files by their CID; of files with the same bytes, one."""
        return {file.tree.root: file for file in self.files}


def hash_model(
    files: Sequence[PlacedFile],
    profile: Profile,
    pool: HashingPool,
    *,
    show: FileProgress = lambda *_: None,
    known: Mapping[str, Built] | None = None,
) -> ModelTree:
    """Read all files of a model, and compute its blocks.

    Args:
        files: The files.
        profile: How they become blocks.
        pool: Hashes chunks.
        show: Called while a file is read.
        known: Trees of files that need not be read, by SHA-256.

    Raises:
        IntegrityError: A file does not have the bytes that are pinned.
        StoreError: A file cannot be read.
    """
    trees: dict[str, Built] = dict(known or {})
    found: list[TreeFile] = []
    for placed in files:
        spec = placed.spec
        if spec.sha256 not in trees:
            trees[spec.sha256] = _hash(placed, profile, pool, show)
        found.append(TreeFile(placed, trees[spec.sha256]))
    return ModelTree(profile, found)


def _hash(placed: PlacedFile, profile: Profile, pool: HashingPool, show: FileProgress) -> Built:
    spec = placed.spec

    def progress(done: int) -> None:
        # At once, and not at the end: the file may be far larger than the one that is pinned.
        if done > spec.size:
            raise placed.damaged()
        show(spec.path, done, spec.size)

    hashed = hash_file(placed.place, profile, pool, whole=True, progress=progress)
    if not spec.is_pinned(hashed.sha256, hashed.tree.size):
        raise placed.damaged()
    return hashed.tree

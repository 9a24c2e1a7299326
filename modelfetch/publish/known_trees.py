"""Trees of files of the cache that are known already, and maps for those that were computed.

While a file is fetched its chunks may be hashed, too: then its chunk map and the CID in the receipt were made
from the same bytes as its SHA-256, and it need not be read again to know its CID. The same holds for a model
that was published before, whose manifest has the CID. A map alone is no proof: it is a hint, which any user
of a shared cache may have written. When the bytes are sent or written to a CAR file, each chunk is compared
with its leaf anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelfetch.ipfs.file_tree import FileTree
from modelfetch.ipfs.profiles import UNIXFS_V1_2025
from modelfetch.ipfs.row_array import LeafKind

if TYPE_CHECKING:
    from modelfetch.ipfs.file_tree import Built
    from modelfetch.ipfs.leaf_table import LeafTable
    from modelfetch.ipfs.profiles import Profile
    from modelfetch.model.manifest import Manifest
    from modelfetch.publish.model_tree import ModelTree
    from modelfetch.store import Store

_NEVER: Final = "never"
"""The value of ``cache.chunk_maps`` with which none are written."""


def known_trees(store: Store, manifest: Manifest, profile: Profile) -> dict[str, Built]:
    """Return the trees whose chunk map agrees with the receipt or the manifest, by SHA-256 of the file.

    Args:
        store: The cache.
        manifest: The model.
        profile: How files become trees; maps are of ``unixfs-v1-2025`` alone.
    """
    if profile != UNIXFS_V1_2025:
        return {}
    receipt = store.receipt(manifest)
    stated = {file.sha256: {file.cid or ""} for file in manifest.files}
    for entry in receipt.files if receipt is not None else ():
        stated.setdefault(entry.sha256, set()).add(entry.cid)
    found: dict[str, Built] = {}
    for file in manifest.files:
        if file.size <= profile.chunk_size or stated[file.sha256] == {""}:
            continue
        table = store.chunk_maps.read(file.sha256, file.size)
        tree = _tree_of(table) if table is not None else None
        if tree is not None and tree.root.text in stated[file.sha256]:
            found[file.sha256] = tree
    return found


def _tree_of(table: LeafTable) -> Built | None:
    """Build the tree of a file from the table of its leaves; None if it is not one of the profile."""
    tree = FileTree(UNIXFS_V1_2025)
    try:
        for row in table.rows:
            if row.kind is not LeafKind.RAW:
                return None
            tree.add_leaf(row.digest, row.size)
    except ValueError:  # chunks of another size
        return None
    built = tree.finish()
    return built if built.root == table.root else None


def keep_maps(store: Store, tree: ModelTree) -> None:
    """Write the chunk maps of files of the cache whose trees were computed, unless none are wanted.

    Best effort: nothing depends on them.
    """
    if tree.profile != UNIXFS_V1_2025 or store.chunk_maps.mode == _NEVER:
        return
    for file in tree.files:
        spec = file.placed.spec
        if file.tree.nodes and not store.chunk_maps.is_intact(spec):
            store.chunk_maps.write(spec.sha256, file.tree)

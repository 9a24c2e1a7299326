"""Trees of files of the cache that are known already, and maps for those that were computed.

While a file is fetched its chunks may be hashed, too: then its chunk map and the CID in the receipt were made
from the same bytes as its SHA-256, and it need not be read again to know its CID. The same holds for a model
that was published before, whose manifest has the CID. A map alone is no proof: it is a hint, which any user
of a shared cache may have written. When the bytes are sent or written to a CAR file, each chunk is compared
with its leaf anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelfetch.ipfs.file_tree import tree_of
from modelfetch.ipfs.profiles import UNIXFS_V1_2025

if TYPE_CHECKING:
    from modelfetch.ipfs.file_tree import Built
    from modelfetch.ipfs.profiles import Profile
    from modelfetch.model.manifest import Manifest
    from modelfetch.publish.model_tree import ModelTree
    from modelfetch.store import Store


def known_trees(store: Store, manifest: Manifest, profile: Profile) -> dict[str, Built]:
    """Return the trees whose chunk map agrees with the receipt or the manifest, by SHA-256 of the file.

    Args:
        store: The cache.
        manifest: The model.
        profile: How files become trees; maps are of ``unixfs-v1-2025`` alone.
    """
    if profile != UNIXFS_V1_2025:
        return {}
    cids = _stated_cids(store, manifest)
    found: dict[str, Built] = {}
    for file in manifest.files:
        # A file of one chunk has no map.
        if file.size <= profile.chunk_size or file.sha256 not in cids:
            continue
        table = store.chunk_maps.read(file.sha256, file.size)
        tree = tree_of(table, profile) if table is not None else None
        if tree is not None and tree.root.text in cids[file.sha256]:
            found[file.sha256] = tree
    return found


def _stated_cids(store: Store, manifest: Manifest) -> dict[str, set[str]]:
    """The CIDs that the manifest and the receipt of a model state, by SHA-256 of the file."""
    receipt = store.receipt(manifest)
    pairs = [(file.sha256, file.cid) for file in manifest.files]
    pairs += [(entry.sha256, entry.cid) for entry in (receipt.files if receipt is not None else ())]
    stated: dict[str, set[str]] = {}
    for sha256, cid in pairs:
        if cid:
            stated.setdefault(sha256, set()).add(cid)
    return stated


def keep_maps(store: Store, tree: ModelTree) -> None:
    """Write the chunk maps of files of the cache whose trees were computed, unless none are wanted.

    Best effort: nothing depends on them.
    """
    if tree.profile != UNIXFS_V1_2025 or not store.chunk_maps.is_enabled:
        return
    for file in tree.files:
        spec = file.placed.spec
        if file.tree.nodes and not store.chunk_maps.is_intact(spec):
            store.chunk_maps.write(spec.sha256, file.tree)

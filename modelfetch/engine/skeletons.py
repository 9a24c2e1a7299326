"""Reads the skeleton of a model: a CAR file beside its manifest, with the nodes above the chunks of files.

It was written by the author of the manifest, perhaps of somebody else's project, and is nothing but blocks:
the CID in the manifest proves those that are used. Example::

    catalog/whisper-base.toml              files with their CIDs
    catalog/whisper-base.skeleton.car      about 50 bytes for each MiB of them
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.model.regular_file import read_regular

if TYPE_CHECKING:
    from modelfetch.ipfs.leaf_table import LeafTable
    from modelfetch.model.manifest import FileSpec, Manifest

LIMIT: Final = 64 << 20
"""Largest skeleton in bytes that is read: that of 1.3 TB in chunks of 1 MiB."""


def skeleton_table(manifest: Manifest, file: FileSpec) -> LeafTable | None:
    """Return the table of a file's chunks that the skeleton of its model has, proven by the CID of the file.

    Returns:
        None if there is no CID or no skeleton, or it is damaged, incomplete, or that of other files.
    """
    if file.cid is None or manifest.skeleton is None:
        return None
    from modelfetch.ipfs.cid import Cid
    from modelfetch.ipfs.leaf_table_reader import read_table

    try:
        blocks = _blocks(Path(manifest.skeleton))
        return read_table(Cid.parse(file.cid), file.size, lambda cid: blocks.get(cid.multihash))
    except (OSError, ValueError):  # malformed, too: then the file is fetched as one without a skeleton
        return None


def _blocks(path: Path) -> dict[bytes, bytes]:
    from modelfetch.ipfs.car import CarReader

    content = read_regular(path, LIMIT + 1)
    if len(content) > LIMIT:
        return {}
    reader = CarReader()
    blocks = {cid.multihash: block for cid, block in reader.feed(content)}
    reader.finish()
    return blocks

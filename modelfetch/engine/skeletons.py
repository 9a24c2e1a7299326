"""Reads the skeleton of a model: a CAR file beside its manifest, with the nodes above the chunks of files.

It was written by the author of the manifest, perhaps of somebody else's project, and is nothing but blocks:
the CID in the manifest proves those that are used. Example::

    catalog/whisper-base.toml              files with their CIDs
    catalog/whisper-base.skeleton.car      about 50 bytes for each MiB of them
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.model.regular_file import read_regular

if TYPE_CHECKING:
    from modelfetch.ipfs.leaf_table import LeafTable
    from modelfetch.model.manifest import FileSpec, Manifest

LIMIT: Final = 64 << 20
"""Largest skeleton in bytes that is read: that of 1.3 TB in chunks of 1 MiB."""

Blocks = dict[bytes, bytes]
"""Nodes by multihash, each verified."""


class Skeletons:
    """The skeletons of the models of a run. Thread-safe.

    Each is read once: a model may have thousands of files, and hashing all nodes for each of them would take
    minutes. Of several models, the latest ones are kept, up to :data:`LIMIT` bytes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read: dict[str, tuple[int, Blocks]] = {}
        """By path: its bytes, and what is in it; nothing if it is missing or damaged."""

    def table(self, manifest: Manifest, file: FileSpec) -> LeafTable | None:
        """Return the table of a file's chunks that the skeleton of its model has, proven by the file's CID.

        Returns:
            None if there is no CID or no skeleton, or it is damaged, incomplete, or that of other files.
        """
        if file.cid is None or manifest.skeleton is None:
            return None
        from modelfetch.ipfs.cid import Cid
        from modelfetch.ipfs.leaf_table_reader import read_table

        blocks = self._blocks(manifest.skeleton)
        try:
            return read_table(Cid.parse(file.cid), file.size, lambda cid: blocks.get(cid.multihash))
        except ValueError:  # malformed: then the file is fetched as one without a skeleton
            return None

    def blocks(self, manifest: Manifest) -> Blocks:
        """Return the nodes in the skeleton of a model, each verified; none if it has no skeleton."""
        return self._blocks(manifest.skeleton) if manifest.skeleton is not None else {}

    def _blocks(self, path: str) -> Blocks:
        with self._lock:
            if path not in self._read:
                self._read[path] = _read(Path(path))
                while sum(size for size, _ in self._read.values()) > LIMIT:  # never of the latest one alone
                    del self._read[next(iter(self._read))]
            return self._read[path][1]


def _read(path: Path) -> tuple[int, Blocks]:
    from modelfetch.ipfs.car import CarReader

    try:
        content = read_regular(path, LIMIT + 1)
        if len(content) > LIMIT:
            return 0, {}
        reader = CarReader()
        blocks = {cid.multihash: block for cid, block in reader.feed(content)}
        reader.finish()
    except (OSError, ValueError):
        return 0, {}
    return len(content), blocks

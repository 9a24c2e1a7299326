"""Reads the skeleton of a model: a CAR file beside its manifest, with the nodes above the chunks of files.

It was written by the author of the manifest, perhaps of somebody else's project, and is nothing but blocks:
the CID in the manifest proves those that are used. Example::

    catalog/whisper-base.toml              files with their CIDs
    catalog/whisper-base.skeleton.car      about 50 bytes for each MiB of them
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from modelfetch.model.regular_file import read_regular

if TYPE_CHECKING:
    from modelfetch.ipfs.leaf_table import LeafTable
    from modelfetch.model.manifest import FileSpec, Manifest

LIMIT: Final = 64 << 20
"""Largest skeleton in bytes that is read: that of 1.3 TB in chunks of 1 MiB."""
AGAIN_SECONDS: Final = 10.0
"""Seconds after which a skeleton that could not be read is tried again. Another try may succeed, as after a
lack of descriptors, but a disk that fails takes seconds for each."""

Blocks = dict[bytes, bytes]
"""Nodes by multihash, each verified."""


class Skeletons:
    """The skeletons of the models of a run, or of a server. Thread-safe.

    Each is read once: a model may have thousands of files, and hashing all nodes for each of them would take
    minutes. Of several models, the latest ones are kept, up to :data:`LIMIT` bytes.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._read: dict[str, _Skeleton] = {}
        """By path, the one read last at the end."""

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
            known = self._read.get(path)
            if known is None or self._clock() >= known.until:
                self._read.pop(path, None)
                known = self._read[path] = _read(Path(path), self._clock() + AGAIN_SECONDS)
                while sum(each.size for each in self._read.values()) > LIMIT:  # never of the latest one alone
                    del self._read[next(iter(self._read))]
            return known.blocks


class _Skeleton(NamedTuple):
    """A skeleton that was read."""

    size: int
    """Its bytes; 0 if it is of no use."""
    blocks: Blocks
    until: float = math.inf
    """Clock seconds from which on it is read again."""


def _read(path: Path, again_at: float) -> _Skeleton:
    """Read a skeleton; one that the disk refuses is to be read again at some clock seconds."""
    from modelfetch.ipfs.car import CarReader

    try:
        content = read_regular(path, LIMIT + 1)
        if len(content) > LIMIT:
            return _Skeleton(0, {})
        reader = CarReader()
        blocks = {cid.multihash: block for cid, block in reader.feed(content)}
        reader.finish()
    except ValueError:  # damaged, or no regular file
        return _Skeleton(0, {})
    except OSError:
        return _Skeleton(0, {}, again_at)
    return _Skeleton(len(content), blocks)

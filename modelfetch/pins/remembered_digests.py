"""Computes digests of files on this disk, and remembers them instead of keeping the bytes of large files.

A large file of an adopted directory is cloned into the cache afterwards, where the file system can, and
copied only where it cannot. Keeping its bytes while they are hashed would always copy them. The remembered
digest lets the source ``local`` find the file without hashing it again. Small files are kept at once.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from modelfetch.engine.sink import CLONED_FROM

if TYPE_CHECKING:
    from modelfetch.pins.digests import Digests
    from modelfetch.sources.local_digests import KnownDigests
    from modelfetch.store.intake import FileDigest
    from modelfetch.upstreams.base import Upstream, UpstreamFile


class RememberedDigests:
    """Digests of files on this disk.

    Args:
        keeping: Computes digests and keeps the bytes.
        dropping: Computes digests only.
        known: Remembers them.
    """

    def __init__(self, keeping: Digests, dropping: Digests, known: KnownDigests) -> None:
        self._keeping = keeping
        self._dropping = dropping
        self._known = known

    def compute(self, upstream: Upstream, file: UpstreamFile) -> FileDigest:
        """Read a file and compute its digests; see :class:`modelfetch.pins.digests.Digests`."""
        if file.disk is None or (file.size or 0) < CLONED_FROM:
            return self._keeping.compute(upstream, file)
        before = _status(file)
        digest = self._dropping.compute(upstream, file)
        after = _status(file)
        # A file that was written to meanwhile has another time now.
        if before is not None and after is not None and _facts(before) == _facts(after):
            self._known.put(file.disk, before, digest.sha256)
        return digest


def _status(file: UpstreamFile) -> os.stat_result | None:
    assert file.disk is not None
    try:
        return file.disk.stat()
    except OSError:
        return None


def _facts(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

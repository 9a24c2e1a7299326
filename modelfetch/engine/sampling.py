"""A quick check of a file: some of its chunks, chosen at random, instead of all of it.

The chance to find damage depends on how much of the file is damaged, not on its size. A file has ``k``
chunks, ``d`` of them damaged, and ``n`` are read; none of the damaged ones is among them with the probability
C(k - d, n) / C(k, n), of the hypergeometric distribution. Example: 20 of 1,000 chunks are read. If 100 are
damaged, that is found with a probability of 88 %; if only one is, of 2 %.
"""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.engine.events import Progress
from modelfetch.engine.file_chunks import known_table
from modelfetch.engine.rate_limit import Ticker
from modelfetch.model.source_kinds import CACHE
from modelfetch.store.chunk_digests import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelfetch.engine.runtime import Runtime
    from modelfetch.engine.workers import Task
    from modelfetch.model.manifest import FileSpec, Manifest

SHARE: Final = 0.1
"""Share of a file's chunks that are damaged, for which the chance to find that is stated."""


def sample(runtime: Runtime, manifest: Manifest, file: FileSpec, path: Path, count: int) -> Task[bool]:
    """Read some chunks of a file that has the right size.

    Args:
        runtime: Of the run.
        manifest: Its model.
        file: The file.
        path: Where it is.
        count: How many chunks to read at most.

    Returns:
        Whether they are right. If not, or if its chunks are not known, all of the file is to be checked: the
        map of its chunks may be wrong.

    Raises:
        Cancelled: The run was cancelled.
    """
    table = known_table(runtime, (manifest, file))
    if table is None:
        return False
    rows = random.sample(range(len(table.rows)), min(count, len(table.rows)))
    ticker, done = Ticker(runtime.clock), 0
    with runtime.store.local_chunks.open(path) as opened:
        for index in sorted(rows):  # in the order of the file, which is faster on a spinning disk
            runtime.cancel.raise_if_cancelled()
            row = table.rows[index]
            data = opened.read(row.offset, row.size)
            if data is None or not table.check(row, data):
                return False
            done += row.size
            if ticker.due():
                yield Progress(manifest.name, file.path, CACHE, "", 1, done, file.size)
    return True


def chance(chunks: int, read: int, share: float = SHARE) -> float:
    """Return the probability to find damage in a share of the chunks of a file.

    Args:
        chunks: How many chunks the file has.
        read: How many of them are read.
        share: Share of them that is damaged, at least one.
    """
    damaged = max(1, math.ceil(chunks * share))
    return 1 - math.comb(max(0, chunks - damaged), read) / math.comb(chunks, read)


def least_chance(files: Iterable[FileSpec], count: int) -> float:
    """Return the lowest of these probabilities among some files, for a sample of ``count`` chunks of each."""
    chunks = [math.ceil(file.size / CHUNK) for file in files if file.size]
    return min((chance(each, min(count, each)) for each in chunks), default=1.0)

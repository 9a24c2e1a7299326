"""Copies chunks that lie on this disk into a download, before anything is requested.

Only where the chunks of the file are known (:mod:`modelfetch.engine.file_chunks`). First those of a damaged
copy of the file, at the same place: so a repair fetches only what is damaged. Then those of other blobs, such
as an older version of the model, at whatever place.
"""

from __future__ import annotations

from itertools import chain, groupby
from typing import TYPE_CHECKING, Final

from modelfetch.engine.events import Progress
from modelfetch.engine.file_chunks import FileChunks, known_table
from modelfetch.engine.parts import FileParts
from modelfetch.engine.rate_limit import Ticker
from modelfetch.model.source_kinds import CACHE

if TYPE_CHECKING:
    from modelfetch.engine.plan import Job
    from modelfetch.engine.runtime import Runtime
    from modelfetch.engine.workers import Task
    from modelfetch.ipfs.leaf_table import LeafTable
    from modelfetch.ipfs.row_array import Row
    from modelfetch.store import Partial
    from modelfetch.store.local_chunks import OpenCopy

LABEL: Final = f"{CACHE} chunks"
"""Name of this source in journals, like ``kind host`` of the others."""


def known_chunks(runtime: Runtime, job: Job) -> FileChunks:
    """Return what is known about the chunks of a file before any request.

    A table is proven if every manifest that needs the file pins its CID.
    """
    cids = [(manifest.ipfs_cid, file.cid) for manifest, file in job.places]
    may_prove = len(set(cids)) == 1
    table = known_table(runtime, *job.places)
    is_proven = may_prove and table is not None and _is_pinned(table, job.file.cid)
    return FileChunks(table, is_proven=is_proven, may_prove=may_prove)


def _is_pinned(table: LeafTable, cid: str | None) -> bool:
    """Whether a CID is that of the file of a table; it may be written in several forms."""
    from modelfetch.ipfs.cid import Cid

    try:
        return cid is not None and Cid.parse(cid).to_v1() == table.root.to_v1()
    except ValueError:  # of a kind that is not supported
        return False


def reuse(runtime: Runtime, job: Job, chunks: FileChunks, partial: Partial) -> Task[int]:
    """Write the missing chunks of a file that are found on this disk.

    Returns:
        Their bytes.

    Raises:
        StoreError: The disk refused to store them.
        Cancelled: The run was cancelled.
    """
    table, before = chunks.table, partial.received
    if table is None:
        return 0
    local = runtime.store.local_chunks
    ticker, file_parts, has_room = Ticker(runtime.clock), FileParts(partial, runtime.clock), False
    manifest, file = job.places[0]
    paths = runtime.store.copies_of(job.places)
    copies = chain(
        local.same_place(table, paths, lambda: partial.missing),
        local.elsewhere(table, lambda: partial.missing),
    )
    for path, group in groupby(copies, key=lambda copy: copy.path):
        with local.open(path) as opened:
            for row, _, offset in group:
                runtime.cancel.raise_if_cancelled()
                if not _is_cloned(opened, offset, table, row, partial):
                    if not has_room:
                        # The run checked the space for what it fetches alone, since clones take none.
                        runtime.store.check_space(file.size - partial.received)
                        has_room = True
                    _copy(opened, offset, table, row, partial)
                if ticker.due():
                    parts = file_parts.now(CACHE)
                    yield Progress(manifest.name, file.path, CACHE, "", 1, partial.received, file.size, parts)
    return partial.received - before


def _is_cloned(opened: OpenCopy, offset: int, table: LeafTable, row: Row, partial: Partial) -> bool:
    """Take a chunk without a copy, if it is right and the file system can share it."""
    return opened.fd is not None and partial.clone_chunk(
        row.offset, opened.fd, offset, row.size, LABEL, lambda data: table.check(row, data)
    )


def _copy(opened: OpenCopy, offset: int, table: LeafTable, row: Row, partial: Partial) -> None:
    """Copy a chunk if it is right."""
    data = opened.read(offset, row.size)
    if data is not None and table.check(row, data):
        partial.put(row.offset, data, LABEL)

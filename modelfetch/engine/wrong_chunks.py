"""Drops the wrong chunks of a complete file whose SHA-256 is wrong, so that only those are fetched again.

They are of an earlier run: those of this run were checked as they arrived. If no chunk is wrong, the table is
of no use: either the manifest contradicts itself, or the table was only a hint.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from modelfetch.engine.failures import Exhausted
from modelfetch.errors import Fault, SourceError
from modelfetch.ipfs.checked_bytes import CheckedBytes

if TYPE_CHECKING:
    from modelfetch.engine.runtime import Runtime
    from modelfetch.engine.sink import Sink
    from modelfetch.ipfs.leaf_table import LeafTable
    from modelfetch.store import Partial

_CONTRADICTION = "its cid and its sha256 contradict each other: all chunks match the CID, not the SHA-256"


def discard_wrong_chunks(runtime: Runtime, sink: Sink, partial: Partial) -> bool:
    """Count the wrong chunks of a complete file as missing again.

    Returns:
        Whether there were any.

    Raises:
        Exhausted: All chunks are those of the CID in the manifest, but the SHA-256 is not the one in it.
        StoreError: The disk refused.
        Cancelled: The run was cancelled.
    """
    known = sink.chunks.known
    if known.table is None:
        return False
    wrong = wrong_chunks(known.table, _blocks(runtime, partial))
    if not wrong and known.is_proven:
        raise Exhausted([("manifest", SourceError(Fault.HASH, _CONTRADICTION))])
    if not wrong:
        sink.chunks.drop(known)  # a hint that was no help: from here on as without one
        return False
    with sink.exclusive():
        partial.discard(wrong, runtime.cancel.raise_if_cancelled)
        sink.forget(sum(end - start for start, end in wrong))
    return True


def _blocks(runtime: Runtime, partial: Partial) -> Iterator[tuple[int, memoryview]]:
    """Read a complete file again, which takes half a minute for a large one, unless cancelled."""
    for block in partial.blocks():
        runtime.cancel.raise_if_cancelled()
        yield block


def wrong_chunks(table: LeafTable, read: Iterable[tuple[int, bytes | memoryview]]) -> list[tuple[int, int]]:
    """Compare a whole file with its table.

    Args:
        table: The table.
        read: The bytes of the file in order, each block with its offset.

    Returns:
        The start and end of each chunk that is wrong.
    """
    check = CheckedBytes(table, 0, table.size)
    return [
        (found.offset, found.offset + len(found.data))
        for _, block in read
        for found in check.feed(block)
        if found.is_right is False
    ]

"""Which chunks of a damaged file are wrong, if its chunk map or the skeleton of its model is there.

Only a bad file is read for this, after its SHA-256 or its size showed that it is bad. Chunks that a file cut
short does not have are wrong, too; bytes behind the end are a range of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.engine.file_chunks import known_table
from modelfetch.model.units import format_range

if TYPE_CHECKING:
    from modelfetch.engine.runtime import Runtime
    from modelfetch.model.manifest import FileSpec, Manifest

Range = tuple[int, int]
"""Start and end in bytes; the end is exclusive."""
SHOWN: Final = 4
"""Ranges that are named in a message; of more, the number."""


def wrong_ranges(runtime: Runtime, manifest: Manifest, file: FileSpec, path: Path) -> tuple[Range, ...]:
    """Compare a bad file with its chunk map.

    Args:
        runtime: Of the run.
        manifest: Its model.
        file: What it should be.
        path: Where it is.

    Returns:
        The ranges that are wrong, adjacent ones joined; none if no map is known, or no chunk fits it: then it
        is probably that of another file.

    Raises:
        Cancelled: The run was cancelled.
    """
    table = known_table(runtime, (manifest, file))
    if table is None:
        return ()
    size = runtime.store.size_of(path) or 0
    wrong, right = [], 0
    with runtime.store.local_chunks.open(path) as opened:
        for row in table.rows:
            runtime.cancel.raise_if_cancelled()
            data = opened.read(row.offset, row.size)
            if data is not None and table.check(row, data):
                right += 1
            else:
                wrong.append((row.offset, row.offset + row.size))
    if size > table.size:
        wrong.append((table.size, size))
    return tuple(joined(wrong)) if right else ()


def joined(ranges: Iterable[Range]) -> Iterator[Range]:
    """Join ranges that follow one another; they must be in order."""
    current: Range | None = None
    for start, end in ranges:
        if current is not None and current[1] == start:
            current = current[0], end
            continue
        if current is not None:
            yield current
        current = start, end
    if current is not None:
        yield current


def format_ranges(ranges: Sequence[Range]) -> str:
    """Format ranges for people: ``17.0-18.0 MiB, 40.0-42.0 MiB``; empty if there are none."""
    named = ", ".join(format_range(*each) for each in ranges[:SHOWN])
    return f"{named} and {len(ranges) - SHOWN} more" if len(ranges) > SHOWN else named

"""The check of the disk before a run starts anything, or asks anybody, for the files that it misses.

A run that fails for lack of space should fail before it has read anything. What is there of a file already
does not count, and an executable file is written twice: as a blob, and as its copy in the model's directory.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from modelfetch.model.units import format_size

if TYPE_CHECKING:
    from modelfetch.engine.runtime import Runtime
    from modelfetch.model.manifest import FileSpec, Manifest


def check_disk(
    runtime: Runtime, missing: int, places: Iterable[tuple[Manifest, FileSpec]], staged: int = 0
) -> None:
    """Check that the missing files can be written.

    Args:
        runtime: Of the run.
        missing: Bytes that are to be fetched.
        places: The missing files, each with its model; one for every place where it is needed.
        staged: Bytes that the swarm's engine has in a copy of its own until the end of the run.

    Raises:
        StoreError: The cache cannot be written to, or the disk has too little space.
    """
    store = runtime.store
    if missing and not runtime.offline:  # no request is made for bytes that could not be written
        store.check_writable()
    # An executable file is a copy of its blob; every other one shares the space of its blob.
    copies = sum(file.size for model, file in places if not store.has_mode(model, file))
    store.check_space(missing + copies)
    if staged:  # otherwise leaving it out would not help
        instead = f"leave out the swarm, whose copy takes {format_size(staged)}"
        store.check_space(missing + copies + staged, instead=instead)

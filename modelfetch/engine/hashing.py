"""Hashing a file on disk while telling how far it is."""

from __future__ import annotations

import hashlib
from pathlib import Path

from modelfetch.engine.events import Progress
from modelfetch.engine.rate import Ticker
from modelfetch.engine.runtime import Runtime
from modelfetch.engine.workers import Task
from modelfetch.model.manifest import FileSpec


def hash_with_progress(runtime: Runtime, model: str, file: FileSpec, path: Path) -> Task[str]:
    """Compute the SHA-256 of a file, in hexadecimal.

    Raises:
        StoreError: The file cannot be read.
        Cancelled: The run was cancelled.
    """
    hasher, done, ticker = hashlib.sha256(), 0, Ticker(runtime.clock)
    for piece in runtime.store.read(path):
        runtime.cancel.check()
        hasher.update(piece)
        done += len(piece)
        if ticker.due():
            yield Progress(model, file.path, "cache", "", 1, done, file.size)
    return hasher.hexdigest()
